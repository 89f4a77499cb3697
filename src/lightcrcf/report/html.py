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
from typing import TYPE_CHECKING, Any

from lightcrcf.report.figure import Row, png
from lightcrcf.report.pictures import Views
from lightcrcf.report.planes import Plane

if TYPE_CHECKING:
    from lightcrcf.pipeline.register import Registration
    from lightcrcf.volumes import Volume

__all__ = ["report_files", "report_page", "table_rows"]

_UNITS = {"percent": "%", "mm": "mm", "s": "s", "mb": "MB", "mib": "MiB", "deg": "°", "litres": "l"}
_DEFORMATION = Template(
    """<h2>Deformation</h2>
<figure><img alt="deformed grid and volume change" src="$picture">
<figcaption>Above: where the lines of a regular grid on the fixed volume go, affine part aside. Below: how much larger
each place is in the moving volume than in the fixed one (red) or smaller (blue); magenta is where space folds.
</figcaption></figure>"""
)


def report_files(
    registration: Registration, fixed: Volume, moving: Volume, *, command: Sequence[str]
) -> dict[str, Callable[[Path], object]]:
    """What a report adds to the folder of a registration: file names, and who writes each; see `report_page`."""
    return {
        "report.html": lambda path: path.write_text(
            report_page(registration, fixed, moving, command=command), encoding="utf-8"
        )
    }


def report_page(registration: Registration, fixed: Volume, moving: Volume, *, command: Sequence[str]) -> str:
    """The page: verdict, pictures, numbers, and how to repeat the run.

    Args:
        registration: the result.
        fixed, moving: the volumes as they were given.
        command: the words of the command line that made it.
    """
    views = Views(fixed, moving, registration.moved, registration.transform)
    verdict, provenance = str(registration.qc["verdict"]), registration.provenance
    return _template().substitute(
        title=escape(f"{Path(fixed.source).name} and {Path(moving.source).name}"),
        version=escape(f"LightCRCF {provenance.get('version', '')}"),
        verdict=escape(verdict),
        verdict_class=verdict if verdict in ("pass", "check", "fail") else "check",
        reasons=_list(registration.qc.get("reasons", ())),
        subjects=_rows([("fixed", _describe(fixed)), ("moving", _describe(moving))], kind="text"),
        before_after=_picture(views.planes, views.before_after()),
        fixed=_picture(views.planes, [views.fixed()]),
        moved=_picture(views.planes, [views.moved()]),
        tiles=_picture(views.planes, views.tiles()),
        deformation=_deformation(views),
        metrics=_rows(table_rows(registration.metrics)),
        timings=_rows(table_rows(provenance.get("timings_s", {}))),
        command=escape(join(command)),
        provenance=escape(json.dumps(provenance, indent=2, default=str)),
    )


def table_rows(values: Mapping[str, Any], *, prefix: str = "") -> list[tuple[str, str]]:
    """Names and numbers for people, of a mapping that may hold mappings.

    Example:
        >>> table_rows({"folding_percent": 0.25, "dice": {"before": 0.5}, "label_count": 3})
        [('folding, %', '0.25'), ('dice before', '0.5'), ('label count', '3')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        *words, last = f"{prefix}{key}".split("_")
        name = f"{' '.join(words)}, {_UNITS[last]}" if words and last in _UNITS else " ".join([*words, last])
        if isinstance(value, Mapping):
            rows += table_rows(value, prefix=f"{prefix}{key}_")
        else:
            rows.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows


def _deformation(views: Views) -> str:
    rows = views.deformation()
    return _DEFORMATION.substitute(picture=_picture(views.planes, rows)) if rows else ""


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
