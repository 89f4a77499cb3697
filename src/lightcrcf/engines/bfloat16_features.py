"""Features in bfloat16 between convolutions: from images, side by side at each voxel, and moved by a flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.engines.bfloat16 import GROUP, PAIRS, PairedFeatures
from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.feature_kernels import blend_features_row
from lightcrcf.geometry.sampling import ZERO, locate_row, place_row
from lightcrcf.geometry.tiles import rounded
from lightcrcf.network.config import Shape

__all__ = ["beside", "space_to_pairs", "warp_paired"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


def space_to_pairs(image: Float32, pool: Shape, out: PairedFeatures) -> None:
    """Space-to-depth of an image (D, H, W), as `engines.blocks.space_to_depth`, into the channels of `out`."""
    _space_to_pairs(ready(image), pool, out.row, out.size, out.data)


def beside(features: PairedFeatures, out: Int32) -> Int32:
    """Eight channels of each voxel side by side, so that one read takes them all.

    Args:
        features: of C channels on (D, H, W), C a multiple of 8.
        out: (C / 8, D, H, W, 4) pairs, overwritten and returned.
    """
    _beside(features.data, features.row, out)
    return out


def warp_paired(features: Int32, displacement: Float32, out: PairedFeatures, first: int) -> None:
    """Features moved by a displacement, clamped at the borders, and the displacement behind them, as channels.

    Args:
        features: (C / 8, D, H, W, 4) pairs, from `beside`.
        displacement: (3, D, H, W), voxels.
        out: takes C / 2 pairs of features from pair `first` on, then two of the displacement.
    """
    _warp_paired(features, ready(displacement), out.row, out.size, out.data[first * out.size :])


@kernel
def _space_to_pairs(image: Array, pool: Any, row: Any, size: Any, out: Array) -> None:
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
                    target[k] = rounded(line[2 * k], line[2 * k + 1])
        else:
            for p in range(down * over // 2):
                n, m = 2 * p, 2 * p + 1
                low, high = (
                    image[down * i + n // over, over * j + n % over],
                    image[down * i + m // over, over * j + m % over],
                )
                target = out[p * size + at :]
                for k in range(width):
                    target[k] = rounded(low[k], high[k])


@kernel
def _beside(source: Array, row: Any, out: Array) -> None:
    for i in prange(out.shape[1]):
        _beside_plane(source, row, np.int64(i), out)


@device
def _beside_plane(source: Array, row: Any, i: Any, out: Array) -> None:
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
def _warp_paired(features: Array, displacement: Array, row: Any, size: Any, out: Array) -> None:
    for i in prange(displacement.shape[1]):
        _warped_plane(features, displacement, row, size, np.int64(i), out)


@device
def _warped_plane(features: Array, displacement: Array, row: Any, size: Any, i: Any, out: Array) -> None:
    _, depth, height, width = displacement.shape
    place, fraction = np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    corner, weights = np.empty(width, np.int64), np.empty((GROUP, width), np.float32)
    for j in range(height):
        u = displacement[:, i, j]
        place_row(i, j, u, place)
        locate_row((depth, height, width), place, corner, fraction)
        at = ((i + 1) * (height + 2) + j + 1) * row + 1
        for block in range(features.shape[0]):
            flat = features[block].reshape(-1)
            blend_features_row(
                flat, PAIRS, (depth, height, width), corner, fraction, weights, out, block * PAIRS * size + at, size
            )
        flow = features.shape[0] * PAIRS * size + at
        first, second = out[flow:], out[flow + size :]
        for k in range(width):
            first[k], second[k] = rounded(u[0, k], u[1, k]), rounded(u[2, k], ZERO)
