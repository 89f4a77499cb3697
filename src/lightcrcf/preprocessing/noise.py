"""Estimation of the noise variance of an image and of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Noise", "noise_variance"]

Float32 = NDArray[np.float32]

_FOREGROUND = 0.05
_SUBSAMPLING = 7  # subsampling of the foreground for its variance
_MIN_VARIANCE = 1e-9  # of the variance of a foreground
_MAX_PLANES = 24  # for the estimate
_INTERPOLATION_FACTOR = 0.3  # mean noise variance after linear interpolation: (2 / 3) ** 3
_MEDIAN_OF_SQUARES = 0.45494  # median of the squares of a standard normal variable


@dataclass(frozen=True)
class Noise:
    """Noise variances of a pair of images.

    Args:
        fixed, moving: noise variance of each image at its own resolution, in squared units of the fixed image; the
            moving image is scaled so that the variance of its foreground equals that of the fixed one.
        sizes: volume of a voxel of each image in voxels of full working resolution.
        units: factors from these variances to those on the working grid in squared units of each image.
    """

    fixed: float
    moving: float
    sizes: tuple[float, float] = (1.0, 1.0)
    units: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def of(
        cls,
        fixed: Float32,
        moving: Float32,
        own: tuple[float, float] | None = None,
        sizes: tuple[float, float] = (1, 1),
    ) -> Noise:
        """Estimate the noise of a pair.

        Args:
            fixed, moving: (D, H, W) at full working resolution, background at 0.
            own: variances (`noise_variance`) at the images' own resolution; by default at this one.
            sizes: as for the class.
        """
        tissue = [image[image > _FOREGROUND][::_SUBSAMPLING] for image in (fixed, moving)]
        spread = [float(np.var(values)) if values.size else 0.0 for values in tissue]
        variances = own or (noise_variance(fixed), noise_variance(moving))
        own_units = 1.0, _INTERPOLATION_FACTOR * max(spread[1], _MIN_VARIANCE) / max(spread[0], _MIN_VARIANCE)
        return cls(variances[0], variances[1] * spread[0] / max(spread[1], _MIN_VARIANCE), sizes, own_units)


def noise_variance(image: Float32) -> float:
    """Estimate the variance of white noise in the foreground of an image.

    Second differences along all three axes remove nearly all anatomy, and the median of their squares is robust to the
    rest. The noise of interpolated images is underestimated.

    Args:
        image: (D, H, W), background at 0.

    Returns:
        The variance in squared units of the image; 0 where there is no foreground, or fewer than three voxels.

    Source:
        D. L. Donoho, "De-noising by soft-thresholding", IEEE Trans. Information Theory 1995 (noise from the median of
        the finest coefficients).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> ramp = np.linspace(1, 2, 40, dtype=np.float32) + np.zeros((40, 40, 1), np.float32)
        >>> round(noise_variance(ramp + rng.normal(0, 0.1, ramp.shape).astype(np.float32)), 3)
        0.01
    """
    if min(image.shape) < 3:
        return 0.0
    step = max(1, (image.shape[0] - 2) // _MAX_PLANES)
    detail = _second_difference(image[:-2:step], image[1:-1:step], image[2::step])
    for axis in (1, 2):
        lines = np.moveaxis(detail, axis, 0)
        detail = np.moveaxis(_second_difference(lines[:-2], lines[1:-1], lines[2:]), 0, axis)
    inside = detail[image[1:-1:step, 1:-1, 1:-1] > _FOREGROUND]
    return float(np.median(inside * inside)) / _MEDIAN_OF_SQUARES if inside.size else 0.0


def _second_difference(before: Float32, here: Float32, after: Float32) -> Float32:
    """Return second differences, with variance 1 for white noise of variance 1."""
    return np.asarray((before - 2 * here + after) / np.float32(np.sqrt(6)), dtype=np.float32)
