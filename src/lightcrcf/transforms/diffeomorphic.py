"""Projection of a displacement field to a nearby one that is diffeomorphic as a trilinear interpolant.

Reasons and measurements: docs/decisions/0008-diffeomorphic.md.
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

__all__ = ["MIN_DETERMINANT", "Projection", "folded_percent", "make_diffeomorphic", "min_determinant"]

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

MIN_DETERMINANT = 0.05
"""Default lower bound of the Jacobian determinant."""

_MARGIN = np.float32(0.02)  # above the bound, so that the repair of a neighbour does not undo this one
_OVERSHOOT = np.float32(1.5)  # over-relaxation, since repairs of neighbours work against each other
_MAX_SWEEPS = 200  # real fields need 15, on grids of thick slices 85
_PATIENCE = 25  # sweeps within which the number of cells must halve; otherwise the repair is stuck
_FEW_CELLS = 1000  # cells: up to so many may take longer
_MAX_FOLDED_FRACTION = 0.1  # fraction of folded cells above which they are smoothed first
_DEPTHS = (0, 2, 4, 1, 3, 2, 4)  # numbers of halvings of the grid, tried in turn until nothing folds
_FLOOR_GROWTH = np.float32(1.5)  # factor on the bound from a grid to the next coarser one
_MIN_AXIS = 8  # voxels; shorter axes are not halved
_SHRINK = 0.75
_MAX_SHRINKS = 40


class Projection(NamedTuple):
    """A field without folds, and its difference from the original.

    Args:
        displacement: (3, D, H, W) float32 voxels.
        changed_fraction: fraction of voxels that changed.
        largest_change_voxels: largest change in voxels.
        passes: number of sweeps over folded cells.
    """

    displacement: Float32
    changed_fraction: float
    largest_change_voxels: float
    passes: int


def min_determinant(displacement: Float32) -> float:
    """Return a lower bound of the Jacobian determinant of x + u(x), between voxels and beyond the border too.

    The bound is the minimum over all cells of the 27 Bernstein coefficients of the determinant of the trilinear map,
    and of the two inner tetrahedra of the cell. If it is positive, the map, extended beyond its border, is a
    homeomorphism of space.

    Args:
        displacement: u, (3, D, H, W) voxels.

    Example:
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1, :, 2:] = -0.5  # two rows of voxels move towards each other
        >>> min_determinant(u)
        0.5
    """
    return float(_min_determinants(ready(displacement), np.inf).min())


def folded_percent(displacement: Float32) -> float:
    """Return the percentage of cells without a positive bound on the determinant; see `min_determinant`.

    This is stricter than `evaluation.regularity.folding_percent`, which uses central differences.

    Args:
        displacement: u, (3, D, H, W) voxels.
    """
    return 100.0 * float(np.mean(_folded(ready(displacement), np.finfo(np.float32).tiny)))


def make_diffeomorphic(displacement: Float32, *, floor: float = MIN_DETERMINANT) -> Projection:
    """Project a field to a nearby one with `min_determinant` of at least `floor`.

    Folded cells are repaired one by one, each by the smallest move of its eight voxels. If some stay folded, coarser
    grids are repaired first, where wide folds are narrow. If that fails, the field shrinks towards its mean until it
    does not fold; the limit is a translation. Fields without folds are returned unchanged.

    Args:
        displacement: u, (3, D, H, W) float32 voxels of its own grid.
        floor: lower bound of the determinant, in (0, 0.5].

    Raises:
        InputError: if the displacement is not finite or not (3, D, H, W), or the floor is out of range.

    Example:
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1, 1, 2, 3] = 1.25  # one voxel jumps over the next
        >>> min_determinant(u) <= 0
        True
        >>> min_determinant(make_diffeomorphic(u).displacement) >= MIN_DETERMINANT
        True
    """
    start = _validate(displacement, floor)
    field, passes = _unfold_at_depths(start, np.float32(floor))
    if passes == 0:
        return Projection(field, 0.0, 0.0, 0)
    moved = (field != start).any(axis=0)
    change = np.linalg.norm(field[:, moved] - start[:, moved], axis=0)
    return Projection(field, change.size / moved.size, float(change.max(initial=0.0)), passes)


def _validate(displacement: Float32, floor: float) -> Float32:
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


def _unfold_at_depths(start: Float32, floor: np.float32) -> tuple[Float32, int]:
    field, passes = start, 0
    for depth in _DEPTHS:
        # Continue from the last result, which usually has few folds; from the start, other cells would get stuck.
        field, more = _unfold_nested(field, floor, depth)
        passes += more
        if not _folded(field, floor).any():
            return field, passes
    return _shrink(field, floor), passes + 1


def _unfold_nested(start: Float32, floor: np.float32, depth: int) -> tuple[Float32, int]:
    """Repair a copy on the grid of half resolution first, recursively `depth` times, to resolve wide folds.

    The change on the coarser grid is added to the finer one. The bound rises with each coarser grid, so that few folds
    remain after interpolation.
    """
    field, passes = ready(start.copy()), 0
    factors = _factors(start.shape[1:])
    if depth and max(factors) > 1:
        coarse = downsample(start, factors)
        repaired, passes = _unfold_nested(coarse, min(_FLOOR_GROWTH * floor, np.float32(0.5)), depth - 1)
        d, h, w = start.shape[1:]
        field += upsample(repaired - coarse, (d, h, w), factors)
    folded = _folded(field, floor)
    while folded.mean() > _MAX_FOLDED_FRACTION and passes < _MAX_SWEEPS:
        _smooth(field, folded)
        folded, passes = _folded(field, floor), passes + 1
    return field, passes + _sweep(field, np.flatnonzero(folded), floor)


def _factors(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return 2 for axes that can be halved, 1 for axes of few thick slices."""
    least = max(_MIN_AXIS, max(shape) / 2)
    a, b, c = (2 if n > least else 1 for n in shape)
    return a, b, c


