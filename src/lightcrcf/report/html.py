"""A registration on one HTML page that needs nothing else: the pictures are inside."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from shlex import join
from string import Template
from typing import Any

from lightcrcf.pipeline.register import Registration
from lightcrcf.report.figure import Row, png
from lightcrcf.report.pictures import Views
from lightcrcf.report.planes import Plane
from lightcrcf.volumes import Volume

__all__ = ["report_files", "report_page", "table_rows"]

_WORDS = {
    "overlap_before": "overlap of the foregrounds after affine",
    "overlap_after": "overlap of the foregrounds in the end",
    "correlation_header": "squared local correlation as given",
    "correlation_affine": "squared local correlation after affine",
    "correlation_after": "squared local correlation in the end",
    "folding_percent": "folding in the foreground, %",
    "jacobian_p01": "smallest volume change (1st percentile)",
    "jacobian_p99": "largest volume change (99th percentile)",
    "displacement_p99_mm": "largest displacement (99th percentile), mm",
    "affine_scales": "stretches of the affine",
    "inverse_consistency_mean_mm": "there and back again, mean, mm",
    "inverse_consistency_max_mm": "there and back again, maximum, mm",
}
_DEFORMATION = Template(
    """<h2>Deformation</h2>
<figure><img alt="deformed grid and volume change" src="$picture">
<figcaption>Above: where the lines of a regular grid on the fixed volume go, affine part aside. Below: how much larger
each place is in the moving volume than in the fixed one (red) or smaller (blue); magenta is where space folds.
</figcaption></figure>"""
)


def report_files(registration: Registration, *, command: Sequence[str]) -> dict[str, Callable[[Path], None]]:
    """What a report adds to the folder of a registration: file names, and who writes each; see `report_page`."""

    def write_page(path: Path) -> None:
        path.write_text(report_page(registration, command=command), encoding="utf-8")

    return {"report.html": write_page}


def report_page(registration: Registration, *, command: Sequence[str]) -> str:
    """The page: verdict, pictures, numbers, and how to repeat the run.

    Args:
        registration: the result.
        command: the words of the command line that made it.
    """
    fixed, moving = registration.fixed, registration.moving
    views = Views(fixed, moving, registration.moved, registration.transform)
    verdict, provenance = str(registration.qc["verdict"]), registration.provenance
    return _template().substitute(
        title=escape(f"{Path(fixed.source).name} and {Path(moving.source).name}"),
        version=escape(f"LightCRCF {provenance['versions']['lightcrcf']}, {_model(provenance['model'])}"),
        verdict=escape(verdict),
        verdict_class=verdict if verdict in ("pass", "check", "fail") else "check",
        reasons=_list(registration.qc["reasons"]),
        subjects=_rows([("fixed", _describe(fixed)), ("moving", _describe(moving))], kind="text"),
        before_after=_picture(views.planes, views.before_after()),
        fixed=_picture(views.planes, [views.fixed()]),
        moved=_picture(views.planes, [views.moved()]),
        tiles=_picture(views.planes, views.tiles()),
        deformation=_deformation(views),
        metrics=_rows(table_rows(registration.metrics)),
        timings=_rows(table_rows(provenance["timings_s"])),
        command=escape(join(command)),
        provenance=escape(json.dumps(provenance, indent=2, default=str)),
    )


def table_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and numbers for people.

    Example:
        >>> table_rows({"affine_scales": (0.95, 1.0, 1.0625), "load network": 0.5})
        [('stretches of the affine', '0.95, 1, 1.062'), ('load network', '0.5')]
    """
    return [(_WORDS.get(name, name.replace("_", " ")), _number(value)) for name, value in values.items()]


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_number, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _deformation(views: Views) -> str:
    rows = views.deformation()
    return _DEFORMATION.substitute(picture=_picture(views.planes, rows)) if rows else ""


def _model(model: Mapping[str, Any]) -> str:
    return f"model {model['name']}" if model["name"] else str(model["reason"])


def _describe(volume: Volume) -> str:
    shape = " × ".join(map(str, volume.grid.shape))
    spacing = " × ".join(f"{s:.4g}" for s in volume.grid.spacing_mm)
    return f"{volume.source}: {shape} voxels of {spacing} mm, {volume.data.dtype}"


def _picture(views: Sequence[Plane], rows: Sequence[Row]) -> str:
    return "data:image/png;base64," + b64encode(png(views, rows)).decode("ascii")


def _rows(rows: Iterable[tuple[str, str]], *, kind: str = "number") -> str:
    cells = (f'<tr><th>{escape(name)}</th><td class="{kind}">{escape(value)}</td></tr>' for name, value in rows)
    return "".join(cells)


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(str(item))}</li>' for item in items)}</ul>" if items else ""


def _template() -> Template:
    return Template((resources.files("lightcrcf.report") / "template.html").read_text(encoding="utf-8"))
