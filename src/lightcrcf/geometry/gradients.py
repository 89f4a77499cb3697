"""Adjoints of the warp and the self-adjoint window mean, for training; local correlation from window means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["squared_local_correlation", "warp_features_gradient", "warp_gradient", "window_mean"]

Float32 = NDArray[np.float32]


def warp_gradient(features: Float32, displacement: Float32, gradient: Float32) -> Float32:
    """Return the gradient of `sum(gradient * warp(features, displacement))` by the displacement.

    Args:
        features, gradient: (C, D, H, W).
        displacement: (3, D, H, W) voxels.

    Returns:
        (3, D, H, W) float32; zero along an axis where the sampling point was clamped.
    """
    out = np.empty(displacement.shape, np.float32)
    _core.warp_gradient(contiguous(features), contiguous(displacement), contiguous(gradient), out)
    return out


def warp_features_gradient(displacement: Float32, gradient: Float32) -> Float32:
    """Return the gradient of `sum(gradient * warp(features, displacement))` by the features, on the grid of u.

    Args:
        displacement: (3, D, H, W) voxels.
        gradient: (C, D, H, W).

    Returns:
        (C, D, H, W) float32. Each channel is summed by one thread in a fixed order.
    """
    out = np.empty(gradient.shape, np.float32)
    _core.warp_features_gradient(contiguous(displacement), contiguous(gradient), out)
    return out


def window_mean(images: Float32, radius: int) -> Float32:
    """Return the mean over cubes of 2 * radius + 1 voxels, zeros outside, by three passes; self-adjoint.

    Args:
        images: (C, D, H, W).
        radius: voxels to each side.

    Returns:
        (C, D, H, W) float32.

    Example:
        >>> (3 * window_mean(np.ones((1, 3, 4, 5), np.float32), 1)[0, 1, 1]).round().tolist()
        [2.0, 3.0, 3.0, 3.0, 2.0]
    """
    images = contiguous(images)
    out = np.empty_like(images)
    _core.window_mean(images, radius, out)
    return out


def squared_local_correlation(
    fixed: Float32, moved: Float32, radius: int, floor: float, where: NDArray[np.bool_] | None = None
) -> Float32:
    """Return cov(f, m)^2 / (var(f) var(m) + floor) over cubes of 2 * radius + 1 voxels, in [0, 1].

    Args:
        fixed, moved: (D, H, W).
        radius: voxels to each side.
        floor: makes flat cubes uncorrelated.
        where: (D, H, W) mask of voxels to return; all by default.

    Returns:
        (D, H, W) float32, or (N,) for the N voxels of the mask.

    Example:
        >>> image = np.random.default_rng(0).random((5, 6, 7), dtype=np.float32)
        >>> squared_local_correlation(image, 1 - image, 1, 1e-9)[2, 3, 3:5].round(2).tolist()
        [1.0, 1.0]
    """
    out = np.empty(fixed.shape, np.float32)
    _core.squared_local_correlation(contiguous(fixed), contiguous(moved), radius, floor, out)
    return out if where is None else out[where]
