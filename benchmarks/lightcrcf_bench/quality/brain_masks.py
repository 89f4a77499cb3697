"""Brain masks of heads that were held out, against the closed labels of the same heads; and the command's time.

python -m lightcrcf_bench.quality.brain_masks --data ../shared/data --out benchmarks/history/DATE-brain-mask.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.evaluation.metrics import dice
from lightcrcf.evaluation.surface import hd95_mm
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.brain import brain_mask
from lightcrcf.training.brain.data import brain_of_labels
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.measure import circumstances, run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Measurement, Strict
from lightcrcf_bench.records.schema import BUSY
from lightcrcf_bench.smoothness.simulate import biased, random_of
from lightcrcf_bench.smoothness.study import subjects

__all__ = ["BRAIN_MASK", "CHANGES", "BrainMaskRecord", "MaskCase", "brain_mask_text", "main"]

BRAIN_MASK = "brain-mask"
_COMMAND = (
    "python -m lightcrcf_bench.quality.brain_masks --data ../shared/data --out benchmarks/history/DATE-brain-mask.json"
)
PROTOCOL = (
    "Ten heads of IXI that were held out, 2 mm, against the union of their labels (DLMUSE), closed by 4 mm and filled, "
    "by `lightcrcf.brain_mask`. Intensities up to their 99.5 % count as 1. Negative: 1 less the intensity, air too; "
    "recoloured: 0, .9, .3, .7, .4 at 0, .25, .5, .75, 1; slices: means of three; cut: without the lowest quarter of "
    "the brain's height and all below, or the uppermost eighth and all above; noise: Rician, .08. Too high: by its "
    "centre. Time: `lightcrcf brain IMAGE --output MASK` from start to exit, as it is."
)
_HIGH, _SLICES, _NOISE, _BIAS_PERCENT = 99.5, 3, 0.08, 80.0
_LOWER, _TOP = 1 / 4, 1 / 8
_CURVE = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.9, 0.3, 0.7, 0.4)
Bool = NDArray[np.bool_]
Pair = tuple[Volume, Bool]


def _of_one(image: Volume) -> NDArray[np.float32]:
    data = image.data.astype(np.float32)
    return np.asarray(np.clip(data / np.float32(np.percentile(data, _HIGH)), 0, 1), np.float32)


def _with(image: Volume, data: NDArray[np.float32]) -> Volume:
    return Volume(np.asarray(data, np.float32), image.grid, image.source)


def _recoloured(image: Volume) -> Volume:
    return _with(image, np.interp(_of_one(image), *_CURVE).astype(np.float32))


def _thick(image: Volume, brain: Bool, name: str) -> Pair:
    """Return means of neighbouring slices along the superior axis."""
    count = image.grid.shape[2] // _SLICES
    shape = (*image.grid.shape[:2], count)
    data, share = (
        each[:, :, : count * _SLICES].astype(np.float32).reshape(*shape, _SLICES).mean(axis=3)
        for each in (image.data, brain)
    )
    step = np.diag([1.0, 1.0, _SLICES, 1.0])
    step[2, 3] = (_SLICES - 1) / 2
    return Volume(data, Grid(shape, image.grid.affine @ step), name), share > 0.5


def _cut(image: Volume, brain: Bool, *, lower: float = 0.0, top: float = 0.0) -> Pair:
    """Return the slab without these shares of the brain's height, and all that lies beyond them."""
    slices = np.flatnonzero(brain.any(axis=(0, 1)))
    low, high = int(slices[0]), int(slices[-1]) + 1
    first = low + round(lower * (high - low)) if lower else 0
    end = high - round(top * (high - low)) if top else image.grid.shape[2]
    data = np.ascontiguousarray(image.data[:, :, first:end])
    return Volume(data, image.grid.crop([0, 0, first], data.shape), image.source), brain[:, :, first:end]


def _noisy(image: Volume, name: str) -> Volume:
    random = random_of(name)
    shaded = _of_one(image) * biased(_with(image, np.ones(image.grid.shape, np.float32)), _BIAS_PERCENT, random).data
    noise = random.normal(0, _NOISE, (2, *shaded.shape)).astype(np.float32)
    return _with(image, np.hypot(shaded + noise[0], noise[1]))


