"""From the labels of several atlases, moved onto one image, to one label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import UsageError
from lightcrcf.evaluation.labels import as_codes, code_indices
from lightcrcf.geometry.fusion_kernels import atlas_weights, vote

__all__ = ["DEFAULT", "FUSIONS", "Fused", "fuse", "fusion_bytes"]

Float32 = NDArray[np.float32]
Codes = NDArray[np.integer[Any]]
Radii = tuple[int, int, int]

FUSIONS = ("vote", "weighted", "joint")
DEFAULT = "joint"
_RADIUS = 2  # of patches, in the smallest voxels
_SIGMA = 0.6  # of what neighbours' votes count, in the smallest voxels
_CODES = 1 << 15  # so many labels go into int16


@dataclass(frozen=True, eq=False)
class Fused:
    """What atlases agree on.

    Args:
        labels: (D, H, W) integers.
        confidence: (D, H, W) float32 in (0, 1], the share of the vote that the label got; 1 where all agree.
        weights: mean weight of each atlas where they disagree, in their order; they sum to one.
        disputed: voxels where they disagree.
    """

    labels: Codes
    confidence: Float32
    weights: tuple[float, ...]
    disputed: int


def fuse(
    target: Float32, images: Sequence[Float32], labels: Sequence[Codes], spacing_mm: Sequence[float], method: str
) -> Fused:
    """Fuse label maps.

    `vote` counts atlases (Rohlfing et al., NeuroImage 21, 2004; ties go to the atlas that comes first). `weighted`
    and `joint` weigh each by how its image resembles the target around the voxel, `joint` also by how alike atlases
    err, see `fusion_kernels.atlas_weights`; and with both the labels of neighbouring voxels count a little too.

    Args:
        target: (D, H, W) image of about unit range.
        images: (D, H, W) of each atlas on the target's grid, likewise.
        labels: (D, H, W) of each atlas on that grid.
        spacing_mm: (3,) of the grid.
        method: one of `FUSIONS`.

    Raises:
        UsageError: for an unknown method, or more than 32,767 different labels.

    Example:
        >>> maps = [np.full((2, 3, 4), code, np.uint8) for code in (7, 9, 7)]
        >>> image = np.zeros((2, 3, 4), np.float32)
        >>> fused = fuse(image, [image] * 3, maps, (1, 1, 1), "vote")
        >>> int(fused.labels[0, 0, 0]), round(float(fused.confidence[0, 0, 0]), 3), fused.disputed
        (7, 0.667, 24)
    """
    if method not in FUSIONS:
        raise UsageError("fusion", expected=f"one of {', '.join(FUSIONS)}", got=method, remedy="correct the name")
    box, codes = _inside(labels), _all_codes(labels)
    maps = np.stack([code_indices(as_codes(one, "labels")[box], codes).astype(np.int16) for one in labels])
    disputed: NDArray[np.bool_] = (maps != maps[0]).any(axis=0)
    count = int(np.count_nonzero(disputed))
    places = np.full(disputed.shape, -1, np.int32)
    places[disputed] = np.arange(count, dtype=np.int32)
    spacing = np.asarray(spacing_mm, np.float64)
    if method == "vote":
        weights, beside = np.full((count, len(maps)), 1 / len(maps), np.float32), np.zeros(3, np.float32)
    else:
        stack = np.stack([*(image[box] for image in images), target[box]]).astype(np.float32, copy=False)
        weights = atlas_weights(stack, places, count, _radii(spacing), joint=method == "joint")
        beside = np.exp(-0.5 * (spacing / (_SIGMA * spacing.min())) ** 2).astype(np.float32)
    found, share = vote(maps, places, weights, beside, len(codes) + 1)
    fused, confidence = np.zeros(target.shape, _dtype(codes)), np.ones(target.shape, np.float32)
    fused[box], confidence[box] = np.concatenate([[0], codes]).astype(fused.dtype)[found], share
    mean = weights.mean(axis=0, dtype=np.float64) if count else np.full(len(maps), 1 / len(maps))
    return Fused(fused, confidence, tuple(float(value) for value in mean), count)


def fusion_bytes(voxels: int, atlases: int, itemsize: int) -> int:
    """Memory that moved atlases and their fusion take, at most: every voxel labelled, and disputed."""
    return voxels * (atlases * (4 + itemsize + 4 + 2 + 4) + 4 + 4 + 4 + 4)


def _inside(labels: Sequence[Codes]) -> tuple[slice, ...]:
    """The box where an atlas has labels, with room for patches; everything if none has."""
    somewhere = np.logical_or.reduce([one != 0 for one in labels])
    if not somewhere.any():
        return tuple(slice(0, n) for n in somewhere.shape)
    sides = (np.flatnonzero(somewhere.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3))
    return tuple(slice(max(int(s[0]) - _RADIUS - 1, 0), int(s[-1]) + _RADIUS + 2) for s in sides)


def _all_codes(labels: Sequence[Codes]) -> NDArray[np.int64]:
    """Every code but 0 that occurs, ascending."""
    each = [_codes(as_codes(one, "labels")) for one in labels]
    found: NDArray[np.int64] = np.unique(np.concatenate(each)).astype(np.int64)
    found = found[found != 0]
    if len(found) >= _CODES:
        raise UsageError(
            "atlas labels", expected=f"fewer than {_CODES} different labels", got=str(len(found)),
            remedy="check that these are label maps",
        )  # fmt: skip
    return found


def _codes(values: Codes) -> NDArray[Any]:
    """The values that occur; of small ones by counting, which is much faster."""
    if values.size and values.min() >= 0 and values.max() < 1 << 16:
        return np.flatnonzero(np.bincount(values.ravel()))
    return np.unique(values)


def _radii(spacing_mm: NDArray[np.float64]) -> Radii:
    p, q, r = (round(_RADIUS * float(spacing_mm.min() / step)) for step in spacing_mm)
    return p, q, r


def _dtype(codes: NDArray[np.int64]) -> Any:
    """The smallest type that NIfTI readers take and that holds all codes."""
    low, high = (int(codes[0]), int(codes[-1])) if len(codes) else (0, 0)
    fitting = (d for d in (np.uint8, np.int16, np.int32) if np.iinfo(d).min <= low and high <= np.iinfo(d).max)
    return next(fitting, np.int64)
