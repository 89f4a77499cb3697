"""Evaluation of displacement fields at arbitrary points, and their inversion point by point.

The map is y -> y + u(y), in voxels of u's grid, float64, with u continued beyond its border as it is there. Its inverse
is found point by point with Newton's method on the trilinear interpolant; a step that does not bring the point closer
is halved, and replaced by the plain fixed-point step -(y + u(y) - x). If this fails, at kinks between cells and at
folds, Newton's method restarts inside each nearby cell whose image may contain x: the image of a cell lies within the
bounding box of those of its eight voxels. For a bounded u a solution exists for every x, folds or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import ArrayLike, NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import is_inside, trilinear_cell

__all__ = ["displacement_at", "invert", "invert_at"]

Array = NDArray[Any]
Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

_MIN_DETERMINANT = 0.02  # below, the map is close to folding and Newton's step is too long
_REACH = 8  # search radius in cells around the best point


def displacement_at(displacement: Float32, voxels: ArrayLike) -> Float:
    """Return u at continuous voxel indices, trilinear; zero outside, as in ITK.

    Args:
        displacement: u, (3, D, H, W) voxels.
        voxels: (N, 3).

    Returns:
        (N, 3) float64 voxels.
    """
    points = ready(voxels, np.float64)
    out = np.empty_like(points)
    _displacement_at(ready(displacement), points, out)
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
    points = ready(voxels, np.float64)
    out = np.empty_like(points)
    _invert_at(ready(displacement), points, iterations, tolerance, out)
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
    u = ready(displacement)
    out = np.empty_like(u)
    _invert(u, iterations, tolerance, out)
    return out


@device
def _step(state: Array, residual: Array, out: Array) -> None:
    """out = (I + Du)^-1 residual, by Cramer's rule; the residual itself if close to singular."""
    a0, a1, a2 = 1.0 + state[0, 1], state[0, 2], state[0, 3]
    b0, b1, b2 = state[1, 1], 1.0 + state[1, 2], state[1, 3]
    c0, c1, c2 = state[2, 1], state[2, 2], 1.0 + state[2, 3]
    p, q, r = b1 * c2 - b2 * c1, b2 * c0 - b0 * c2, b0 * c1 - b1 * c0
    determinant = a0 * p + a1 * q + a2 * r
    x, y, z = residual[0], residual[1], residual[2]
    if not determinant > _MIN_DETERMINANT:
        out[0], out[1], out[2] = x, y, z
        return
    scale = 1.0 / determinant
    out[0] = scale * (p * x + (a2 * c1 - a1 * c2) * y + (a1 * b2 - a2 * b1) * z)
    out[1] = scale * (q * x + (a0 * c2 - a2 * c0) * y + (a2 * b0 - a0 * b2) * z)
    out[2] = scale * (r * x + (a1 * c0 - a0 * c1) * y + (a0 * b1 - a1 * b0) * z)


@device
def _solve(u: Array, x: Array, y: Array, iterations: int, tolerance: float, work: Array) -> Any:
    """Improve y in place until y + u(y) = x, and return the squared error.

    work is (7, 4): three rows for u and Du, then residual, step, trial, and one that is not used.
    """
    state, residual, step, trial = work[:3], work[3, :3], work[4, :3], work[5, :3]
    length, error = 1.0, np.inf
    for c in range(3):
        trial[c] = y[c]
    for _ in range(iterations + 1):
        trilinear_cell(u, trial[0], trial[1], trial[2], state)
        squared = 0.0
        for c in range(3):
            squared += (trial[c] + state[c, 0] - x[c]) ** 2
        if squared < error:
            for c in range(3):
                residual[c] = trial[c] + state[c, 0] - x[c]
                y[c] = trial[c]
            error, length = squared, min(2.0 * length, 1.0)
            if squared <= tolerance * tolerance:
                break
            _step(state, residual, step)
        else:
            length *= 0.5
            for c in range(3):
                step[c] = residual[c]
        for c in range(3):
            trial[c] = y[c] - length * step[c]
    return error


