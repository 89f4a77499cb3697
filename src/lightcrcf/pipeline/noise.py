"""How noisy an image is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["noise_of_pair", "noise_variance"]

Float32 = NDArray[np.float32]

_FOREGROUND = 0.05
_EVERY = 7  # voxel of the foreground tells how much it varies
_PLANES = 24  # of the image tell enough
_LOWEST = 25.0  # percentile of the squares: edges and texture are among the larger ones
_OF_NORMAL = 0.10153  # that percentile of the squares of normally distributed numbers of variance 1
_PASSES = 1 - 2 * 0.5**3 + 0.375**3  # the share of the variance of white noise that is left without its smooth part


def noise_of_pair(fixed: Float32, moving: Float32) -> float:
    """Variance of what noise makes of the difference of two images of one anatomy, in squared units of the fixed one.

    The moving image counts as if it were scaled so that its foreground varies as the fixed one's does.

    Args:
        fixed, moving: (D, H, W), background at 0.
    """
    of_fixed, of_moving = (float(np.var(image[image > _FOREGROUND][::_EVERY])) for image in (fixed, moving))
    return noise_variance(fixed) + noise_variance(moving) * of_fixed / max(of_moving, 1e-9)


def noise_variance(image: Float32) -> float:
    """Variance of the noise in the foreground of an image, as if it were white.

    The image less itself smoothed by [1 2 1] / 4 along each axis holds most of the noise, and edges; what is small of
    it is noise. In an image that was interpolated less is found than it had.

    Args:
        image: (D, H, W), background at 0.

    Returns:
        The variance in squared units of the image; 0 where there is no foreground.

    Source:
        D. L. Donoho, "De-noising by soft-thresholding", IEEE Trans. Information Theory 1995 (noise from the small ones
        among the finest coefficients).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> ramp = np.linspace(1, 2, 40, dtype=np.float32) + np.zeros((40, 40, 1), np.float32)
        >>> round(noise_variance(ramp + rng.normal(0, 0.1, ramp.shape).astype(np.float32)), 3)
        0.01
    """
    step = max(1, (image.shape[0] - 2) // _PLANES)
    middle, before, after = image[1:-1:step], image[:-2:step], image[2::step]
    smooth = middle / 2 + (before + after) / 4
    for axis in (1, 2):
        lines = np.moveaxis(np.pad(smooth, [(1, 1) if a == axis else (0, 0) for a in range(3)], "edge"), axis, 0)
        smooth = np.moveaxis(lines[1:-1] / 2 + (lines[:-2] + lines[2:]) / 4, 0, axis)
    rest = (middle - smooth)[middle > _FOREGROUND]
    return float(np.percentile(rest * rest, _LOWEST)) / (_OF_NORMAL * _PASSES) if rest.size else 0.0
