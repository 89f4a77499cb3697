"""Warping of multi-channel features in channels-last layout, blocked by 8.

Eight neighbours of eight channels are eight vector loads instead of 64 scalar ones; coordinates are computed once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import ONE, cell_row, coordinates_row
from lightcrcf.geometry.tiles import interpolate_features

__all__ = ["EIGHT", "ChannelsLastFeatures", "interpolate_features_row"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

EIGHT = 8  # channels


class ChannelsLastFeatures:
    """Features (C, D, H, W) in channels-last layout, for repeated warping.

    Args:
        channels: of the features.
        shape: of the grid.

    Example:
        >>> from lightcrcf.geometry.kernels import warp
        >>> rng = np.random.default_rng(0)
        >>> features = rng.random((10, 3, 4, 5), dtype=np.float32)
        >>> u = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
        >>> channels_last = ChannelsLastFeatures(10, (3, 4, 5))
        >>> channels_last.store(features)
        >>> bool(np.allclose(channels_last.warp(u), warp(features, u), atol=1e-6))
        True
    """

    def __init__(self, channels: int, shape: tuple[int, ...]) -> None:
        blocks = -(-channels // EIGHT)
        self._channels = channels
        self._features: Float32 = np.zeros((blocks, *shape, EIGHT), np.float32)
        self._warped: Float32 = np.empty((blocks * EIGHT, *shape), np.float32)

    def store(self, features: Float32) -> None:
        """Convert and store features (C, D, H, W) float32."""
        _to_channels_last(ready(features), self._features)

    def warp(self, displacement: Float32) -> Float32:
        """Return `kernels.warp` of the stored features, (C, D, H, W) float32; valid until the next call.

        Args:
            displacement: (3, D, H, W) voxels.
        """
        _warp_channels_last(self._features, ready(displacement), self._warped)
        return self._warped[: self._channels]


@kernel
def _to_channels_last(features: Array, out: Array) -> None:
    for i in prange(features.shape[1]):
        _to_channels_last_plane(features, np.int64(i), out)


@device
def _to_channels_last_plane(features: Array, i: Any, out: Array) -> None:
    for j in range(features.shape[2]):
        for c in range(features.shape[0]):
            line, target = features[c, i, j], out[c // EIGHT, i, j]
            for k in range(line.size):
                target[k, c % EIGHT] = line[k]


@kernel
def _warp_channels_last(features: Array, displacement: Array, out: Array) -> None:
    for i in prange(displacement.shape[1]):
        _warped_plane(features, displacement, np.int64(i), out)


@device
def _warped_plane(features: Array, displacement: Array, i: Any, out: Array) -> None:
    _, depth, height, width = displacement.shape
    points, fraction = np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    corner, weights = np.empty(width, np.int64), np.empty((EIGHT, width), np.float32)
    flat, size = out.reshape(-1), depth * height * width
    for j in range(height):
        coordinates_row(i, j, displacement[:, i, j], points)
        cell_row((depth, height, width), points, corner, fraction)
        for block in range(features.shape[0]):
            channels_last, at = features[block].reshape(-1), block * EIGHT * size + (i * height + j) * width
            interpolate_features_row(
                channels_last, EIGHT, (depth, height, width), corner, fraction, weights, flat, at, size
            )


@device
def interpolate_features_row(
    features: Array,
    each: int,
    shape: Any,
    corner: Array,
    fraction: Array,
    weights: Array,
    out: Array,
    at: Any,
    stride: Any,
) -> None:
    """Interpolate eight channels in channels-last layout, as `sampling.trilinear_row`.

    `features` is flat, of a grid of `shape`, with `each` values per voxel: eight float32, or four bfloat16 pairs
    (`tiles`). The n-th goes to out[at + n stride], ...; `weights` (8, W) is overwritten.
    """
    depth, height, width = shape
    right, down = each if width > 1 else 0, each * width if height > 1 else 0
    back = each * height * width if depth > 1 else 0
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
        p = each * corner[k]
        q, r, s = p + down, p + back, p + down + back
        corners = (p, p + right, q, q + right, r, r + right, s, s + right)
        interpolate_features(features, corners, flat, k, corner.size, out, at + k, stride)
