"""The Jacobian determinant of displacement fields, and a gradient step on its penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import HALF, ONE, neighbours

__all__ = ["determinants_at", "even_out", "jacobian_determinant", "voxels_around"]

Array = Any
Float32 = NDArray[np.float32]

MAX_RATIO, MIN_RATIO = np.float32(5.0), np.float32(1 / 5.0)  # determinants are clamped to this range


def jacobian_determinant(displacement: Float32, out: Float32 | None = None) -> Float32:
    """Return det(I + du/dx) at every voxel: local volume change, negative where the map folds.

    Args:
        displacement: u, (3, D, H, W) voxels.
        out: (D, H, W) float32, C-contiguous, overwritten and returned; must not share memory with u.

    Returns:
        (D, H, W) float32. Derivatives are central differences, one-sided at the borders.

    Example:
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1] = 0.5 * np.arange(5, dtype=np.float32)[:, None]
        >>> np.unique(jacobian_determinant(u)).tolist()
        [1.5]
    """
    out = np.empty(displacement.shape[1:], np.float32) if out is None else out
    _everywhere(ready(displacement), out)
    return out


def even_out(displacement: Float32, determinants: Float32, rate: float) -> None:
    """Take a gradient step, in place, on the penalty of volume change (J + 1 / J) / 2, J the Jacobian determinant.

    Near J = 1 the penalty is 1 + log(J)^2 / 2, symmetric in shrinking and growing. The step is u += rate * grad p, with
    p = (J - 1 / J) / 2, the derivative by log J. The derivative of J is taken at the identity.

    Args:
        displacement: u, (3, D, H, W) float32, C-contiguous, voxels.
        determinants: (D, H, W) float32 of u.
        rate: squared voxels; stable up to 2/3, where one step removes all but the longest waves.

    Source:
        A. D. Leow et al., "Statistical properties of Jacobian maps and the realization of unbiased large-deformation
        nonlinear image registration", IEEE Trans. Medical Imaging 2007 (why log J, and why symmetric). This penalty
        needs no logarithm.

    Example:
        >>> x = np.arange(40, dtype=np.float32)
        >>> u = np.zeros((3, 40, 40, 40), np.float32)
        >>> u[2] = np.sin(x / 3)
        >>> before = jacobian_determinant(u)
        >>> even_out(u, before, 0.5)
        >>> bool(np.log(jacobian_determinant(u)).std() < 0.97 * np.log(before).std())
        True
    """
    _even_out(displacement, determinants, np.float32(rate))


def determinants_at(displacement: Float32, voxels: NDArray[np.intp]) -> Float32:
    """Return `jacobian_determinant` at some voxels.

    Args:
        displacement: u, (3, D, H, W) voxels.
        voxels: (n,) indices into the flattened (D, H, W).

    Returns:
        (n,) float32.

    Example:
        >>> u = np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype(np.float32)
        >>> everywhere = jacobian_determinant(u).ravel()
        >>> bool(np.allclose(determinants_at(u, np.array([0, 77])), everywhere[[0, 77]], atol=1e-5))
        True
    """
    out = np.empty(len(voxels), np.float32)
    _at(ready(displacement), ready(voxels, np.int64), out)
    return out


def voxels_around(voxels: NDArray[np.intp], radius: int, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return all voxels in cubes around some voxels, each once.

    Args:
        voxels: (n,) indices into the flattened array.
        radius: voxels to each side.
        shape: (D, H, W) of the array.

    Returns:
        (m,) indices, in order.

    Example:
        >>> voxels_around(np.array([0, 5]), 1, (1, 2, 5)).tolist()
        [0, 1, 5, 6]
    """
    marked = np.zeros(shape, np.bool_)
    _mark(ready(voxels, np.int64), radius, marked)
    return np.flatnonzero(marked)


@kernel
def _mark(voxels: Array, radius: int, marked: Array) -> None:
    depth, height, width = marked.shape
    for n in prange(len(voxels)):
        i, j, k = voxels[n] // (height * width), voxels[n] // width % height, voxels[n] % width
        for a in range(max(i - radius, 0), min(i + radius + 1, depth)):
            for b in range(max(j - radius, 0), min(j + radius + 1, height)):
                for c in range(max(k - radius, 0), min(k + radius + 1, width)):
                    marked[a, b, c] = True


