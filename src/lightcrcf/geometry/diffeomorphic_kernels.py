"""Detection and repair of folds in the cells between voxels.

The map is y = x + u(x), trilinear in each cell between eight voxels. Cell (i, j, k) lies between the voxels
(i - 1, j - 1, k - 1) and (i, j, k): a field of D x H x W voxels has (D + 1) x (H + 1) x (W + 1) cells, those at the
border with u repeated beyond it. In a cell the Jacobian determinant is a polynomial of second degree along each axis;
it lies between the minimum and the maximum of its 27 Bernstein coefficients. Each of these is a weighted sum of
determinants of three of the cell's edges, and so is the volume of its two inner tetrahedra: 29 numbers to a cell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["cell_shape", "lowest_determinants", "mark_around", "smooth_at", "unfold"]

Float32 = NDArray[np.float32]
Indices = NDArray[np.int64]
Shape = tuple[int, int, int]


def cell_shape(u: Float32) -> Shape:
    """Return the number of cells along each axis of a field (3, D, H, W)."""
    _, depth, height, width = u.shape
    return depth + 1, height + 1, width + 1


def lowest_determinants(u: Float32) -> Float32:
    """Return the least number of each cell, a lower bound of the Jacobian determinant within it.

    Args:
        u: (3, D, H, W) voxels.

    Returns:
        (D + 1, H + 1, W + 1) float32; NaN where a number is NaN.

    Example:
        >>> u = np.zeros((3, 2, 2, 3), np.float32)
        >>> u[2, ..., 1] = 1.5  # over the next voxel
        >>> lowest_determinants(u)[1, 1].tolist()
        [1.0, 2.5, -0.5, 1.0]
    """
    out = np.empty(cell_shape(u), np.float32)
    _core.lowest_determinants(contiguous(u), out)
    return out


def unfold(u: Float32, cells: Indices, floor: float, target: float, factor: float) -> NDArray[np.bool_]:
    """Move the voxels of cells with a number below `floor` along its gradient, by `factor` times the gap to `target`.

    Each move is a Newton step on the linearised number, limited to half a voxel, and repeated once if needed. No two
    cells may share a voxel.

    Args:
        u: (3, D, H, W) float32, C-contiguous, changed in place.
        cells: (N) flat indices of cells.
        floor, target, factor: as float32.

    Returns:
        (N) whether the cell changed.
    """
    moved = np.empty(cells.size, np.uint8)
    _core.unfold(u, contiguous(cells, np.int64), floor, target, factor, moved)
    return moved.view(np.bool_)


def mark_around(cells: Indices, shape: Shape) -> NDArray[np.bool_]:
    """Return a mask of this shape (D, H, W) of the flat indices `cells` and their 26 neighbours."""
    marked = np.zeros(shape, np.uint8)
    _core.mark_cubes(contiguous(cells, np.int64), 1, marked)
    return marked.view(np.bool_)


def smooth_at(u: Float32, voxels: Indices) -> Float32:
    """Return u (3, D, H, W) averaged with the weights 1, 2, 1 along each axis at flat indices (N): (3, N)."""
    out = np.empty((3, voxels.size), np.float32)
    _core.smooth_at(contiguous(u), contiguous(voxels, np.int64), out)
    return out
