"""Intensity mapping from place to place: an image in the contrast of another one, by a local polynomial regression.

One table for a whole image (`intensity_mapping`) knows neither the shading of a coil nor that the same intensity means
another tissue elsewhere. Here a polynomial of the second degree maps the intensities, whose coefficients are those of a
weighted regression in a Gaussian window about each voxel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.kernels import upsample
from lightcrcf.geometry.refinement_kernels import gaussian

__all__ = ["in_contrast_of"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_SIGMA = 7.0  # voxels of the images
_TISSUE, _PRIOR, _RIDGE, _LEAST = 0.02, 1e-3, (1e-4, 1e-5), 1e-6
_MOST_STRETCH = 4.0  # of the regression's own contrast, which misaligned images flatten
_DARKEST, _MIDDLE, _BRIGHTEST = 0.03, 0.5, 1.2  # of unit intensities


def in_contrast_of(target: Float32, image: Float32, placed: Float32 | None = None, pool: Shape = (2, 2, 2)) -> Float32:
    """Return an image in the contrast of another one that is roughly aligned with it.

    In each window the target is regressed on the image and its square. What is explained is stretched to the standard
    deviation of the target, so that misaligned images do not lose their contrast.

    Args:
        target: (D, H, W), unit intensities, 0 outside of the anatomy.
        image: (D, H, W), the same, in another contrast.
        placed: (D, H, W), the image where it is compared with the target; the image itself by default.
        pool: blocks of voxels over which the coefficients are averaged.

    Returns:
        (D, H, W) float32, 0 where the image is.
    """
    constant, slope, curve = _upsampled(_coefficients(target, image if placed is None else placed, pool), target, pool)
    mapped: Float32 = curve  # in place: a whole image each time
    mapped *= image
    mapped += slope
    mapped *= image
    mapped += constant
    np.clip(mapped, _DARKEST, _BRIGHTEST, out=mapped)
    mapped[image <= _TISSUE] = 0
    return mapped


def _upsampled(blocks: Float32, like: Float32, pool: Shape) -> Float32:
    """Return (3, D, H, W): the kernel is that of displacements, which it also scales."""
    a, b, c = like.shape
    found = upsample(blocks, (a, b, c), pool)
    found /= np.array(pool, np.float32).reshape(3, 1, 1, 1)
    return found


def _coefficients(target: Float32, image: Float32, pool: Shape) -> Float32:
    """Return (3, d, h, w): constant, slope and curvature of the polynomial of each block."""
    # Blocks at the edge of the anatomy are partly empty in both images: dark stays dark there.
    weight = block_mean(((target > _TISSUE) & (image > _TISSUE)).astype(np.float32), pool)
    t, m = block_mean(target, pool), block_mean(image, pool)
    d = m - _MIDDLE
    powers = np.stack([d, d**2, d**3, d**4, t, t * d, t * d * d, t * t, np.ones_like(t)]) * weight
    # Far from all tissue of the target the regression is that of the whole images.
    sigma = (_SIGMA / pool[0], _SIGMA / pool[1], _SIGMA / pool[2])
    sums = gaussian(powers, sigma) + _PRIOR * powers.mean(axis=(1, 2, 3), keepdims=True)
    d1, d2, d3, d4, t0, t1, t2, tt = sums[:-1] / (sums[-1] + _LEAST)
    s11, s12, s22 = d2 - d1 * d1 + _RIDGE[0], d3 - d1 * d2, d4 - d2 * d2 + _RIDGE[1]
    c1, c2 = t1 - t0 * d1, t2 - t0 * d2
    determinant = np.maximum(s11 * s22 - s12 * s12, np.float32(1e-12))
    slope, curve = (s22 * c1 - s12 * c2) / determinant, (s11 * c2 - s12 * c1) / determinant
    explained = np.maximum(slope * c1 + curve * c2, _LEAST)
    stretch = np.clip(np.sqrt(np.maximum(tt - t0 * t0, _LEAST) / explained), 1, _MOST_STRETCH)
    slope, curve = slope * stretch, curve * stretch
    constant = t0 - slope * (d1 + _MIDDLE) - curve * (d2 - _MIDDLE**2)
    return np.stack([constant, slope - 2 * _MIDDLE * curve, curve])
