"""Label fusion: voting, and weighted voting by local similarity, of atlases on one grid."""

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
_RADIUS = 2  # of patches, in units of the smallest spacing
_SIGMA = 0.6  # of the Gaussian weights of neighbouring votes, in the smallest voxels
_CODES = 1 << 15  # number of labels that int16 holds


@dataclass(frozen=True, eq=False)
class Fused:
    """Result of label fusion.

    Args:
        labels: (D, H, W) integers.
        confidence: (D, H, W) float32 in (0, 1], the fraction of the weighted votes for the label; 1 where all agree.
        weights: mean weight of each atlas over the voxels of disagreement, in their order; they sum to one.
        disagreements: number of voxels in which atlases disagree.
    """

    labels: Codes
    confidence: Float32
    weights: tuple[float, ...]
    disagreements: int


def fuse(
    target: Float32, images: Sequence[Float32], labels: Sequence[Codes], spacing_mm: Sequence[float], method: str
) -> Fused:
    """Fuse label maps.

    `vote` is majority voting (Rohlfing et al., NeuroImage 21, 2004; ties go to the first atlas). `weighted` weighs
    votes by the similarity of the patches of atlas and target around the voxel, `joint` also by the correlation of the
    errors of atlases (joint label fusion), see `fusion_kernels.atlas_weights`. Both add the votes of neighbouring
    voxels with Gaussian weights.

    Args:
        target: (D, H, W) normalised image.
        images: (D, H, W) normalised image of each atlas on the grid of the target.
        labels: (D, H, W) label map of each atlas on that grid.
        spacing_mm: (3,) of the grid.
        method: one of `FUSIONS`.

    Raises:
        UsageError: for an unknown method, or more than 32,767 different labels.

    Example:
        >>> maps = [np.full((2, 3, 4), code, np.uint8) for code in (7, 9, 7)]
        >>> image = np.zeros((2, 3, 4), np.float32)
        >>> fused = fuse(image, [image] * 3, maps, (1, 1, 1), "vote")
        >>> int(fused.labels[0, 0, 0]), round(float(fused.confidence[0, 0, 0]), 3), fused.disagreements
        (7, 0.667, 24)
    """
    if method not in FUSIONS:
        raise UsageError("fusion", expected=f"one of {', '.join(FUSIONS)}", got=method, remedy="correct the name")
    box, codes = _bounding_box(labels), _all_codes(labels)
    maps = np.stack([code_indices(as_codes(one, "labels")[box], codes).astype(np.int16) for one in labels])
    disagreements: NDArray[np.bool_] = (maps != maps[0]).any(axis=0)
    count = int(np.count_nonzero(disagreements))
    places = np.full(disagreements.shape, -1, np.int32)
    places[disagreements] = np.arange(count, dtype=np.int32)
    spacing = np.asarray(spacing_mm, np.float64)
    if method == "vote":
        weights, neighbour_weights = np.full((count, len(maps)), 1 / len(maps), np.float32), np.zeros(3, np.float32)
    else:
        stack = np.stack([*(image[box] for image in images), target[box]]).astype(np.float32, copy=False)
        weights = atlas_weights(stack, places, count, _radii(spacing), joint=method == "joint")
        neighbour_weights = np.exp(-0.5 * (spacing / (_SIGMA * spacing.min())) ** 2).astype(np.float32)
    found, fraction = vote(maps, places, weights, neighbour_weights, len(codes) + 1)
    fused, confidence = np.zeros(target.shape, _dtype(codes)), np.ones(target.shape, np.float32)
    fused[box], confidence[box] = np.concatenate([[0], codes]).astype(fused.dtype)[found], fraction
    mean = weights.mean(axis=0, dtype=np.float64) if count else np.full(len(maps), 1 / len(maps))
    return Fused(fused, confidence, tuple(float(value) for value in mean), count)


def fusion_bytes(voxels: int, atlases: int, itemsize: int) -> int:
    """Return the peak memory in bytes of propagated atlases and their fusion, if atlases disagree in every voxel."""
    return voxels * (atlases * (4 + itemsize + 4 + 2 + 4) + 4 + 4 + 4 + 4)


def _bounding_box(labels: Sequence[Codes]) -> tuple[slice, ...]:
    """Return the bounding box of all labels with a margin for patches; the whole grid without labels."""
    somewhere = np.logical_or.reduce([one != 0 for one in labels])
    if not somewhere.any():
        return tuple(slice(0, n) for n in somewhere.shape)
    sides = (np.flatnonzero(somewhere.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3))
    return tuple(slice(max(int(s[0]) - _RADIUS - 1, 0), int(s[-1]) + _RADIUS + 2) for s in sides)


def _all_codes(labels: Sequence[Codes]) -> NDArray[np.int64]:
    """Return all nonzero codes, ascending."""
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
    """Return the distinct values; small ones by a histogram, which is much faster."""
    if values.size and values.min() >= 0 and values.max() < 1 << 16:
        return np.flatnonzero(np.bincount(values.ravel()))
    return np.unique(values)


def _radii(spacing_mm: NDArray[np.float64]) -> Radii:
    p, q, r = (round(_RADIUS * float(spacing_mm.min() / step)) for step in spacing_mm)
    return p, q, r


def _dtype(codes: NDArray[np.int64]) -> Any:
    """Return the smallest dtype common in NIfTI files that holds all codes."""
    low, high = (int(codes[0]), int(codes[-1])) if len(codes) else (0, 0)
    fitting = (d for d in (np.uint8, np.int16, np.int32) if np.iinfo(d).min <= low and high <= np.iinfo(d).max)
    return next(fitting, np.int64)
