"""A registration on one HTML page that needs nothing else: pictures, style and script are inside."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from importlib import resources
from pathlib import Path
from shlex import join
from string import Template
from typing import Any

from lightcrcf.registration.register import Registration
from lightcrcf.report.images import LARGEST_RATIO, RATIO_COLOURS
from lightcrcf.report.panels import COUNT, KEYS, MIDDLE, Deformation, LeftOut, Pictures, box, three
from lightcrcf.report.planes import Plane
from lightcrcf.report.subject import Subject
from lightcrcf.report.svg import histogram
from lightcrcf.report.tables import channels, evidence, labels, provenance, reasons, rows, subjects, timings
from lightcrcf.report.words import MEANINGS
from lightcrcf.run_record.replay import command_line

__all__ = ["report_files", "report_page", "resource", "template"]

_NAMES = tuple(f"{key}{MIDDLE}" for key in KEYS)
_LEFT_OUT = """ What is <span class="pink">shaded within dashes</span> the masks leave out: it did not steer, and was
judged only apart. Look there above all."""
_BEFORE_AFTER = ("given", "affine", "moved")


def report_files(registration: Registration, *, out: str) -> dict[str, Callable[[Path], None]]:
    """What a report adds to the folder of a registration: file names, and who writes each; see `report_page`."""

    def write_page(path: Path) -> None:
        path.write_text(report_page(Subject.of(registration), out=out), encoding="utf-8")

    return {"report.html": write_page}


def report_page(subject: Subject, *, out: str) -> str:
    """The page: verdict, pictures, what was measured, and how to repeat the run. The same input gives the same bytes.

    Args:
        subject: what to show.
        out: the folder of the run, as the commands on the page name it.
    """
    record, pictures = subject.record, Pictures(subject)
    field = subject.chain.field
    deformation, left_out = None if field is None else Deformation.of(field, pictures), LeftOut.of(pictures)
    verdict = _verdict(record)
    return template("template.html").substitute(
        title=escape(f"{Path(subject.moving.source).name} onto {Path(subject.fixed.source).name}"),
        style=resource("page.css"),
        rules="\n".join(part.rules for part in (pictures, deformation, left_out) if part),
        outlines="".join(part.outlines for part in (pictures, deformation, left_out) if part),
        verdict=verdict,
        meaning=escape(MEANINGS[verdict]),
        reasons=reasons(record["qc"]["reasons"]),
        subjects=subjects(subject),
        left_out=_LEFT_OUT if pictures.masked else "",
        before_after=_before_after(pictures, left_out),
        image_choices=_image_choices(pictures),
        last_slice=COUNT - 1,
        middle_slice=MIDDLE,
        viewer=three([_pair(s, n) for n, s in zip(_NAMES, pictures.stacks, strict=True)], pictures.middles),
        printed=_printed(pictures),
        deformation=_deformation(deformation),
        evidence=evidence(record["qc"], record["metrics"]),
        channels=channels(record),
        labels=labels(record.get("labels")),
        intensities=_intensities(pictures),
        timings=timings(record),
        again=escape(join(["lightcrcf", "register", "--from", f"{out}/run.json", "--out", f"{out}-again"])),
        command=escape(join(command_line(record, out))),
        apply=escape(join(_apply(subject.fixed.source, out))),
        provenance=rows(provenance(record)),
        record=escape(json.dumps(record, indent=2, default=str)),
        script=resource("page.js"),
    )


def _apply(fixed: str, out: str) -> list[str]:
    files = ["--reference", fixed, "--input", "OTHER.nii.gz", "--transform", out, "--output", "OTHER_moved.nii.gz"]
    return ["lightcrcf", "apply", *files]


def template(name: str) -> Template:
    """A template of this package."""
    return Template(resource(name))


def resource(name: str) -> str:
    """The text of a file of this package."""
    return (resources.files("lightcrcf.report") / name).read_text(encoding="utf-8")


def _verdict(record: dict[str, Any]) -> str:
    verdict = str(record["qc"]["verdict"])
    return verdict if verdict in MEANINGS else "check"


def _before_after(pictures: Pictures, left_out: LeftOut | None) -> str:
    planes, found = pictures.middles, []
    for kind in _BEFORE_AFTER:
        nothing = " - there is nothing of it here: it lies elsewhere" if pictures.empty[kind] else ""
        over = [f"o-{key}-{kind}" if pictures.masked and kind != "moved" else f"o-{key}{MIDDLE}" for key in KEYS]
        boxes = [box(p, f"{n}-{kind}", outline=o) for n, p, o in zip(_NAMES, planes, over, strict=True)]
        found.append(three(boxes, planes, f"{pictures.titles[kind]}{nothing}"))
    if left_out is not None:
        for kind in ("fixed", "moved"):
            boxes = [
                box(p, f"{key}m-{kind}", outline=f"o-{key}m") for key, p in zip(KEYS, left_out.planes, strict=True)
            ]
            found.append(three(boxes, left_out.planes, f"through what the masks leave out: {pictures.titles[kind]}"))
    plain = [box(p, f"{n}-fixed") for n, p in zip(_NAMES, planes, strict=True)]
    return "".join([three(plain, planes, pictures.titles["fixed"]), *found])


def _pair(stack: tuple[Plane, ...], name: str) -> str:
    layers = f"{name}-fixed", f"{name}-moved tiles"
    return box(stack[len(stack) // 2], *layers, outline=f"o-{name}", places=stack)


def _image_choices(pictures: Pictures) -> str:
    kinds = [(kind, title) for kind, title in pictures.titles.items() if kind != "fixed"]
    return "".join(
        f'<label><input type="radio" name="image" value="{kind}"{" checked" if kind == "moved" else ""}> '
        f"{escape(title.removeprefix('moving, '))}</label>"
        for kind, title in kinds
    )


def _printed(pictures: Pictures) -> str:
    """On paper nothing slides: tiles and differences, before and after."""
    planes, found = pictures.middles, []
    for how, title in (("tiles", "tiles of both"), ("difference", "difference, brightened")):
        for kind in ("affine", "moved"):
            boxes = [box(p, f"{n}-fixed", f"{n}-{kind} {how}") for n, p in zip(_NAMES, planes, strict=True)]
            found.append(three(boxes, planes, f"{title}: fixed and {pictures.titles[kind]}"))
    return "".join(found)


def _deformation(deformation: Deformation | None) -> str:
    if deformation is None:
        return "<h2>Deformation</h2><p>There is none: the result is affine only.</p>"
    planes = deformation.planes
    grids = [
        box(p, f"{key}d-fixed dim", lines=lines) for key, p, lines in zip(KEYS, planes, deformation.lines, strict=True)
    ]
    maps = [
        box(p, f"{key}d-ratio", outline=f"o-{key}d", ring_mm=deformation.worst)
        for key, p in zip(KEYS, planes, strict=True)
    ]
    return template("deformation.html").substitute(
        grids=three(grids, planes, "where the lines of a regular grid on the fixed volume go (affine part aside)"),
        maps=three(
            maps, planes, "volume change: how much larger each place is in the moving volume than in the fixed", "map"
        ),
        scale=", ".join(RATIO_COLOURS),
        least=f"1/{LARGEST_RATIO:g}",
        most=f"{LARGEST_RATIO:g}",
        folds=_folds(deformation),
        histogram=histogram(
            [("h1", deformation.ratios)],
            [(n / 4, label) for n, label in enumerate(("1/4", "1/2", "1", "2", "4"))],
            title="histogram of the volume change",
        ),
    )


def _folds(deformation: Deformation) -> str:
    if not deformation.folded:
        return "Space folds nowhere in this field."
    return (
        f"Space folds at {deformation.folded:,} of {deformation.voxels:,} voxels of the field, "
        '<b class="magenta">magenta</b> on the map. '
        "These planes go through the worst place, ringed on the map."
    )


def _intensities(pictures: Pictures) -> str:
    fixed, moving = pictures.slices.histograms()
    ticks = [(0.0, "dark"), (1.0, "bright")]
    title = "intensities of the fixed (yellow) and the moving (blue) foreground"
    drawn = histogram([("h0", fixed), ("h1", moving)], ticks, title=title)
    legend = (
        '<span class="swatch gold">fixed</span> and <span class="swatch cyan">moving</span> foreground, each between '
        "its own darkest and brightest; heights are square roots of shares"
    )
    return f"<figure>{drawn}<figcaption>{legend}</figcaption></figure>"
