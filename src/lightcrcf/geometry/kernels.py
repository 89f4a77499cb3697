"""Warping, composition and resampling on voxel grids.

Displacements `u` are (3, D, H, W) float32 in voxels of their own grid; channel c moves along array axis c, and the
pull-back is moved(x) = moving(x + u(x)). Voxels are independent, so that results do not depend on the number of
threads. Inputs are copied only if they are not C-contiguous float32. Grids have less than 2^31 voxels.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.points import invert

__all__ = [
    "compose",
    "compose_upsampled",
    "invert",
    "resample",
    "upsample",
    "warp",
    "warp_upsampled",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]


def resample(
    moving: Array,
    shape: Shape,
    matrix: ArrayLike,
    *,
    field: Float32 | None = None,
    field_matrix: ArrayLike | None = None,
    vector_matrix: ArrayLike | None = None,
    interpolation: Literal["linear", "nearest", "cubic"] = "linear",
    fill: float = 0.0,
) -> Array:
    """Return moving at matrix @ [x, 1] + vector_matrix @ field(field_matrix @ [x, 1]) for every voxel x.

    Args:
        moving: (D, H, W); linear and cubic compute in float32, nearest keeps its dtype, of up to 8 bytes.
        shape: of the result.
        matrix: (3, 4), voxels of the result to voxels of `moving`.
        field: (3, d, h, w) displacement, interpolated linearly; None for no displacement.
        field_matrix: (3, 4), voxels of the result to voxels of `field`; the identity if None.
        vector_matrix: (3, 3), field vectors to voxels of `moving`; the identity if None.
        interpolation: linear, nearest, or cubic (Catmull-Rom).
        fill: value outside of `moving`.

    Returns:
        Array of `shape`: float32, or with nearest the dtype of `moving`.

    An index in [-0.5, n - 0.5) is inside and clamped to the border voxels, as in ITK; outside, `moving` is `fill`
    and the field is zero.

    Example:
        >>> moving = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        >>> resample(moving, (1, 1, 3), [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 2]], interpolation="nearest", fill=-1)
        array([[[22, 23, -1]]], dtype=int16)
    """
    matrices = (
        contiguous(matrix, np.float64),
        contiguous(np.eye(3, 4) if field_matrix is None else field_matrix, np.float64),
        contiguous(np.eye(3) if vector_matrix is None else vector_matrix),
    )
    vectors = None if field is None else contiguous(field)
    if interpolation == "nearest":
        # Nearest neighbour copies bits: one kernel per item size instead of one per dtype.
        nearest, bits = np.empty(shape, moving.dtype), f"u{moving.dtype.itemsize}"
        outside = np.full(1, fill).astype(moving.dtype).view(bits)[0]
        source = contiguous(moving, moving.dtype).view(bits)
        _core.resample_nearest(source, *matrices, vectors, int(outside), nearest.view(bits))
        return nearest
    out = np.empty(shape, np.float32)
    resample_by = _core.resample_cubic if interpolation == "cubic" else _core.resample_linear
    resample_by(contiguous(moving), *matrices, vectors, fill, out)
    return out


def warp(features: Float32, displacement: Float32, out: Float32 | None = None) -> Float32:
    """Return features(x + u(x)), trilinear, clamped at the borders.

    Args:
        features: (C, D, H, W).
        displacement: u, (3, D, H, W) voxels.
        out: (C, D, H, W) float32, overwritten and returned; a new array if None, whose allocation may take as long as
            the warp.

    Returns:
        (C, D, H, W) float32.

    Example:
        >>> ramp = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
        >>> shift = np.array([0, 0, 1.5], np.float32).reshape(3, 1, 1, 1) * np.ones_like(ramp)
        >>> warp(ramp, shift).ravel().tolist()
        [1.5, 2.5, 3.0, 3.0]
    """
    features = contiguous(features)
    out = np.empty_like(features) if out is None else out
    _core.warp(features, contiguous(displacement), out)
    return out


def warp_upsampled(features: Float32, coarse: Float32, factors: Shape = (2, 2, 2)) -> Float32:
    """Return warp(features, upsample(coarse, ...)) in one pass, without the full-size field.

    Args:
        features: (C, D, H, W).
        coarse: (3, d, h, w) voxels of the half-resolution grid; see `upsample`.

    Returns:
        (C, D, H, W) float32.
    """
    features = contiguous(features)
    if tuple(factors) != (2, 2, 2):
        depth, height, width = features.shape[1:]
        return warp(features, upsample(coarse, (depth, height, width), factors))
    out = np.empty_like(features)
    _core.warp_upsampled(features, contiguous(coarse), out)
    return out


def compose(u: Float32, v: Float32, out: Float32 | None = None) -> Float32:
    """Return (u o v)(x) = v(x) + u(x + v(x)): warping by the result equals warping by u, then by v.

    Args:
        u: (3, D, H, W) voxels, clamped at the borders.
        v: (3, D, H, W) voxels of the same grid.
        out: as in `warp`; neither u nor v.

    Returns:
        (3, D, H, W) float32.

    Example:
        >>> image = np.array([0, 0, 9, 4, 1, 0], np.float32).reshape(1, 1, 1, 6)
        >>> one = np.array([0, 0, 1], np.float32).reshape(3, 1, 1, 1) * np.ones_like(image)
        >>> wide = one * np.arange(6, dtype=np.float32) * 0.25
        >>> bool(np.allclose(warp(image, compose(wide, one))[..., :4], warp(warp(image, wide), one)[..., :4]))
        True
    """
    v = contiguous(v)
    out = np.empty_like(v) if out is None else out
    _core.compose(contiguous(u), v, out)
    return out


def compose_upsampled(coarse: Float32, residual: Float32) -> Float32:
    """Return compose(upsample(coarse, residual.shape[1:]), residual).

    Args:
        coarse: (3, d, h, w) voxels of the half-resolution grid.
        residual: (3, D, H, W) voxels.

    Returns:
        (3, D, H, W) float32.
    """
    _, depth, height, width = residual.shape
    return compose(upsample(coarse, (depth, height, width)), residual)


def upsample(coarse: Float32, shape: Shape, factors: Shape = (2, 2, 2)) -> Float32:
    """Return a displacement on the grid of twice the resolution: 2 * coarse((x - 0.5) / 2), clamped.

    Args:
        coarse: (3, d, h, w) voxels of its grid.
        shape: of the fine grid, at most (2 d, 2 h, 2 w).
        factors: between the grids along each axis: 2, or 1 for an axis that keeps its voxels.

    Returns:
        (3, *shape) float32, voxels of the fine grid.

    Example:
        >>> coarse = np.zeros((3, 1, 1, 2), np.float32)
        >>> coarse[2, 0, 0] = [1, 3]
        >>> upsample(coarse, (1, 1, 4))[2].ravel().tolist()
        [2.0, 3.0, 5.0, 6.0]
    """
    if tuple(factors) != (2, 2, 2):
        step = np.diag([1.0 / f for f in factors])
        matrix = np.column_stack([step, [0.5 / f - 0.5 for f in factors]])
        return np.stack([resample(u, shape, matrix) * np.float32(f) for u, f in zip(coarse, factors, strict=True)])
    out = np.empty((3, *shape), np.float32)
    _core.upsample(contiguous(coarse), out)
    return out
