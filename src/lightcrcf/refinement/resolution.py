"""Shapes and displacement fields at the levels of the refinement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.kernels import upsample

__all__ = ["coarse_shape", "factors", "resample_half", "upsample_to"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]


def factors(scale: int, pool: Shape) -> Shape:
    """Return the factor between full resolution and `scale` along each axis.

    Example:
        >>> factors(4, (2, 2, 1))
        (4, 4, 1)
    """
    a, b, c = (scale if p == 2 else 1 for p in pool)
    return a, b, c


def coarse_shape(shape: tuple[int, ...], scale: int, pool: Shape) -> Shape:
    """Return the shape of a grid of `shape` at `scale`.

    Example:
        >>> coarse_shape((33, 40, 7), 4, (2, 2, 1))
        (9, 10, 7)
    """
    a, b, c = (-(-n // f) for n, f in zip(shape, factors(scale, pool), strict=True))
    return a, b, c


def upsample_to(field: Float32, scale: int, target: int, shape: tuple[int, ...], pool: Shape) -> Float32:
    """Upsample a displacement field from `scale` to the finer `target`, in voxels of each.

    Args:
        field: (3, d, h, w) voxels at `scale`.
        scale, target: 1, 2, 4 or 8.
        shape: of full resolution.
        pool: downsampling factor between two levels along each axis.
    """
    while scale > target:
        scale //= 2
        field = upsample(field, coarse_shape(shape, scale, pool), pool)
    return field


def resample_half(field: Float32, target: int, shape: tuple[int, ...], pool: Shape) -> Float32:
    """Bring a displacement field of half resolution to `target`, coarser or finer; arguments as of `upsample_to`."""
    scale = 2
    while scale < target:
        field, scale = downsample(field, pool), 2 * scale
    return upsample_to(field, scale, target, shape, pool)
