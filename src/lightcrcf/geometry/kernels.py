"""Warping, composition and resampling on voxel grids.

Displacements `u` are (3, D, H, W) float32 in voxels of their own grid; channel c moves along array axis c, and the
pull-back is moved(x) = moving(x + u(x)). Voxels are independent, so that results do not depend on the number of
threads. Inputs are copied only if they are not C-contiguous, writable float32.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numba import prange
from numpy.typing import ArrayLike, NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.points import invert
from lightcrcf.geometry.sampling import (
    cell_row,
    coordinates_row,
    cubic_row,
    displaced_row,
    fill_outside,
    nearest_row,
    trilinear_row,
    upsampled_row,
)

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
    displaced = field is not None
    vectors = ready(field if displaced else np.zeros((3, 1, 1, 1)))
    matrices = (
        ready(matrix, np.float64),
        ready(np.eye(3, 4) if field_matrix is None else field_matrix, np.float64),
        ready(np.eye(3) if vector_matrix is None else vector_matrix, np.float32),
    )
    if interpolation == "nearest":
        # Nearest neighbour copies bits: one kernel per item size instead of one per dtype.
        nearest, bits = np.empty(shape, moving.dtype), f"u{moving.dtype.itemsize}"
        outside = np.full(1, fill).astype(moving.dtype).view(bits)[0]
        source = ready(moving, moving.dtype).reshape(-1).view(bits)
        _resample_nearest(source, moving.shape, *matrices, vectors, displaced, outside, nearest.view(bits))
        return nearest
    out = np.empty(shape, np.float32)
    _resample(ready(moving), *matrices, vectors, displaced, interpolation == "cubic", np.float32(fill), out)
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
    features = ready(features)
    out = np.empty_like(features) if out is None else out
    _pull(features, ready(displacement), False, False, out)
    return out


def warp_upsampled(features: Float32, coarse: Float32, factors: Shape = (2, 2, 2)) -> Float32:
    """Return warp(features, upsample(coarse, ...)) in one pass, without the full-size field.

    Args:
        features: (C, D, H, W).
        coarse: (3, d, h, w) voxels of the half-resolution grid; see `upsample`.

    Returns:
        (C, D, H, W) float32.
    """
    features = ready(features)
    if tuple(factors) != (2, 2, 2):
        depth, height, width = features.shape[1:]
        return warp(features, upsample(coarse, (depth, height, width), factors))
    out = np.empty_like(features)
    _pull(features, ready(coarse), True, False, out)
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
    v = ready(v)
    out = np.empty_like(v) if out is None else out
    _pull(ready(u), v, False, True, out)
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
    _upsample(ready(coarse), out)
    return out


# Kernels pass whole planes to device functions without array expressions: Numba compiles the body of `prange` twice,
# and each array expression adds seconds of compilation for shape errors. Argument lists are long because Numba has no
# cheap structure to group arguments.


@kernel
def _pull(features: Array, displacement: Array, coarse: bool, add: bool, out: Array) -> None:
    """out = features(x + u(x)), and plus u(x) if `add`; u is upsampled on the fly if `coarse`."""
    for i in prange(out.shape[1]):
        _pull_plane(features, displacement, coarse, add, np.int64(i), out)


@device
def _pull_plane(features: Array, displacement: Array, coarse: bool, add: bool, i: Any, out: Array) -> None:
    channels, _, height, width = out.shape
    line, u = np.empty(displacement.shape[3] + 2, np.float32), np.empty((3, width), np.float32)
    corner, fraction = np.empty(width, np.int64), np.empty((3, width), np.float32)
    points = np.empty((3, width), np.float32)
    for j in range(height):
        for c in range(3):
            if coarse:
                upsampled_row(displacement[c], i, j, line, u[c])
            else:
                for k in range(width):
                    u[c, k] = displacement[c, i, j, k]
        coordinates_row(i, j, u, points)
        cell_row(features.shape[1:], points, corner, fraction)
        for c in range(channels):
            trilinear_row(features[c], corner, fraction, out[c, i, j])
            if add:
                for k in range(width):
                    out[c, i, j, k] += u[c, k]


@kernel
def _upsample(coarse: Array, out: Array) -> None:
    for i in prange(out.shape[1]):
        _upsample_plane(coarse, np.int64(i), out)


@device
def _upsample_plane(coarse: Array, i: Any, out: Array) -> None:
    line = np.empty(coarse.shape[3] + 2, np.float32)
    for c in range(3):
        for j in range(out.shape[2]):
            upsampled_row(coarse[c], i, j, line, out[c, i, j])


@kernel
def _resample(
    moving: Array,
    matrix: Array,
    field_matrix: Array,
    vector_matrix: Array,
    field: Array,
    displaced: bool,
    cubic: bool,
    fill: Any,
    out: Array,
) -> None:
    for i in prange(out.shape[0]):
        _resample_plane(moving, matrix, field_matrix, vector_matrix, field, displaced, cubic, fill, np.int64(i), out)


@device
def _resample_plane(
    moving: Array,
    matrix: Array,
    field_matrix: Array,
    vector_matrix: Array,
    field: Array,
    displaced: bool,
    cubic: bool,
    fill: Any,
    i: Any,
    out: Array,
) -> None:
    _, height, width = out.shape
    corner, fraction = np.empty(width, np.int64), np.empty((3, width), np.float32)
    points, vector = np.empty((3, width), np.float32), np.empty((4, width), np.float32)
    between = np.empty(field.shape[3] + 2, np.float32)
    for j in range(height):
        displaced_row(
            matrix, field_matrix, vector_matrix, field, displaced, i, j, points, corner, fraction, vector, between
        )
        if cubic:
            cubic_row(moving, points, out[i, j])
        else:
            cell_row(moving.shape, points, corner, fraction)
            trilinear_row(moving, corner, fraction, out[i, j])
        fill_outside(moving.shape, points, fill, out[i, j])


@kernel
def _resample_nearest(
    moving: Array,
    moving_shape: Any,
    matrix: Array,
    field_matrix: Array,
    vector_matrix: Array,
    field: Array,
    displaced: bool,
    fill: Any,
    out: Array,
) -> None:
    for i in prange(out.shape[0]):
        _nearest_plane(
            moving, moving_shape, matrix, field_matrix, vector_matrix, field, displaced, fill, np.int64(i), out
        )


@device
def _nearest_plane(
    moving: Array,
    moving_shape: Any,
    matrix: Array,
    field_matrix: Array,
    vector_matrix: Array,
    field: Array,
    displaced: bool,
    fill: Any,
    i: Any,
    out: Array,
) -> None:
    _, height, width = out.shape
    corner, fraction = np.empty(width, np.int64), np.empty((3, width), np.float32)
    points, vector = np.empty((3, width), np.float32), np.empty((4, width), np.float32)
    between = np.empty(field.shape[3] + 2, np.float32)
    for j in range(height):
        displaced_row(
            matrix, field_matrix, vector_matrix, field, displaced, i, j, points, corner, fraction, vector, between
        )
        nearest_row(moving_shape, points, corner)
        line = out[i, j]
        for k in range(width):
            line[k] = moving[corner[k]] if corner[k] >= 0 else fill
