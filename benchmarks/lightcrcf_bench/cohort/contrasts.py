"""Other contrasts of one person: how far `bids` carries them from the T1, and how much longer they take than a T1.

python -m lightcrcf_bench.cohort.contrasts --data ../shared/data --out benchmarks/history/DATE-carried-contrasts.json
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from lightcrcf.transforms.itk import read_affine
from lightcrcf.volumes import read
from lightcrcf_bench.measure import Measured, circumstances, run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Measurement, Strict
from lightcrcf_bench.records.schema import BUSY
from lightcrcf_bench.smoothness.study import subjects

__all__ = [
    "CARRIED", "Carried", "CarriedRecord", "Timed", "carried_text", "main", "times_text",
]  # fmt: skip

CARRIED = "carried-contrasts"
PROTOCOL = (
    "T1, T2 and FLAIR of a person with multiple sclerosis, skull-stripped, on one grid of 1 mm, so that the truth "
    "between them is the identity; others put them there, which may itself be off by about .2 mm. "
    "`lightcrcf bids RAW OUT participant` registers the T1 to MNI152 and carries the others along; error: distance in "
    "mm, at each voxel of the T1's brain, of where the chain takes a T2 or FLAIR from where it takes the T1, before "
    "the common step to MNI152."
)
TIMING = (
    "The same images, onto the T1 of an OASIS brain, in turn: `lightcrcf register --fixed F --moving M --threads 2 "
    "--out DIR`, from start to exit, after one round that does not count; the ratio is the median of those of one "
    "round."
)
_COMMAND = (
    "python -m lightcrcf_bench.cohort.contrasts --data ../shared/data "
    "--out benchmarks/history/DATE-carried-contrasts.json"
)
_PERSON, _LEAD, _OTHERS = "sub-07", "T1w", ("T2w", "FLAIR")
_STEP = 3  # of voxels that are scored, along each axis


class Carried(Strict):
    """One contrast on its way to the template.

    Args:
        contrast: of the image.
        verdict: of quality control.
        mean_mm, p95_mm: error in the brain.
    """

    contrast: str
    verdict: str
    mean_mm: float
    p95_mm: float


class Timed(Strict):
    """Registrations of one moving image; `contrasts` is what they took both images for."""

    contrast: str
    contrasts: Literal["same", "any"]
    seconds: Annotated[tuple[float, ...], Field(min_length=1)]
    load_before: Annotated[tuple[float, ...], Field(min_length=1)]


class CarriedRecord(Measurement):
    """Errors of other contrasts, and the seconds of each contrast, the T1 first; `timing` is how those were taken."""

    format: Literal["lightcrcf-carried-contrasts"] = "lightcrcf-carried-contrasts"
    timing: str
    carried: tuple[Carried, ...]
    times: tuple[Timed, ...]


def carry(images: Path, folder: Path) -> tuple[Carried, ...]:
    """Register a data set of one person by the command.

    Args:
        images: folder of the images.
        folder: for the data set and what comes of it.

    Raises:
        CommandError: if the command fails.
    """
    anatomy = folder / "raw" / _PERSON / "anat"
    anatomy.mkdir(parents=True)
    (folder / "raw/dataset_description.json").write_text('{"Name": "contrasts", "BIDSVersion": "1.10.0"}')
    for contrast in (_LEAD, *_OTHERS):
        name = f"{_PERSON}_{contrast}.nii.gz"
        (anatomy / name).symlink_to((images / name).resolve())
    run((sys.executable, "-m", "lightcrcf", "bids", str(folder / "raw"), str(folder / "out"), "participant"))
    with (folder / "out/lightcrcf/summary.csv").open(encoding="utf-8") as rows:
        verdicts = {row["id"]: row["verdict"] for row in csv.DictReader(rows)}
    brain = read(images / f"{_PERSON}_{_LEAD}.nii.gz")
    points = brain.grid.world(np.argwhere(brain.data[::_STEP, ::_STEP, ::_STEP] > 0) * _STEP)
    found = []
    for contrast in _OTHERS:
        step = read_affine(folder / f"out/{_PERSON}/anat/{_PERSON}_from-{contrast}_to-{_LEAD}_mode-image_xfm.txt")
        error = np.linalg.norm(step.points(points) - points, axis=1)
        (verdict,) = (v for name, v in verdicts.items() if name.startswith(f"{_PERSON}_{contrast}-to-"))
        found.append(
            Carried(
                contrast=contrast, verdict=verdict, mean_mm=round(float(error.mean()), 3),
                p95_mm=round(float(np.percentile(error, 95)), 3),
            )
        )  # fmt: skip
    return tuple(found)


def times(fixed: Path, images: Path, folder: Path, repetitions: int, log: Callable[[str], None]) -> tuple[Timed, ...]:
    """Register the contrasts in turn.

    Args:
        fixed: a T1.
        images: folder of the moving images.
        folder: for what is written.
        repetitions: of each that count.
        log: gets a line for each run.

    Raises:
        CommandError: if the command fails.
    """
    taken: dict[str, list[Measured]] = {}
    for repetition in range(repetitions + 1):
        for contrast in (_LEAD, *_OTHERS):
            out = folder / f"{contrast}-{repetition}"
            moving = images / f"{_PERSON}_{contrast}.nii.gz"
            words = ("register", f"--fixed={fixed}", f"--moving={moving}", "--threads=2", f"--out={out}")
            measured = run((sys.executable, "-m", "lightcrcf", *words))
            log(f"{contrast}: {measured.seconds} s, load {measured.load_before}")
            if repetition:
                taken.setdefault(contrast, []).append(measured)
    return tuple(
        Timed(
            contrast=contrast,
            contrasts=json.loads((folder / f"{contrast}-0/run.json").read_text())["similarity"]["contrasts"],
            seconds=tuple(each.seconds for each in runs), load_before=tuple(each.load_before for each in runs),
        )
        for contrast, runs in taken.items()
    )  # fmt: skip


def carried_text(record: CarriedRecord) -> str:
    """Return a row for each contrast that was carried."""
    rows = [(each.contrast, f"{each.mean_mm:.2f}", f"{each.p95_mm:.2f}", each.verdict) for each in record.carried]
    return "\n".join(
        [
            *table(("carried by the T1w", "mean error, mm", "95 %, mm", "verdict"), rows),
            "",
            *_notes(record, record.protocol),
        ]
    )


def times_text(record: CarriedRecord) -> str:
    """Return a row for each moving image, and by how much longer it takes than the T1."""
    first, rows = record.times[0], []
    for each in record.times:
        ratios = [a / b for a, b in zip(each.seconds, first.seconds, strict=True)]
        busy = BUSY if max(each.load_before) > record.machine.cores + 1 else ""
        spread = f"{min(ratios):.2f}, {max(ratios):.2f}" if each is not first else ""
        ratio = f"{median(ratios):.2f}" if each is not first else ""
        took = f"{median(each.seconds):.1f}{busy}"
        rows.append((each.contrast, each.contrasts, took, ratio, spread))
    header = ("onto a T1", "taken for", "seconds, median", f"by those of {first.contrast}", "lowest, highest")
    notes = _notes(record, f"{len(first.seconds)} repetitions. {record.timing}")
    if any(max(each.load_before) > record.machine.cores + 1 for each in record.times):
        notes.append(
            f"- {BUSY} taken while other work kept the machine busy, so too long; the ratio is of runs in turn."
        )
    return "\n".join([*table(header, rows), "", *notes])


def _notes(record: CarriedRecord, protocol: str) -> list[str]:
    machine = record.machine
    where = f"{record.measured.isoformat()}, {machine.cpu}, {machine.cores} cores. {record.note}".strip()
    return [f"- {protocol}", f"- {where}"]


def main(arguments: Sequence[str] | None = None, log: Callable[[str], None] = print) -> int:
    """Measure and write the record; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--repetitions", type=int, default=5, help="of each registration that is timed [5]")
    parser.add_argument("--note", default="", help="what else the machine did")
    parser.add_argument("--out", type=Path, required=True, help="record to write")
    options = parser.parse_args(arguments)
    images, fixed = options.data / "contrasts", subjects(options.data, "oasis", "val")[0]
    with tempfile.TemporaryDirectory() as folder:
        carried = carry(images, Path(folder))
        taken = times(options.data / f"oasis/sub-{fixed}_T1w.nii.gz", images, Path(folder), options.repetitions, log)
    record = CarriedRecord(
        **circumstances(),
        protocol=PROTOCOL,
        timing=TIMING,
        note=options.note,
        commands=(_COMMAND,),
        carried=carried,
        times=taken,
    )
    record.write(options.out)
    log(f"{carried_text(record)}\n{times_text(record)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