@kernel
def _everywhere(u: Array, out: Array) -> None:
    for i in prange(out.shape[0]):
        _plane(u, np.int64(i), out)


@device
def _plane(u: Array, i: Any, out: Array) -> None:
    _, height, width = out.shape
    for j in range(height):
        line = out[i, j]
        line[0] = _determinant(u, i, j, 0)
        # With known neighbours the compiler can vectorise the loop.
        i0, i1, by_i = neighbours(i, out.shape[0])
        j0, j1, by_j = neighbours(j, height)
        for k in range(1, width - 1):
            line[k] = _of_differences(u, i, j, k, i0, i1, by_i, j0, j1, by_j, k - 1, k + 1, HALF)
        if width > 1:
            line[width - 1] = _determinant(u, i, j, width - 1)


@kernel
def _even_out(u: Array, determinants: Array, rate: Any) -> None:
    for i in prange(determinants.shape[0]):
        _even_out_plane(u, determinants, rate, np.int64(i))


@device
def _even_out_plane(u: Array, determinants: Array, rate: Any, i: Any) -> None:
    depth, height, width = determinants.shape
    i0, i1, by_i = neighbours(i, depth)
    for j in range(height):
        j0, j1, by_j = neighbours(j, height)
        before, after, left, right = determinants[i0, j], determinants[i1, j], determinants[i, j0], determinants[i, j1]
        line, z, y, x = determinants[i, j], u[0, i, j], u[1, i, j], u[2, i, j]
        for k in range(width):
            z[k] += rate * by_i * (_excess(after[k]) - _excess(before[k]))
            y[k] += rate * by_j * (_excess(right[k]) - _excess(left[k]))
        for k in range(1, width - 1):
            x[k] += rate * HALF * (_excess(line[k + 1]) - _excess(line[k - 1]))
        if width > 1:
            x[0] += rate * (_excess(line[1]) - _excess(line[0]))
            x[width - 1] += rate * (_excess(line[width - 1]) - _excess(line[width - 2]))


@device
def _excess(determinant: Any) -> Any:
    """Return (J - 1 / J) / 2 with clamped J; NaN becomes the minimum."""
    ratio = determinant if determinant > MIN_RATIO else MIN_RATIO
    ratio = ratio if ratio < MAX_RATIO else MAX_RATIO
    return HALF * (ratio - ONE / ratio)


@kernel
def _at(u: Array, voxels: Array, out: Array) -> None:
    _, _, height, width = u.shape
    for n in prange(len(voxels)):
        row = voxels[n] // width
        out[n] = _determinant(u, row // height, row % height, voxels[n] % width)


@device
def _determinant(u: Array, i: Any, j: Any, k: Any) -> Any:
    i0, i1, by_i = neighbours(i, u.shape[1])
    j0, j1, by_j = neighbours(j, u.shape[2])
    k0, k1, by_k = neighbours(k, u.shape[3])
    return _of_differences(u, i, j, k, i0, i1, by_i, j0, j1, by_j, k0, k1, by_k)


@device
def _of_differences(
    u: Array, i: Any, j: Any, k: Any,
    i0: Any, i1: Any, by_i: Any, j0: Any, j1: Any, by_j: Any, k0: Any, k1: Any, by_k: Any,
) -> Any:  # fmt: skip
    a0 = ONE + by_i * (u[0, i1, j, k] - u[0, i0, j, k])
    a1 = by_i * (u[1, i1, j, k] - u[1, i0, j, k])
    a2 = by_i * (u[2, i1, j, k] - u[2, i0, j, k])
    b0 = by_j * (u[0, i, j1, k] - u[0, i, j0, k])
    b1 = ONE + by_j * (u[1, i, j1, k] - u[1, i, j0, k])
    b2 = by_j * (u[2, i, j1, k] - u[2, i, j0, k])
    c0 = by_k * (u[0, i, j, k1] - u[0, i, j, k0])
    c1 = by_k * (u[1, i, j, k1] - u[1, i, j, k0])
    c2 = ONE + by_k * (u[2, i, j, k1] - u[2, i, j, k0])
    return a0 * (b1 * c2 - b2 * c1) - a1 * (b0 * c2 - b2 * c0) + a2 * (b0 * c1 - b1 * c0)
