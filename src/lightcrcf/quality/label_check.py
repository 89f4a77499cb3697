"""What became of the labels that were moved: which vanished, which changed their volume, how well they overlap."""

from __future__ import annotations

from collections.abc import Mapping
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

__all__ = ["FACTOR", "check_fixed_labels", "label_record", "misplaced", "warnings_of"]

Float32 = NDArray[np.float32]

FACTOR = 3.0
"""A label that gets this much larger or smaller than the affine alone would make it is named."""

_SPECK = 30  # moving voxels below which a label comes and goes with the grid: it is named, but no reason to worry
_NAMED = 8
_BINS = 1 << 16
_LOOKED_AT = 400_000  # voxels of the image that is compared with labels
_FEWEST, _LEAST_SHARE = 200, 0.02  # voxels, and share of the foreground: smaller labels are not judged
_MOST_OUTSIDE = 0.5
_ASIDE = 0.07  # of the anatomy's size
# Of real images, few labels of their own have 1.2 to 3.8, many 2.1 to 3.7; those of another person on the same
# scanner's grid 0.95 to 1.26, except where one heart or hippocampus happens to lie on the next.
_LEAST_GAIN, _LEAST_GAIN_OF_MANY, _MANY = 1.15, 1.6, 10


def check_fixed_labels(labels: Volume | None, fixed: Volume) -> Volume | None:
    """Labels to compare with, voxel on voxel with the fixed image.

    Raises:
        InputError: if they lie elsewhere, or are an image.
    """
    if labels is None:
        return None
    check_label_map(labels.data, labels.source)
    return on_grid_of(labels, fixed, what="labels")


def misplaced(labels: Volume, moving: Volume, brain: Volume | None = None) -> str | None:
    """Return in what way labels seem not to belong to an image, in words; None if nothing tells.

    A mask of the brain fits a head's intensities little better than moved aside, but well those of the brain alone: of
    five heads 1.08 to 1.59 and 1.29 to 2.65 times, moved by 12 voxels 1.03 to 1.06 and 1.00 to 1.04.

    Args:
        labels: on any grid.
        moving: their image.
        brain: the same with nothing around its brain, where that was registered alone. Labels may fit either.
    """
    found = _misplaced(labels, moving)
    return found if found is None or brain is None or _misplaced(labels, brain) is not None else None


def _misplaced(labels: Volume, moving: Volume) -> str | None:
    """Return the same of one image.

    Within labels that lie on their image the intensities vary less than within the same labels a little beside; with
    those of another person on the same grid they do not. Small labels are not judged, since little would tell.
    """
    data, grid = downsample_volume(moving, voxels=_LOOKED_AT)
    codes = Chain(Affine.identity(), None, Affine.identity()).resample(labels, grid, "nearest").data
    here, total = (np.count_nonzero(v.data) * _voxel_mm3(v) for v in (Volume(codes, grid), labels))
    if total > 0 and here < _MOST_OUTSIDE * total:
        share = f"only {here / total:.0%} of them lie within it"
        return f"the labels {labels.source} do not lie on the moving image: {share}; were they made for another image?"
    tissue = foreground(data)
    if np.count_nonzero(codes) < max(_FEWEST, _LEAST_SHARE * np.count_nonzero(tissue)):
        return None
    gain = _evenness(data, codes, tissue, grid.spacing_mm)
    least = _LEAST_GAIN_OF_MANY if len(np.unique(codes)) > _MANY else _LEAST_GAIN
    if gain is None or gain >= least:
        return None
    return (
        f"the labels {labels.source} do not seem to lie on the moving image: moved aside they would fit its "
        f"intensities as well ({gain:.2f} times; {least} or more is usual); were they made for another image?"
    )