@device
def _find(u: Array, x: Array, y: Array, iterations: int, tolerance: float, work: Array) -> None:
    """Solve by `_solve`, and if that fails from the cells around, nearest first."""
    error = _solve(u, x, y, iterations, tolerance, work)
    if error <= tolerance * tolerance or not error < np.inf:
        return
    i, j, k = np.int64(np.floor(y[0])), np.int64(np.floor(y[1])), np.int64(np.floor(y[2]))
    for radius in range(_REACH + 1):
        for a in range(-radius, radius + 1):
            for b in range(-radius, radius + 1):
                stride = 1 if max(abs(a), abs(b)) == radius else 2 * radius
                for c in range(-radius, radius + 1, stride):
                    if _may_hold(u, i + a, j + b, k + c, x):
                        error = _solve_within(u, i + a, j + b, k + c, x, y, error, iterations, tolerance, work)
                        if error <= tolerance * tolerance:
                            return


@device
def _may_hold(u: Array, i: Any, j: Any, k: Any, x: Array) -> Any:
    """Return whether x is in the bounding box of the images of the eight corners of a cell."""
    for c in range(3):
        low, high = np.inf, -np.inf
        for n in range(8):
            a, b, d = i + (n >> 2), j + (n >> 1 & 1), k + (n & 1)
            at = a if c == 0 else (b if c == 1 else d)
            a, b = min(max(a, 0), u.shape[1] - 1), min(max(b, 0), u.shape[2] - 1)
            image = at + np.float64(u[c, a, b, min(max(d, 0), u.shape[3] - 1)])
            low, high = min(low, image), max(high, image)
        if not low <= x[c] <= high:
            return False
    return True


@device
def _solve_within(
    u: Array, i: Any, j: Any, k: Any, x: Array, y: Array, error: float, iterations: int, tolerance: float, work: Array
) -> Any:
    """Start from the centres of the octants of a cell, then from its own; improve y or keep it. Return its error."""
    guess = work[6, :3]
    for n in range(9):
        guess[0] = i + (0.5 if n == 8 else 0.25 + 0.5 * (n >> 2))
        guess[1] = j + (0.5 if n == 8 else 0.25 + 0.5 * (n >> 1 & 1))
        guess[2] = k + (0.5 if n == 8 else 0.25 + 0.5 * (n & 1))
        found = _solve(u, x, guess, iterations, tolerance, work)
        if found < error:
            error = found
            for c in range(3):
                y[c] = guess[c]
        if error <= tolerance * tolerance:
            break
    return error


@kernel
def _displacement_at(u: Array, points: Array, out: Array) -> None:
    for n in prange(points.shape[0]):
        state = np.empty((3, 4), np.float64)
        z, y, x = points[n, 0], points[n, 1], points[n, 2]
        trilinear_cell(u, z, y, x, state)
        weight = 1.0 if is_inside(u.shape[1:], z, y, x) else 0.0
        for c in range(3):
            out[n, c] = weight * state[c, 0]


@kernel
def _invert_at(u: Array, points: Array, iterations: int, tolerance: float, out: Array) -> None:
    for n in prange(points.shape[0]):
        work = np.empty((7, 4), np.float64)
        for c in range(3):
            out[n, c] = points[n, c]
        _find(u, points[n], out[n], iterations, tolerance, work)


@kernel
def _invert(u: Array, iterations: int, tolerance: float, out: Array) -> None:
    for i in prange(out.shape[1]):
        _invert_plane(u, iterations, tolerance, np.int64(i), out)


@device
def _invert_plane(u: Array, iterations: int, tolerance: float, i: Any, out: Array) -> None:
    _, _, height, width = out.shape
    work, x, y = np.empty((7, 4), np.float64), np.empty(3, np.float64), np.empty(3, np.float64)
    for j in range(height):
        for c in range(3):
            x[c] = y[c] = 0.0
        for k in range(width):
            # The initial value is the displacement of the previous voxel.
            y[0], y[1], y[2] = i + y[0] - x[0], j + y[1] - x[1], k + y[2] - x[2]
            x[0], x[1], x[2] = i, j, k
            _find(u, x, y, iterations, tolerance, work)
            for c in range(3):
                out[c, i, j, k] = y[c] - x[c]
