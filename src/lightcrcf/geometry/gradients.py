"""Adjoints of the warp and the self-adjoint window mean, for training; local correlation from window means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import kernel, ready
from lightcrcf.geometry.sampling import ONE, ZERO, clamp

__all__ = ["squared_local_correlation", "warp_features_gradient", "warp_gradient", "window_mean"]

Array = Any
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
    _warp_gradient(ready(features), ready(displacement), ready(gradient), out)
    return out


def warp_features_gradient(displacement: Float32, gradient: Float32) -> Float32:
    """Return the gradient of `sum(gradient * warp(features, displacement))` by the features, on the grid of u.

    Args:
        displacement: (3, D, H, W) voxels.
        gradient: (C, D, H, W).

    Returns:
        (C, D, H, W) float32. Each channel is summed by one thread in a fixed order.
    """
    out = np.zeros(gradient.shape, np.float32)
    _scatter(ready(displacement), ready(gradient), out)
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
    images = ready(images)
    lines, out = np.empty_like(images), np.empty_like(images)
    _mean_in_planes(images, radius, lines)
    _mean_over_planes(lines, radius, out)
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
    means = window_mean(np.stack([fixed, moved, fixed * fixed, moved * moved, fixed * moved]), radius)
    f, m, ff, mm, fm = means if where is None else (image[where] for image in means)
    covariance = fm - f * m
    variances = np.maximum(ff - f * f, 0) * np.maximum(mm - m * m, 0)
    return np.asarray(covariance * covariance / (variances + floor), dtype=np.float32)


@kernel
def _warp_gradient(features: Array, displacement: Array, gradient: Array, out: Array) -> None:
    channels, depth, height, width = features.shape
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    for i in prange(depth):
        for j in range(height):
            for k in range(width):
                z = np.float32(i) + displacement[0, i, j, k]
                y = np.float32(j) + displacement[1, i, j, k]
                x = np.float32(k) + displacement[2, i, j, k]
                a, b, c = clamp(z, last_z), clamp(y, last_y), clamp(x, last_x)
                i0, j0, k0 = np.int64(a), np.int64(b), np.int64(c)
                a, b, c = a - np.float32(i0), b - np.float32(j0), c - np.float32(k0)
                i1, j1, k1 = min(i0 + 1, depth - 1), min(j0 + 1, height - 1), min(k0 + 1, width - 1)
                dz, dy, dx = ZERO, ZERO, ZERO
                for n in range(channels):
                    g = gradient[n, i, j, k]
                    v000, v001 = features[n, i0, j0, k0], features[n, i0, j0, k1]
                    v010, v011 = features[n, i0, j1, k0], features[n, i0, j1, k1]
                    v100, v101 = features[n, i1, j0, k0], features[n, i1, j0, k1]
                    v110, v111 = features[n, i1, j1, k0], features[n, i1, j1, k1]
                    v00, v01 = v000 + c * (v001 - v000), v010 + c * (v011 - v010)
                    v10, v11 = v100 + c * (v101 - v100), v110 + c * (v111 - v110)
                    dz += g * ((v10 - v00) + b * ((v11 - v01) - (v10 - v00)))
                    dy += g * ((v01 - v00) + a * ((v11 - v10) - (v01 - v00)))
                    near = (v001 - v000) + b * ((v011 - v010) - (v001 - v000))
                    far = (v101 - v100) + b * ((v111 - v110) - (v101 - v100))
                    dx += g * (near + a * (far - near))
                out[0, i, j, k] = dz if z > ZERO and z < last_z else ZERO
                out[1, i, j, k] = dy if y > ZERO and y < last_y else ZERO
                out[2, i, j, k] = dx if x > ZERO and x < last_x else ZERO


@kernel
def _scatter(displacement: Array, gradient: Array, out: Array) -> None:
    channels, depth, height, width = out.shape
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    for n in prange(channels):
        image = out[n]
        for i in range(depth):
            for j in range(height):
                for k in range(width):
                    a = clamp(np.float32(i) + displacement[0, i, j, k], last_z)
                    b = clamp(np.float32(j) + displacement[1, i, j, k], last_y)
                    c = clamp(np.float32(k) + displacement[2, i, j, k], last_x)
                    i0, j0, k0 = np.int64(a), np.int64(b), np.int64(c)
                    a, b, c = a - np.float32(i0), b - np.float32(j0), c - np.float32(k0)
                    i1, j1, k1 = min(i0 + 1, depth - 1), min(j0 + 1, height - 1), min(k0 + 1, width - 1)
                    g = gradient[n, i, j, k]
                    near, far = g * (ONE - a), g * a
                    near_up, near_down, far_up, far_down = near * (ONE - b), near * b, far * (ONE - b), far * b
                    image[i0, j0, k0] += near_up * (ONE - c)
                    image[i0, j0, k1] += near_up * c
                    image[i0, j1, k0] += near_down * (ONE - c)
                    image[i0, j1, k1] += near_down * c
                    image[i1, j0, k0] += far_up * (ONE - c)
                    image[i1, j0, k1] += far_up * c
                    image[i1, j1, k0] += far_down * (ONE - c)
                    image[i1, j1, k1] += far_down * c


@kernel
def _mean_in_planes(images: Array, radius: int, out: Array) -> None:
    """Along the last two axes."""
    channels, depth, height, width = images.shape
    scale = ONE / np.float32(2 * radius + 1)
    for i in prange(channels * depth):
        n, d = i // depth, i % depth
        rows = np.empty((height, width), np.float32)
        for j in range(height):
            total = ZERO
            for k in range(min(radius, width)):
                total += images[n, d, j, k]
            for k in range(width):
                if k + radius < width:
                    total += images[n, d, j, k + radius]
                if k - radius - 1 >= 0:
                    total -= images[n, d, j, k - radius - 1]
                rows[j, k] = total * scale
        for j in range(height):
            line = out[n, d, j]
            for k in range(width):
                line[k] = ZERO
            for m in range(max(j - radius, 0), min(j + radius + 1, height)):
                row = rows[m]
                for k in range(width):
                    line[k] += row[k]
            for k in range(width):
                line[k] *= scale


@kernel
def _mean_over_planes(images: Array, radius: int, out: Array) -> None:
    """Along the first axis of each channel."""
    channels, depth, height, width = images.shape
    scale = ONE / np.float32(2 * radius + 1)
    for i in prange(channels * depth):
        n, d = i // depth, i % depth
        plane = out[n, d]
        for j in range(height):
            for k in range(width):
                plane[j, k] = ZERO
        for m in range(max(d - radius, 0), min(d + radius + 1, depth)):
            other = images[n, m]
            for j in range(height):
                for k in range(width):
                    plane[j, k] += other[j, k]
        for j in range(height):
            for k in range(width):
                plane[j, k] *= scale
