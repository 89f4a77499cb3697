"""How noisy an image is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Noise", "noise_variance"]

Float32 = NDArray[np.float32]

_FOREGROUND = 0.05
_EVERY = 7  # voxel of the foreground tells how much it varies
_LEAST = 1e-9  # of the variance of a foreground
_PLANES = 24  # of the image tell enough
_INTERPOLATED = 0.3  # of the moving image's is left between its voxels: (2 / 3) ** 3, on the mean
_OF_NORMAL = 0.45494  # median of the squares of normally distributed numbers of variance 1


@dataclass(frozen=True)
class Noise:
    """The noise of two images that are compared.

    Args:
        fixed, moving: variance of each one's noise at its own resolution, in squared units of the fixed image: the
            moving one counts as if it were scaled so that its foreground varies as the fixed one's does.
        sizes: how many voxels of full working resolution a voxel of each is as large as.
        units: what each variance is multiplied by to be that on the working grid, in its own image's squared units.
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
        """Measure it.

        Args:
            fixed, moving: (D, H, W) at full working resolution, background at 0.
            own: variances (`noise_variance`) at the images' own resolution; by default at this one.
            sizes: as the class has them.
        """
        tissue = [image[image > _FOREGROUND][::_EVERY] for image in (fixed, moving)]
        spread = [float(np.var(values)) if values.size else 0.0 for values in tissue]
        variances = own or (noise_variance(fixed), noise_variance(moving))
        own_units = 1.0, _INTERPOLATED * max(spread[1], _LEAST) / max(spread[0], _LEAST)
        return cls(variances[0], variances[1] * spread[0] / max(spread[1], _LEAST), sizes, own_units)

    def at(self, voxels: float) -> float:
        """Variance that it gives the difference of the images' means over so many voxels of full resolution."""
        both = zip((self.fixed, self.moving), self.sizes, strict=True)
        return sum(variance * min(1.0, size / voxels) for variance, size in both)

    def each_at(self, voxels: float) -> tuple[float, float]:
        """Variance of each image's means over so many voxels of full resolution, in its own squared units."""
        each = zip((self.fixed, self.moving), self.sizes, self.units, strict=True)
        fixed, moving = (variance * unit * min(1.0, size / voxels) for variance, size, unit in each)
        return fixed, moving

    def swapped(self) -> Noise:
        """The same for the images the other way round, in units of the other one."""
        return Noise(self.moving, self.fixed, (self.sizes[1], self.sizes[0]), (self.units[1], self.units[0]))


def noise_variance(image: Float32) -> float:
    """Variance of the noise in the foreground of an image, as if it were white.

    The second differences along all three axes, one after another, leave hardly anything of anatomy; the median of
    their squares leaves out what they do. In an image that was interpolated less is found than it had.

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
    step = max(1, (image.shape[0] - 2) // _PLANES)
    detail = _second_difference(image[:-2:step], image[1:-1:step], image[2::step])
    for axis in (1, 2):
        lines = np.moveaxis(detail, axis, 0)
        detail = np.moveaxis(_second_difference(lines[:-2], lines[1:-1], lines[2:]), 0, axis)
    inside = detail[image[1:-1:step, 1:-1, 1:-1] > _FOREGROUND]
    return float(np.median(inside * inside)) / _OF_NORMAL if inside.size else 0.0


def _second_difference(before: Float32, here: Float32, after: Float32) -> Float32:
    """Of variance 1 in white noise of variance 1."""
    return np.asarray((before - 2 * here + after) / np.float32(np.sqrt(6)), dtype=np.float32)