def _evenness(
    data: Float32, codes: NDArray[Any], tissue: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> float | None:
    """Return the variance of intensities within labels that were moved along the axes, over that where they lie."""
    aside_mm = _ASIDE * float(np.cbrt(np.count_nonzero(tissue) * np.prod(spacing_mm)))
    steps = [max(1, round(aside_mm / spacing)) for spacing in spacing_mm]
    moves = [(axis, sign * k) for axis, k in enumerate(steps) if 3 * k < codes.shape[axis] for sign in (-1, 1)]
    numbers = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    numbers = np.where(codes == 0, 0, numbers + 1)
    values = _without_bias(data, tissue) if tissue.any() else data
    here = _within(values, numbers)
    aside = [_within(*_moved_along(values, numbers, axis, step)) for axis, step in moves]
    return float(np.mean(aside)) / here if aside and here > 0 else None


def _without_bias(data: Float32, tissue: NDArray[np.bool_]) -> Float32:
    """Return intensities without extremes and without a smooth factor, by which they would vary within labels too."""
    low, high = np.percentile(data[tissue], (1, 99))
    values = np.clip((data - min(low, 0)) / max(high - min(low, 0), 1e-6), 0, 1).astype(np.float32)
    inside, everywhere = np.argwhere(tissue), np.argwhere(np.ones(data.shape, np.bool_))
    found = values[tissue]
    level = np.full_like(found, np.median(found))
    gain = smooth_gain(level, found, inside, everywhere).reshape(data.shape)
    return np.asarray(values * gain, np.float32)


def _moved_along(values: Float32, numbers: NDArray[Any], axis: int, step: int) -> tuple[Float32, NDArray[Any]]:
    """Return the parts of an image and of labels that lie on one another when the labels are moved."""
    ahead, behind = slice(max(step, 0), min(step, 0) or None), slice(max(-step, 0), min(-step, 0) or None)
    before = (slice(None),) * axis
    return values[(*before, ahead)], numbers[(*before, behind)]


def _within(values: Float32, numbers: NDArray[Any]) -> float:
    """Return the mean variance of intensities within labels."""
    inside = numbers > 0
    codes, found = numbers[inside], values[inside].astype(np.float64)
    counts, sums = np.bincount(codes), np.bincount(codes, found)
    means = sums / np.maximum(counts, 1)
    return float(np.mean(np.square(found - means[codes]))) if len(found) else 0.0


def label_record(moving: Volume, moved: Volume, affine: Affine, fixed: Volume | None) -> dict[str, Any]:
    """What `run.json` says of one label map.

    Args:
        moving: the label map as it was given.
        moved: the same on the fixed grid.
        affine: fixed to moving points.
        fixed: labels of the fixed image, on its grid, to compare with.

    Returns:
        "source"; "structures", by code: volumes before and after in mm3, their ratio with the affine's own factor taken
        out, and Dice; "notes" on what vanished or changed more than `FACTOR`.

    Raises:
        InputError: if a label map holds fractions.
    """
    before, after = _sizes(moving), _sizes(moved)
    voxel_before, voxel_after = (_voxel_mm3(v) for v in (moving, moved))
    growth = abs(float(np.linalg.det(affine.matrix[:3, :3])))
    overlap = {} if fixed is None else dice(fixed.data, moved.data)
    structures = {
        str(code): {
            "moving_mm3": round(count * voxel_before, 3),
            "moved_mm3": round(after.get(code, 0) * voxel_after, 3),
            "ratio": round(after.get(code, 0) * voxel_after * growth / (count * voxel_before), 4),
            **({"dice": round(overlap[code], 6)} if code in overlap else {}),
        }
        for code, count in before.items()
    }
    return {"source": moving.source, "structures": structures, "notes": _notes(structures, before)}


def warnings_of(records: list[dict[str, Any]]) -> list[str]:
    """The notes that are reasons to look, a sentence for each label map: what vanished though it was no speck."""
    found = []
    for record in records:
        lost = [note for note in record["notes"] if note.startswith("lost")]
        found += [f"of the labels {record['source']}, {note}" for note in lost]
    return found


def _notes(structures: Mapping[str, Mapping[str, float]], before: Mapping[int, int]) -> list[str]:
    gone = [code for code, s in structures.items() if s["moved_mm3"] == 0]
    lost, specks = ([c for c in gone if (before[int(c)] >= _SPECK) is large] for large in (True, False))
    changed = [
        f"{code} ({s['ratio']:.2g} times)"
        for code, s in structures.items()
        if s["moved_mm3"] and not 1 / FACTOR <= s["ratio"] <= FACTOR
    ]
    told = [
        ("lost altogether", lost),
        (f"gone, of fewer than {_SPECK} voxels", specks),
        (f"more than {FACTOR:g} times larger or smaller than the affine alone makes it", changed),
    ]
    return [f"{what}: {_listed(codes)}" for what, codes in told if codes]


def _listed(codes: list[str]) -> str:
    more = f" and {len(codes) - _NAMED} more" if len(codes) > _NAMED else ""
    return ", ".join(codes[:_NAMED]) + more


def _sizes(labels: Volume) -> dict[int, int]:
    """Voxels of each code but 0, in ascending order."""
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
