"""Evaluation of displacement fields at arbitrary points, and their inversion point by point.

The map is y -> y + u(y), in voxels of u's grid, float64, with u continued beyond its border as it is there. Its inverse
is found point by point with Newton's method on the trilinear interpolant; a step that does not bring the point closer
is halved, and replaced by the plain fixed-point step -(y + u(y) - x). If this fails, at kinks between cells and at
folds, Newton's method restarts inside each nearby cell whose image may contain x: the image of a cell lies within the
bounding box of those of its eight voxels. For a bounded u a solution exists for every x, folds or not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["displacement_at", "invert", "invert_at"]

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]


def displacement_at(displacement: Float32, voxels: ArrayLike) -> Float:
    """Return u at continuous voxel indices, trilinear; zero outside, as in ITK.

    Args:
        displacement: u, (3, D, H, W) voxels.
        voxels: (N, 3).

    Returns:
        (N, 3) float64 voxels.
    """
    points = contiguous(voxels, np.float64)
    out = np.empty_like(points)
    _core.displacement_at(contiguous(displacement), points, out)
    return out


def invert_at(displacement: Float32, voxels: ArrayLike, *, iterations: int = 100, tolerance: float = 1e-6) -> Float:
    """Return the points y with y + u(y) = x, with u clamped at the borders.

    Args:
        displacement: u, (3, D, H, W) voxels.
        voxels: x, (N, 3).
        iterations: maximum number of steps from each start.
        tolerance: stop at |y + u(y) - x| <= tolerance voxels.

    Returns:
        (N, 3) float64; where u folds, one of the solutions, or the closest point found (see `invert`).
    """
    points = contiguous(voxels, np.float64)
    out = np.empty_like(points)
    _core.invert_at(contiguous(displacement), points, iterations, tolerance, out)
    return out


def invert(displacement: Float32, *, iterations: int = 30, tolerance: float = 1e-3) -> Float32:
    """Return the inverse v of u: x + v(x) + u(x + v(x)) = x at every voxel, with u clamped at the borders.

    Where u folds, v is one of several solutions, and discontinuous. The tolerance is met at every voxel of fields
    without folds, and nearly everywhere in others: the search ends 8 voxels from the closest point of Newton's method.

    Args:
        displacement: u, (3, D, H, W) voxels.
        iterations: maximum number of steps from each start.
        tolerance: maximum error in voxels.

    Returns:
        v, (3, D, H, W) float32 voxels.

    Example:
        >>> stretch = np.zeros((3, 2, 3, 5), np.float32)
        >>> stretch[2] = 0.5 * np.arange(5)
        >>> (3 * invert(stretch)[2, 0, 0]).round(3).tolist()
        [0.0, -1.0, -2.0, -3.0, -4.0]
    """
    u = contiguous(displacement)
    out = np.empty_like(u)
    _core.invert(u, iterations, tolerance, out)
    return out