CHANGES: dict[str, Callable[[Volume, Bool, str], Pair]] = {
    "T1, 2 mm": lambda image, brain, _: (image, brain),
    "negative": lambda image, brain, _: (_with(image, 1 - _of_one(image)), brain),
    "recoloured, not monotone": lambda image, brain, _: (_recoloured(image), brain),
    "slices of 6 mm": _thick,
    "cut through the lower quarter of the brain": lambda image, brain, _: _cut(image, brain, lower=_LOWER),
    "cut through the top of the brain": lambda image, brain, _: _cut(image, brain, top=_TOP),
    "noise of 8 %, bias field from .6 to 1.4": lambda image, brain, name: (_noisy(image, name), brain),
}
"""What is done to a head along RAS+ and the mask of its brain, by the words of the table."""


class MaskCase(Strict):
    """One mask.

    Args:
        image: a key of `CHANGES`.
        subject: who.
        dice: with the closed labels.
        hd95_mm: 95 % distance of both surfaces.
        higher_mm: how far above the centre of the closed labels that of the mask lies.
    """

    image: str
    subject: str
    dice: float
    hd95_mm: float
    higher_mm: float


class BrainMaskRecord(Measurement):
    """Masks of all heads, and seconds of the command and the load before it, one for each head as it is."""

    format: Literal["lightcrcf-brain-mask"] = "lightcrcf-brain-mask"
    cases: tuple[MaskCase, ...]
    seconds: tuple[float, ...]
    load_before: tuple[float, ...]


def measure(folder: Path, log: Callable[[str], None] = print, note: str = "") -> BrainMaskRecord:
    """Measure all heads of the validation split.

    Args:
        folder: of the data sets.
        log: gets a line for each head.
        note: what else the machine did.

    Raises:
        InputError: if the data are not there.
        CommandError: if the command fails.
    """
    cases, taken = list[MaskCase](), []
    for subject in subjects(folder, "ixi-2mm", "val"):
        file = folder / f"ixi-2mm/sub-{subject}_T1w.nii.gz"
        labels = read(file.with_name(f"sub-{subject}_dseg.nii.gz")).canonical()
        brain = brain_of_labels(labels.data > 0, labels.grid.spacing_mm)
        cases += [_case(name, subject, read(file).canonical(), brain) for name in CHANGES]
        with tempfile.TemporaryDirectory() as out:
            taken.append(run((sys.executable, "-m", "lightcrcf", "brain", str(file), f"--output={out}/mask.nii.gz")))
        log(f"{subject}: {[case.dice for case in cases[-len(CHANGES) :]]}, {taken[-1].seconds} s")
    return BrainMaskRecord(
        **circumstances(), protocol=PROTOCOL, note=note, cases=tuple(cases),
        commands=(_COMMAND,),
        seconds=tuple(each.seconds for each in taken), load_before=tuple(each.load_before for each in taken),
    )  # fmt: skip


def _case(name: str, subject: str, image: Volume, brain: Bool) -> MaskCase:
    shown, truth = CHANGES[name](image, brain, f"{name} {subject}")
    found = brain_mask(shown).data > 0
    centres = [shown.grid.spacing_mm[2] * np.argwhere(mask)[:, 2].mean() for mask in (found, truth)]
    return MaskCase(
        image=name, subject=subject, dice=round(dice(truth, found)[1], 4),
        hd95_mm=round(hd95_mm(truth, found, shown.grid.spacing_mm), 2), higher_mm=round(centres[0] - centres[1], 2),
    )  # fmt: skip


def brain_mask_text(record: BrainMaskRecord) -> str:
    """Return a row for each kind of image, and the time of the command."""
    rows = [_row(name, [case for case in record.cases if case.image == name]) for name in CHANGES]
    busy = BUSY if max(record.load_before) > record.machine.cores + 1 else ""
    machine, seconds = record.machine, record.seconds
    took = f"{median(seconds):.1f} s{busy} a head ({min(seconds):.1f} to {max(seconds):.1f})"
    notes = [
        record.protocol,
        f"{record.measured.isoformat()}, {machine.cpu}, {machine.cores} cores: {took}. {record.note}".strip(),
    ]
    if busy:
        notes.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    header = ("the image", "Dice", "lowest", "95 % surface distance, mm", "worst", "too high, mm")
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _row(name: str, cases: Sequence[MaskCase]) -> tuple[str, ...]:
    scores, distances = [case.dice for case in cases], [case.hd95_mm for case in cases]
    high = fmean(case.higher_mm for case in cases)
    return (
        name, f"{fmean(scores):.3f}", f"{min(scores):.3f}", f"{fmean(distances):.1f}", f"{max(distances):.1f}",
        f"{high:.1f}",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the record; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--note", default="", help="what else the machine did")
    parser.add_argument("--out", type=Path, required=True, help="record to write")
    options = parser.parse_args(arguments)
    record = measure(options.data, note=options.note)
    record.write(options.out)
    print(brain_mask_text(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
