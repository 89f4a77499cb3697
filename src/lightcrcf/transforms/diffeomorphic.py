"""The nearest field we can find that does not fold, anywhere, as the field is read: trilinear between its voxels.

The reasons, and what was measured, are in docs/decisions/0008-diffeomorphic.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.compiled import ready
from lightcrcf.geometry.diffeomorphic_kernels import lowest_determinants, mark_around, smooth_at, unfold
from lightcrcf.geometry.kernels import upsample

__all__ = ["FLOOR", "Projected", "folded_percent", "least_determinant", "make_diffeomorphic"]

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

FLOOR = 0.05
"""The least that a determinant may be, unless another floor is asked for."""

_MARGIN = np.float32(0.02)  # above the floor, so that a neighbour's repair does not undo this one
_OVERSHOOT = np.float32(1.5)  # repairs of neighbours work against each other; more is needed than for a cell alone
_SWEEPS = 200  # real fields take 15, on grids of thick slices 85
_PATIENCE = 25  # sweeps in which what is left must have become half; otherwise it is stuck
_FEW = 1000  # cells that may take longer
_CROWDED = 0.1  # share of folded cells above which they are smoothed first
_DEPTHS = (0, 2, 4, 1, 3, 2, 4)  # grids of half the voxels, in turn until nothing folds
_RISE = np.float32(1.5)  # of the floor, from a grid to the next coarser one
_SHORTEST = 8  # voxels of an axis that is halved
_SHRINK = 0.75
_SHRINKS = 40


class Projected(NamedTuple):
    """A field that does not fold, and what that took.

    Args:
        displacement: (3, D, H, W) float32 voxels.
        changed_fraction: of the voxels, how many were moved.
        largest_change_voxels: the longest way that one was moved.
        passes: over what was folded.
    """

    displacement: Float32
    changed_fraction: float
    largest_change_voxels: float
    passes: int


def least_determinant(displacement: Float32) -> float:
    """A bound below all Jacobian determinants of x + u(x), between voxels too, and at and beyond the border.

    The least over all cells of the 27 Bernstein coefficients of the determinant of the trilinear map, and of the
    cell's two inner tetrahedra. If it is positive the map, continued beyond its border, is a homeomorphism of space.

    Args:
        displacement: u, (3, D, H, W) voxels.

    Example:
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1, :, 2:] = -0.5  # two rows of voxels move towards each other
        >>> least_determinant(u)
        0.5
    """
    return float(_determinants(ready(displacement), np.inf).min())


def folded_percent(displacement: Float32) -> float:
    """Share of the cells between voxels, and at the border, that are not proven free of folds; see `least_determinant`.

    Stricter than `evaluation.regularity.folding_percent`, which looks at central differences.

    Args:
        displacement: u, (3, D, H, W) voxels.
    """
    return 100.0 * float(np.mean(_folded(ready(displacement), np.finfo(np.float32).tiny)))


def make_diffeomorphic(displacement: Float32, *, floor: float = FLOOR) -> Projected:
    """A field close to the given one, with `least_determinant` of at least `floor`.

    Cells that fold are unfolded one by one, each by the shortest move of its eight voxels. If some are stuck it goes on
    from coarser grids, where wide folds are narrow. A field that even this does not unfold shrinks towards its mean
    until it does not fold, which ends at a translation at the latest. Fields that do not fold come back as they are.

    Args:
        displacement: u, (3, D, H, W) float32 voxels of its own grid.
        floor: least determinant, in (0, 0.5].

    Raises:
        InputError: if the displacement is no finite (3, D, H, W), or for a floor out of range.

    Example:
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1, 1, 2, 3] = 1.25  # one voxel jumps over the next
        >>> least_determinant(u) <= 0
        True
        >>> least_determinant(make_diffeomorphic(u).displacement) >= FLOOR
        True
    """
    start = _checked(displacement, floor)
    field, passes = _unfolded(start, np.float32(floor))
    if passes == 0:
        return Projected(field, 0.0, 0.0, 0)
    moved = (field != start).any(axis=0)
    change = np.linalg.norm(field[:, moved] - start[:, moved], axis=0)
    return Projected(field, change.size / moved.size, float(change.max(initial=0.0)), passes)


def _checked(displacement: Float32, floor: float) -> Float32:
    if not 0 < floor <= 0.5:
        raise InputError("floor", expected="a number in (0, 0.5]", got=str(floor), remedy="correct the number")
    field = np.asarray(displacement, np.float32)
    if field.ndim != 4 or field.shape[0] != 3 or field.size == 0 or not np.isfinite(field).all():
        raise InputError(
            "displacement",
            expected="finite numbers, (3, D, H, W)",
            got=f"shape {field.shape}" if field.ndim != 4 or field.shape[0] != 3 or field.size == 0 else "inf or nan",
            remedy="check the field",
        )
    return field


def _unfolded(start: Float32, floor: np.float32) -> tuple[Float32, int]:
    field, passes = start, 0
    for depth in _DEPTHS:
        # Going on from what is left, few cells as a rule: from the start others would be stuck.
        field, more = _nested(field, floor, depth)
        passes += more
        if not _folded(field, floor).any():
            return field, passes
    return _shrunk(field, floor), passes + 1


def _nested(start: Float32, floor: np.float32, depth: int) -> tuple[Float32, int]:
    """Unfold copies on grids of half the voxels first, `depth` times, as wide folds are stuck voxel by voxel.

    What the coarser grid changes is added to the finer one. The coarser the grid the higher the floor, so that little
    is left to do after interpolation.
    """
    field, passes = ready(start.copy()), 0
    factors = _factors(start.shape[1:])
    if depth and max(factors) > 1:
        coarse = downsample(start, factors)
        repaired, passes = _nested(coarse, min(_RISE * floor, np.float32(0.5)), depth - 1)
        d, h, w = start.shape[1:]
        field += upsample(repaired - coarse, (d, h, w), factors)
    folded = _folded(field, floor)
    while folded.mean() > _CROWDED and passes < _SWEEPS:
        _smooth(field, folded)
        folded, passes = _folded(field, floor), passes + 1
    return field, passes + _repair(field, np.flatnonzero(folded), floor)


def _factors(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """2 for axes that can be halved, 1 for those of few thick slices."""
    least = max(_SHORTEST, max(shape) / 2)
    a, b, c = (2 if n > least else 1 for n in shape)
    return a, b, c


def _repair(field: Float32, cells: NDArray[np.int64], floor: np.float32) -> int:
    """Sweep over `cells` and the neighbours of what was changed, until nothing changes or too little; the sweeps."""
    shape = _cells(field)
    near = np.zeros(shape, np.uint8)
    before = np.inf
    for sweep in range(_SWEEPS):
        if sweep % _PATIENCE == 1:  # the first sweep has found the neighbours
            if cells.size > max(before / 2, _FEW):
                return sweep
            before = cells.size
        if cells.size == 0:
            return sweep
        changed = []
        for colour in _colours(cells, shape):
            moved = np.zeros(colour.size, np.uint8)
            unfold(field, colour, floor, floor + _MARGIN, _OVERSHOOT, moved)
            changed.append(colour[moved != 0])
        near[...] = 0
        mark_around(np.concatenate(changed), near)
        cells = np.flatnonzero(near.view(np.bool_))
    return _SWEEPS


def _colours(cells: NDArray[np.int64], shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """The cells in eight groups by odd and even; within a group no two share a voxel, so that their order is free."""
    i, j, k = np.unravel_index(cells, shape)
    colour = (i & 1) * 4 + (j & 1) * 2 + (k & 1)
    return [cells[colour == c] for c in range(8)]


def _smooth(field: Float32, folded: Bool) -> None:
    """Average the voxels of folded cells with their neighbours."""
    mask = folded
    for axis in range(3):
        n = mask.shape[axis]
        mask = np.logical_or(mask.take(range(n - 1), axis), mask.take(range(1, n), axis))
    voxels = np.flatnonzero(mask)
    out = np.empty((3, voxels.size), np.float32)
    smooth_at(field, voxels, out)
    field.reshape(3, -1)[:, voxels] = out


def _shrunk(field: Float32, floor: np.float32) -> Float32:
    """The field nearer to its mean, as little as leaves no fold."""
    mean = field.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    for times in range(1, _SHRINKS):
        shrunk = ready(mean + np.float32(_SHRINK**times) * (field - mean))
        if not _folded(shrunk, floor).any():
            return shrunk
    return ready(np.broadcast_to(mean, field.shape).copy())


def _folded(field: Float32, floor: np.float32) -> Bool:
    return np.asarray(~(_determinants(field, float(floor)) >= floor))


def _determinants(field: Float32, enough: float) -> Float32:
    out = np.empty(_cells(field), np.float32)
    lowest_determinants(field, np.float32(enough), out)
    return out


def _cells(field: Any) -> tuple[int, ...]:
    return tuple(n + 1 for n in field.shape[1:])
