"""Features in bfloat16 between convolutions: space-to-depth, channels-last layout and warping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.engines.bfloat16 import GROUP, PAIRS, Bfloat16Features
from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.feature_kernels import interpolate_features_row
from lightcrcf.geometry.sampling import ZERO, cell_row, coordinates_row
from lightcrcf.geometry.tiles import pack_pair
from lightcrcf.network.config import Shape

__all__ = ["space_to_depth_bfloat16", "to_channels_last", "warp_bfloat16"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


def space_to_depth_bfloat16(image: Float32, pool: Shape, out: Bfloat16Features) -> None:
    """Write the space-to-depth of an image (D, H, W) to `out`; see `engines.blocks.space_to_depth`."""
    _space_to_depth_bfloat16(ready(image), pool, out.row, out.size, out.data)


def to_channels_last(features: Bfloat16Features, out: Int32) -> Int32:
    """Convert features to channels-last layout, blocked by 8, so that one load takes eight channels of a voxel.

    Args:
        features: of C channels on (D, H, W), C a multiple of 8.
        out: (C / 8, D, H, W, 4) pairs, overwritten and returned.
    """
    _channels_last(features.data, features.row, out)
    return out


def warp_bfloat16(features: Int32, displacement: Float32, out: Bfloat16Features, first: int) -> None:
    """Warp features, clamped at the borders, and append the displacement as channels.

    Args:
        features: (C / 8, D, H, W, 4) pairs, from `to_channels_last`.
        displacement: (3, D, H, W), voxels.
        out: overwritten from pair `first` on with C / 2 pairs of features and two of the displacement.
    """
    _warp_bfloat16(features, ready(displacement), out.row, out.size, out.data[first * out.size :])


@kernel
def _space_to_depth_bfloat16(image: Array, pool: Any, row: Any, size: Any, out: Array) -> None:
    for i in prange(image.shape[0] // pool[0]):
        _image_plane(image, pool, row, size, np.int64(i), out)


@device
def _image_plane(image: Array, pool: Any, row: Any, size: Any, i: Any, out: Array) -> None:
    down, over, along = pool
    height, width = image.shape[1] // over, image.shape[2] // along
    for j in range(height):
        at = ((i + 1) * (height + 2) + j + 1) * row + 1
        if along == 2:
            for p in range(down * over):
                line, target = image[down * i + p // over, over * j + p % over], out[p * size + at :]
                for k in range(width):
                    target[k] = pack_pair(line[2 * k], line[2 * k + 1])
        else:
            for p in range(down * over // 2):
                n, m = 2 * p, 2 * p + 1
                low, high = (
                    image[down * i + n // over, over * j + n % over],
                    image[down * i + m // over, over * j + m % over],
                )
                target = out[p * size + at :]
                for k in range(width):
                    target[k] = pack_pair(low[k], high[k])


@kernel
def _channels_last(source: Array, row: Any, out: Array) -> None:
    for i in prange(out.shape[1]):
        _channels_last_plane(source, row, np.int64(i), out)


@device
def _channels_last_plane(source: Array, row: Any, i: Any, out: Array) -> None:
    blocks, depth, height, width, _ = out.shape
    size = (depth + 2) * (height + 2) * row
    for block in range(blocks):
        for j in range(height):
            at = block * PAIRS * size + ((i + 1) * (height + 2) + j + 1) * row + 1
            p, q, r, s = source[at:], source[at + size :], source[at + 2 * size :], source[at + 3 * size :]
            line = out[block, i, j]
            for k in range(width):
                line[k, 0], line[k, 1], line[k, 2], line[k, 3] = p[k], q[k], r[k], s[k]


@kernel
def _warp_bfloat16(features: Array, displacement: Array, row: Any, size: Any, out: Array) -> None:
    for i in prange(displacement.shape[1]):
        _warped_plane(features, displacement, row, size, np.int64(i), out)


@device
def _warped_plane(features: Array, displacement: Array, row: Any, size: Any, i: Any, out: Array) -> None:
    _, depth, height, width = displacement.shape
    points, fraction = np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    corner, weights = np.empty(width, np.int64), np.empty((GROUP, width), np.float32)
    for j in range(height):
        u = displacement[:, i, j]
        coordinates_row(i, j, u, points)
        cell_row((depth, height, width), points, corner, fraction)
        at = ((i + 1) * (height + 2) + j + 1) * row + 1
        for block in range(features.shape[0]):
            flat = features[block].reshape(-1)
            interpolate_features_row(
                flat, PAIRS, (depth, height, width), corner, fraction, weights, out, block * PAIRS * size + at, size
            )
        flow = features.shape[0] * PAIRS * size + at
        first, second = out[flow:], out[flow + size :]
        for k in range(width):
            first[k], second[k] = pack_pair(u[0, k], u[1, k]), pack_pair(u[2, k], ZERO)