def _sweep(field: Float32, cells: NDArray[np.int64], floor: np.float32) -> int:
    """Sweep over `cells` and the neighbours of changed cells until convergence or stagnation; return the sweeps."""
    shape = _cell_shape(field)
    near = np.zeros(shape, np.uint8)
    before = np.inf
    for sweep in range(_MAX_SWEEPS):
        if sweep % _PATIENCE == 1:  # the first sweep has found the neighbours
            if cells.size > max(before / 2, _FEW_CELLS):
                return sweep
            before = cells.size
        if cells.size == 0:
            return sweep
        changed = []
        for colour in _color_classes(cells, shape):
            moved = np.zeros(colour.size, np.uint8)
            unfold(field, colour, floor, floor + _MARGIN, _OVERSHOOT, moved)
            changed.append(colour[moved != 0])
        near[...] = 0
        mark_around(np.concatenate(changed), near)
        cells = np.flatnonzero(near.view(np.bool_))
    return _MAX_SWEEPS


def _color_classes(cells: NDArray[np.int64], shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Split cells into eight groups by parity; cells of a group share no voxel, so that their order is irrelevant."""
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


def _shrink(field: Float32, floor: np.float32) -> Float32:
    """Shrink the field towards its mean as little as removes all folds."""
    mean = field.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    for times in range(1, _MAX_SHRINKS):
        shrunk = ready(mean + np.float32(_SHRINK**times) * (field - mean))
        if not _folded(shrunk, floor).any():
            return shrunk
    return ready(np.broadcast_to(mean, field.shape).copy())


def _folded(field: Float32, floor: np.float32) -> Bool:
    return np.asarray(~(_min_determinants(field, float(floor)) >= floor))


def _min_determinants(field: Float32, enough: float) -> Float32:
    out = np.empty(_cell_shape(field), np.float32)
    lowest_determinants(field, np.float32(enough), out)
    return out


def _cell_shape(field: Any) -> tuple[int, ...]:
    return tuple(n + 1 for n in field.shape[1:])
