"""A registration on one HTML page that needs nothing else: pictures, style and script are inside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shlex import join

from lightcrcf.registration.register import Registration
from lightcrcf.report import tables
from lightcrcf.report.boxes import Box, Row
from lightcrcf.report.images import LARGEST_RATIO, RATIO_COLOURS
from lightcrcf.report.panels import COUNT, KEYS, MIDDLE, Deformation, ExcludedRegion, Pictures
from lightcrcf.report.render import render
from lightcrcf.report.subject import Subject
from lightcrcf.report.svg import Histogram
from lightcrcf.report.words import MEANINGS
from lightcrcf.run_record.replay import command_line
from lightcrcf.run_record.schema import to_json

__all__ = ["report_files", "report_page"]

_NAMES = tuple(f"{key}{MIDDLE}" for key in KEYS)


def report_files(registration: Registration, *, out: str) -> dict[str, Callable[[Path], None]]:
    """Return the files that a report adds to the folder of a registration, by name, with their writers."""

    def write_page(path: Path) -> None:
        path.write_text(report_page(Subject.of(registration), out=out), encoding="utf-8")

    return {"report.html": write_page}


def report_page(subject: Subject, *, out: str) -> str:
    """Render verdict, pictures, measurements, and how to repeat the run. The same input gives the same bytes.

    Args:
        subject: what to show.
        out: the folder of the run, as the commands on the page name it.
    """
    record, pictures = subject.record, Pictures(subject)
    field = subject.chain.field
    deformation, excluded = None if field is None else Deformation.of(field, pictures), ExcludedRegion.of(pictures)
    drawn = [part for part in (pictures, deformation, excluded) if part is not None]
    return render(
        "report.html",
        title=f"{Path(subject.moving.source).name} onto {Path(subject.fixed.source).name}",
        images={name: uri for part in drawn for name, uri in part.images.items()},
        symbols=[symbol for part in drawn for symbol in part.symbols],
        verdict=record.qc.verdict,
        meanings=MEANINGS,
        reasons=record.qc.reasons,
        subjects=tables.subjects(subject),
        masked=pictures.masked,
        before_after=_before_after(pictures, excluded),
        kinds={kind: title for kind, title in pictures.titles.items() if kind != "fixed"},
        last_slice=COUNT - 1,
        middle_slice=MIDDLE,
        viewer=_viewer(pictures),
        printed=_printed(pictures),
        deformation=deformation,
        scale=RATIO_COLOURS,
        largest_ratio=f"{LARGEST_RATIO:g}",
        metrics=tables.metric_rows(record.qc, record.metrics),
        channels=tables.channels(record),
        label_maps=tables.label_maps(record),
        intensities=_intensities(pictures),
        timings=tables.timings(record),
        commands=_commands(subject, out),
        provenance=tables.provenance(record),
        record=json.dumps(to_json(record), indent=2),
    )


def _commands(subject: Subject, out: str) -> dict[str, str]:
    """Return commands by their purpose."""
    images = ["--reference", subject.fixed.source, "--input", "OTHER.nii.gz"]
    return {
        "The same run again, refused if an input has changed:": join(
            ["lightcrcf", "register", "--from", f"{out}/run.json", "--out", f"{out}-again"]
        ),
        "The same files in the same way:": join(command_line(subject.record, out)),
        "Another image or label map of the moving subject:": join(
            ["lightcrcf", "apply", *images, "--transform", out, "--output", "OTHER_moved.nii.gz"]
        ),
    }


def _before_after(pictures: Pictures, excluded: ExcludedRegion | None) -> list[Row]:
    planes, titles = pictures.middles, pictures.titles
    rows = [Row.of(_NAMES, planes, "fixed", caption=titles["fixed"])]
    for kind in ("given", "affine", "moved"):
        elsewhere = " - there is nothing of it here: it lies elsewhere" if pictures.empty[kind] else ""
        over = [f"{key}-{kind}" for key in KEYS] if pictures.masked and kind != "moved" else _NAMES
        rows.append(Row.of(_NAMES, planes, kind, outlines=over, caption=titles[kind] + elsewhere))
    if excluded is not None:
        rows += [excluded.row(k, f"through what the masks leave out: {titles[k]}") for k in ("fixed", "moved")]
    return rows


def _viewer(pictures: Pictures) -> Row:
    """Return boxes in which the script of the page shows other slices and images."""
    return Row(
        [
            Box(stack[MIDDLE], (f"{name}-fixed", f"{name}-moved tiles"), outline=name, stack=stack)
            for name, stack in zip(_NAMES, pictures.stacks, strict=True)
        ]
    )


def _printed(pictures: Pictures) -> list[Row]:
    """Return tiles and differences before and after, for paper, where no script runs."""
    return [
        Row.of(
            _NAMES, pictures.middles, "fixed", f"{kind} {how}", caption=f"{title}: fixed and {pictures.titles[kind]}"
        )
        for how, title in (("tiles", "tiles of both"), ("difference", "difference, brightened"))
        for kind in ("affine", "moved")
    ]


def _intensities(pictures: Pictures) -> Histogram:
    fixed, moving = pictures.slices.histograms()
    title = "intensities of the fixed (yellow) and the moving (blue) foreground"
    return Histogram(title, [("h0", fixed), ("h1", moving)], [(0.0, "dark"), (1.0, "bright")])
