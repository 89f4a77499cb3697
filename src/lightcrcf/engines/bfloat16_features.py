"""Features in bfloat16 between convolutions: from images, side by side at each voxel, and moved by a flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.engines.bfloat16 import GROUP, PAIRS, PairedFeatures
from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import ONE, ZERO, locate_row
from lightcrcf.geometry.vectors import blend_features, rounded
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
        z, y, x = displacement[0, i, j], displacement[1, i, j], displacement[2, i, j]
        for k in range(width):
            place[0, k] = np.float32(i) + z[k]
            place[1, k] = np.float32(j) + y[k]
            place[2, k] = np.float32(k) + x[k]
        locate_row((depth, height, width), place, corner, fraction)
        at = ((i + 1) * (height + 2) + j + 1) * row + 1
        for block in range(features.shape[0]):
            flat = features[block].reshape(-1)
            _blend_row(flat, (depth, height, width), corner, fraction, weights, out, block * PAIRS * size + at, size)
        flow = features.shape[0] * PAIRS * size + at
        first, second = out[flow:], out[flow + size :]
        for k in range(width):
            first[k], second[k] = rounded(z[k], y[k]), rounded(x[k], ZERO)


@device
def _blend_row(
    features: Array, shape: Any, corner: Array, fraction: Array, weights: Array, out: Array, at: Any, stride: Any
) -> None:
    """As `geometry.sampling.blend_row`, for eight channels in bfloat16 that lie side by side at each voxel.

    `features` is flat, of a grid of `shape`, four pairs of channels a voxel. Pair p of the row becomes
    out[at + p stride] and what follows; `weights` (8, W) is overwritten.
    """
    depth, height, width = shape
    right, down = 4 if width > 1 else 0, 4 * width if height > 1 else 0
    back = 4 * height * width if depth > 1 else 0
    for k in range(corner.size):
        a, b, c = fraction[0, k], fraction[1, k], fraction[2, k]
        a0, b0, c0 = ONE - a, ONE - b, ONE - c
        near, down_only, back_only, both = a0 * b0, a0 * b, a * b0, a * b
        weights[0, k], weights[1, k] = near * c0, near * c
        weights[2, k], weights[3, k] = down_only * c0, down_only * c
        weights[4, k], weights[5, k] = back_only * c0, back_only * c
        weights[6, k], weights[7, k] = both * c0, both * c
    flat = weights.reshape(-1)
    for k in range(corner.size):
        p = 4 * corner[k]
        q, r, s = p + down, p + back, p + down + back
        corners = (p, p + right, q, q + right, r, r + right, s, s + right)
        blend_features(features, corners, flat, k, corner.size, out, at + k, stride)
