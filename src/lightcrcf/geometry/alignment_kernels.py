"""Kernels of the affine alignment: block means, normal equations and correlation sums, each in one pass.

Sums are float64 per slab of planes, and slabs are added in order, so that results do not depend on the number of
threads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.threads import threads_in_use, use_threads

__all__ = ["block_mean", "correlation_sums", "downsample", "images", "normal_equations", "threads_for"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Waking a thread takes as long as some ten thousand samples.
_VOXELS_PER_THREAD = 100_000


def block_mean(data: NDArray[Any], factors: tuple[int, int, int]) -> Float32:
    """Return means over blocks of `factors` voxels; incomplete blocks at the end average the voxels they have.

    Voxel c of the result lies at voxel c * factor + (factor - 1) / 2 of `data`.

    Args:
        data: (D, H, W) of any real type, in any memory order. Non-finite values count as zero.
        factors: voxels of a block along each axis, at least 1.

    Returns:
        (ceil(D / f0), ceil(H / f1), ceil(W / f2)) float32.

    Example:
        >>> block_mean(np.arange(8).reshape(1, 2, 4), (1, 2, 2)).tolist()
        [[[2.5, 4.5]]]
    """
    # The pass follows the memory order.
    copy = data.astype(np.float32, order="K", copy=False)
    order = np.argsort([-abs(s) for s in copy.strides], kind="stable")
    lines = contiguous(copy.transpose(order))
    edges = [int(factors[axis]) for axis in order]
    means = np.empty([-(-n // f) for n, f in zip(lines.shape, edges, strict=True)], np.float32)
    with threads_for(data.size):
        _core.block_mean(lines, edges, means)
    return np.ascontiguousarray(means.transpose(np.argsort(order)))


def downsample(displacement: Float32, factors: tuple[int, int, int] = (2, 2, 2)) -> Float32:
    """Return a displacement on the grid of half the resolution: block means, in voxels of that grid.

    Args:
        displacement: (3, D, H, W) voxels of its grid.
        factors: 2, or 1 for an axis that keeps its voxels, as for `kernels.upsample`.

    Returns:
        (3, ceil(D / 2), ceil(H / 2), ceil(W / 2)) float32; an axis with factor 1 keeps its size.

    Example:
        >>> fine = np.zeros((3, 1, 1, 4), np.float32)
        >>> fine[2, 0, 0] = [2, 3, 5, 6]
        >>> downsample(fine, (1, 1, 2))[2].ravel().tolist()
        [1.25, 2.75]
    """
    return np.stack([block_mean(u, factors) / np.float32(f) for u, f in zip(displacement, factors, strict=True)])


def normal_equations(
    fixed: Float32, weight: Float32, moving: Float32, valid: Float32, matrix: Float64, blank_outside: bool
) -> Float64:
    """Return the Gram matrix (normal equations) for a Gauss-Newton step on an affine.

    Its columns are [dm/dmatrix (12, row-major), m, 1, f]. Its rows are the fixed voxels x, with q = matrix @ [x, 1],
    f = fixed(x), m = moving(q) (trilinear), and the weight weight(x) * valid(q) (nearest voxel).

    Args:
        fixed, weight: (D, H, W) float32.
        moving, valid: (d, h, w) float32.
        matrix: (3, 4) float64, fixed voxels to moving voxels.
        blank_outside: whether voxels outside the moving grid count as zero, or are excluded.

    Returns:
        (15, 15) float64, symmetric.
    """
    out = np.empty((15, 15))
    with threads_for(fixed.size):
        _core.normal_equations(
            *images(fixed, weight, moving, valid), contiguous(matrix, np.float64), blank_outside, out
        )
    return out


def correlation_sums(
    fixed: Float32, weight: Float32, moving: Float32, valid: Float32, matrices: Float64, blank_outside: bool
) -> Float64:
    """Return the sums for the correlation of fixed and moving under each of many affines.

    Args:
        fixed, weight, moving, valid, blank_outside: as for `normal_equations`.
        matrices: (n, 3, 4) float64, fixed voxels to moving voxels.

    Returns:
        (n, 6) float64: weighted sums of m m, m, m f, 1, f and f f.
    """
    out = np.empty((len(matrices), 6))
    with threads_for(fixed.size * len(matrices)):
        _core.correlation_sums(
            *images(fixed, weight, moving, valid), contiguous(matrices, np.float64), blank_outside, out
        )
    return out


def images(
    fixed: Float32, weight: Float32, moving: Float32, valid: Float32
) -> tuple[Float32, Float32, Float32, Float32]:
    """Return the volumes of an alignment as the kernels take them."""
    return contiguous(fixed), contiguous(weight), contiguous(moving), contiguous(valid)


def threads_for(voxels: int) -> AbstractContextManager[int]:
    """Limit threads by the amount of work: on a busy machine each one adds latency."""
    return use_threads(min(threads_in_use(), max(1, voxels // _VOXELS_PER_THREAD)))
