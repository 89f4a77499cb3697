"""Check of labels: whether they lie on their image, which ones vanish or change volume when moved, and Dice overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.evaluation.labels import as_codes, check_label_map
from lightcrcf.evaluation.metrics import dice
from lightcrcf.preprocessing.bias_field import smooth_gain
from lightcrcf.preprocessing.foreground import downsample_volume, foreground
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, on_grid_of

__all__ = [
    "MAX_VOLUME_RATIO", "LabelMapRecord", "Structure", "check_fixed_labels", "label_record", "misplaced", "warnings_of"
]  # fmt: skip

Float32 = NDArray[np.float32]

MAX_VOLUME_RATIO = 3.0
"""A label that grows or shrinks by more than this factor relative to the affine is named."""

_TINY = 30  # voxels of the moving label: smaller ones come and go with the grid, which is no reason for a check
_MAX_NAMED = 8
_BINS = 1 << 16
_SUBSAMPLED = 400_000  # voxels of the image that is compared with labels
_MIN_VOXELS, _MIN_FRACTION = 200, 0.02  # voxels, and fraction of the foreground: smaller labels are not judged
_MIN_INSIDE = 0.5
_SHIFT = 0.07  # of the anatomy's size
# The ratio of variances is 1.2 to 3.8 for few labels of a real image, 2.1 to 3.7 for many; for those of another person
# on the same scanner's grid 0.95 to 1.26, except where one heart or hippocampus happens to lie on the next.
_MIN_RATIO, _MIN_RATIO_OF_MANY, _MANY = 1.15, 1.6, 10


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One label of a map that was moved.

    Args:
        moving_mm3, moved_mm3: its volume before and after.
        ratio: volume after over before, the affine's own factor removed.
        dice: overlap with the fixed label; None where there is none.
    """

    moving_mm3: float
    moved_mm3: float
    ratio: float
    dice: float | None = None


@dataclass(frozen=True, kw_only=True)
class LabelMapRecord:
    """One label map that was moved, an entry of `labels` in `run.json`.

    Args:
        source: its file.
        structures: by code.
        notes: labels that vanished, or whose volume changed by more than `MAX_VOLUME_RATIO`.
    """

    source: str
    structures: dict[str, Structure]
    notes: tuple[str, ...]

    def dice(self) -> dict[str, float]:
        """Return the overlap of each structure that the fixed labels have too, by code."""
        return {code: s.dice for code, s in self.structures.items() if s.dice is not None}


def check_fixed_labels(labels: Volume | None, fixed: Volume) -> Volume | None:
    """Return labels of the fixed image, to compare with, on its grid.

    Raises:
        InputError: if they lie on another grid, or hold fractions.
    """
    if labels is None:
        return None
    check_label_map(labels.data, labels.source)
    return on_grid_of(labels, fixed, what="labels")


def misplaced(labels: Volume, moving: Volume, brain: Volume | None = None) -> str | None:
    """Return a warning if labels seem not to lie on an image, else None.

    A brain mask fits the intensities of a head hardly better than shifted copies, those of the brain alone well:
    1.08 to 1.59 and 1.29 to 2.65 times for five heads; after a shift by 12 voxels 1.03 to 1.06 and 1.00 to 1.04 times.

    Args:
        labels: on any grid.
        moving: their image.
        brain: the same with everything outside of its brain removed, where that was registered alone. Labels may fit
            either.
    """
    found = _misplaced(labels, moving)
    return found if found is None or brain is None or _misplaced(labels, brain) is not None else None


def _misplaced(labels: Volume, moving: Volume) -> str | None:
    """Return the warning for one image.

    Within labels that lie on their image intensities vary less than within the same labels shifted a little; within
    those of another person on the same grid they do not. Small labels are not judged.
    """
    data, grid = downsample_volume(moving, voxels=_SUBSAMPLED)
    codes = Chain(Affine.identity(), None, Affine.identity()).resample(labels, grid, "nearest").data
    here, total = (np.count_nonzero(v.data) * _voxel_mm3(v) for v in (Volume(codes, grid), labels))
    if total > 0 and here < _MIN_INSIDE * total:
        inside = f"only {here / total:.0%} of them lie within it"
        return f"the labels {labels.source} do not lie on the moving image: {inside}; were they made for another image?"
    tissue = foreground(data)
    if np.count_nonzero(codes) < max(_MIN_VOXELS, _MIN_FRACTION * np.count_nonzero(tissue)):
        return None
    ratio = _variance_ratio(data, codes, tissue, grid.spacing_mm)
    least = _MIN_RATIO_OF_MANY if len(np.unique(codes)) > _MANY else _MIN_RATIO
    if ratio is None or ratio >= least:
        return None
    return (
        f"the labels {labels.source} do not seem to lie on the moving image: moved aside they would fit its "
        f"intensities as well ({ratio:.2f} times; {least} or more is usual); were they made for another image?"
    )


