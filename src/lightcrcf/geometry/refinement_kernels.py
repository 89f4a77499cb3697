"""The refinement's local correlation, its force, and Gaussian smoothing of vectors and masks.

All three are separable windows of the native core. Results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["correlation_force", "correlation_terms", "gaussian", "gaussian_taps", "smooth"]

Float32 = NDArray[np.float32]


def gaussian_taps(sigma_voxels: tuple[float, float, float]) -> Float32:
    """Return one half of sampled Gaussians along three axes, from the centre outwards; each whole one sums to 1.

    Returns:
        (3, R + 1) float32; cut at 2.6 of the largest sigma.

    Example:
        >>> gaussian_taps((0.5, 0.5, 0.0)).astype(float).round(3).tolist()
        [[0.787, 0.106, 0.0], [0.787, 0.106, 0.0], [1.0, 0.0, 0.0]]
    """
    sigma = np.maximum(np.asarray(sigma_voxels, dtype=np.float64), 1e-3)[:, None]
    taps = np.exp(-0.5 * (np.arange(int(np.ceil(2.6 * sigma.max())) + 1) / sigma) ** 2)
    return np.asarray(taps / (2 * taps.sum(axis=1) - taps[:, 0])[:, None], dtype=np.float32)


def correlation_terms(
    fixed: Float32,
    moved: Float32,
    weight: Float32 | None,
    radius: int,
    floor: float,
    out: Float32,
    noise: float = 0.0,
) -> tuple[float, float, float]:
    """Compute the weighted sum of s cc, squared local correlations, and the terms of its gradient.

    cc(x) = cov(f, m)^2 / (var(f) var(m) + floor) over the cube of 2 * radius + 1 voxels about x, s(x) = var(f)^(1/2);
    the images are zero outside, or missing there if there is a weight. Without s, noise in flat tissue would count as
    much as the edges of a structure.

    cc is limited to (var(f) - noise) var(m) / (var(f) var(m) + floor), its value for images that differ by noise only:
    windows that reach the limit exert no force.

    Args:
        fixed, moved: (D, H, W).
        weight: (D, H, W) of the voxels in the statistics; all if None.
        radius: voxels to each side.
        floor: makes flat windows uncorrelated.
        out: (3, D, H, W), overwritten: the terms for `correlation_force`.
        noise: variance of the difference of both images that is due to noise, in squared units of the fixed image.

    Returns:
        The sum of s cc, the sum of s, and the upper limit of the sum of s cc. The first divided by the second is a
        weighted mean of cc; the first divided by the third is 1 for images that differ by noise only.
    """
    sums = np.empty((3, fixed.shape[1]))
    fixed, moved, weight = contiguous(fixed), contiguous(moved), None if weight is None else contiguous(weight)
    _core.correlation_terms(fixed, moved, weight, radius, floor, noise, out, sums)
    gained, counted, attainable = sums.sum(axis=1)
    return float(gained), float(counted), float(attainable)


def correlation_force(
    fixed: Float32, moved: Float32, weight: Float32 | None, terms: Float32, radius: int, out: Float32
) -> None:
    """Compute the force out = d(sum of s cc)/dm times the gradient of `moved`, which raises the local correlation.

    Args:
        fixed, moved, weight, radius: as for `correlation_terms`.
        terms: (3, D, H, W) from `correlation_terms`. With radius 0 and terms 1, -1, 0 the force is that of the mean
            squared error.
        out: (3, D, H, W), overwritten.
    """
    fixed, moved, weight = contiguous(fixed), contiguous(moved), None if weight is None else contiguous(weight)
    _core.correlation_force(fixed, moved, weight, radius, terms, out)


def gaussian(values: Float32, sigma_voxels: tuple[float, float, float]) -> Float32:
    """Return each channel of `values` (C, D, H, W) convolved with a Gaussian; borders are replicated.

    Example:
        >>> step = np.repeat(np.float32([0, 1]), 3).reshape(1, 1, 1, 6)
        >>> gaussian(step, (0, 0, 0.5)).astype(float).round(2).ravel().tolist()
        [0.0, 0.0, 0.11, 0.89, 1.0, 1.0]
    """
    out = np.empty(values.shape, np.float32)
    smooth(values, gaussian_taps(sigma_voxels), out)
    return out


def smooth(values: Float32, taps: Float32, out: Float32) -> None:
    """Convolve each channel of `values` with `gaussian_taps`; borders are replicated.

    Args:
        values: (C, D, H, W).
        taps: from `gaussian_taps`.
        out: (C, D, H, W), overwritten; another array.
    """
    _core.smooth(contiguous(values), contiguous(taps), out)