def _variance_ratio(
    data: Float32, codes: NDArray[Any], tissue: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> float | None:
    """Return the variance of intensities within labels shifted along the axes, over that within the labels as given."""
    shift_mm = _SHIFT * float(np.cbrt(np.count_nonzero(tissue) * np.prod(spacing_mm)))
    steps = [max(1, round(shift_mm / spacing)) for spacing in spacing_mm]
    moves = [(axis, sign * k) for axis, k in enumerate(steps) if 3 * k < codes.shape[axis] for sign in (-1, 1)]
    numbers = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    numbers = np.where(codes == 0, 0, numbers + 1)
    values = _without_bias(data, tissue) if tissue.any() else data
    here = _variance_within(values, numbers)
    shifted = [_variance_within(*_shifted(values, numbers, axis, step)) for axis, step in moves]
    return float(np.mean(shifted)) / here if shifted and here > 0 else None


def _without_bias(data: Float32, tissue: NDArray[np.bool_]) -> Float32:
    """Return clipped intensities with a smooth gain removed, which would vary within labels too."""
    low, high = np.percentile(data[tissue], (1, 99))
    values = np.clip((data - min(low, 0)) / max(high - min(low, 0), 1e-6), 0, 1).astype(np.float32)
    inside, everywhere = np.argwhere(tissue), np.argwhere(np.ones(data.shape, np.bool_))
    found = values[tissue]
    level = np.full_like(found, np.median(found))
    gain = smooth_gain(level, found, inside, everywhere).reshape(data.shape)
    return np.asarray(values * gain, np.float32)


def _shifted(values: Float32, numbers: NDArray[Any], axis: int, step: int) -> tuple[Float32, NDArray[Any]]:
    """Return the common parts of an image and of labels shifted along an axis."""
    ahead, behind = slice(max(step, 0), min(step, 0) or None), slice(max(-step, 0), min(-step, 0) or None)
    before = (slice(None),) * axis
    return values[(*before, ahead)], numbers[(*before, behind)]


def _variance_within(values: Float32, numbers: NDArray[Any]) -> float:
    """Return the mean variance of intensities within labels."""
    inside = numbers > 0
    codes, found = numbers[inside], values[inside].astype(np.float64)
    counts, sums = np.bincount(codes), np.bincount(codes, found)
    means = sums / np.maximum(counts, 1)
    return float(np.mean(np.square(found - means[codes]))) if len(found) else 0.0


def label_record(moving: Volume, moved: Volume, affine: Affine, fixed: Volume | None) -> LabelMapRecord:
    """Compare the labels of a map before and after it was moved.

    Args:
        moving: the label map as given.
        moved: the same on the fixed grid.
        affine: fixed to moving points.
        fixed: labels of the fixed image, on its grid, for Dice.

    Raises:
        InputError: if a label map holds fractions.
    """
    before, after = _voxel_counts(moving), _voxel_counts(moved)
    voxel_before, voxel_after = (_voxel_mm3(v) for v in (moving, moved))
    growth = abs(float(np.linalg.det(affine.matrix[:3, :3])))
    overlap = {} if fixed is None else dice(fixed.data, moved.data)
    structures = {
        str(code): Structure(
            moving_mm3=round(count * voxel_before, 3),
            moved_mm3=round(after.get(code, 0) * voxel_after, 3),
            ratio=round(after.get(code, 0) * voxel_after * growth / (count * voxel_before), 4),
            dice=round(overlap[code], 6) if code in overlap else None,
        )
        for code, count in before.items()
    }
    return LabelMapRecord(source=moving.source, structures=structures, notes=_notes(structures, before))


def warnings_of(records: Sequence[LabelMapRecord]) -> list[str]:
    """Return a warning for each label map that lost a label which was not tiny."""
    return [
        f"of the labels {record.source}, {note}"
        for record in records
        for note in record.notes
        if note.startswith("lost")
    ]


def _notes(structures: Mapping[str, Structure], before: Mapping[int, int]) -> tuple[str, ...]:
    gone = [code for code, s in structures.items() if s.moved_mm3 == 0]
    lost, tiny = ([c for c in gone if (before[int(c)] >= _TINY) is large] for large in (True, False))
    changed = [
        f"{code} ({s.ratio:.2g} times)"
        for code, s in structures.items()
        if s.moved_mm3 and not 1 / MAX_VOLUME_RATIO <= s.ratio <= MAX_VOLUME_RATIO
    ]
    notes = [
        ("lost altogether", lost),
        (f"gone, of fewer than {_TINY} voxels", tiny),
        (f"more than {MAX_VOLUME_RATIO:g} times larger or smaller than the affine alone makes it", changed),
    ]
    return tuple(f"{what}: {_listed(codes)}" for what, codes in notes if codes)


def _listed(codes: list[str]) -> str:
    more = f" and {len(codes) - _MAX_NAMED} more" if len(codes) > _MAX_NAMED else ""
    return ", ".join(codes[:_MAX_NAMED]) + more


def _voxel_counts(labels: Volume) -> dict[int, int]:
    """Return the voxels of each code but 0, in ascending order."""
    values: NDArray[Any] = as_codes(labels.data, labels.source).ravel()
    if values.size and values.min() >= 0 and values.max() < _BINS:
        counts = np.bincount(values)
        codes = np.flatnonzero(counts)
        pairs = zip(codes.tolist(), counts[codes].tolist(), strict=True)
    else:
        found, sizes = np.unique(values, return_counts=True)
        pairs = zip(found.tolist(), sizes.tolist(), strict=True)
    return {int(code): int(count) for code, count in pairs if code != 0}


def _voxel_mm3(volume: Volume) -> float:
    return abs(float(np.linalg.det(volume.grid.affine[:3, :3])))
