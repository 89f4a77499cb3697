"""Intensity mapping between contrasts: the conditional mean of one image given the intensity of another.

Source:
    A. Roche et al., "The correlation ratio as a new similarity measure for multimodal image registration", MICCAI 1998
    (it compares the fixed image with E[fixed | moving]).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["conditional_means", "map_intensities"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BINS, _TOP = 32, 1.25  # of intensities; working images are brightest there
_MIN_TISSUE = 0.02
_MIN_BIN_FRACTION = 1e-6  # of the samples in a bin


def conditional_means(fixed: Float32, moved: Float32, weight: Float32 | None = None) -> Float64:
    """Compute E[fixed | moved] at evenly spaced intensities of `moved`, for `map_intensities`.

    Args:
        fixed, moved: (D, H, W) normalised images on one grid; voxels that are background in both are ignored.
        weight: (D, H, W) of the voxels; None for 1.

    Returns:
        (bins,) float64, smoothed by [1 2 1] / 4; empty bins are interpolated.
    """
    tissue = (fixed > _MIN_TISSUE) | (moved > _MIN_TISSUE)
    f, counts = fixed[tissue].astype(np.float64), None if weight is None else weight[tissue].astype(np.float64)
    at = np.clip(moved[tissue].astype(np.float64) * ((_BINS - 1) / _TOP), 0, _BINS - 1.001)
    below = at.astype(np.intp)
    part = at - below
    samples, sums = np.zeros(_BINS), np.zeros(_BINS)
    for bins, fraction in ((below, 1 - part), (below + 1, part)):
        fraction = fraction if counts is None else fraction * counts
        samples += np.bincount(bins, fraction, _BINS)
        sums += np.bincount(bins, fraction * f, _BINS)
    samples, sums = _smoothed(samples), _smoothed(sums)
    known = samples > _MIN_BIN_FRACTION * max(samples.sum(), 1.0)
    if not known.any():
        return np.linspace(0, _TOP, _BINS)
    return np.asarray(np.interp(np.arange(_BINS), np.flatnonzero(known), sums[known] / samples[known]))


def map_intensities(image: Float32, table: Float64) -> Float32:
    """Map the intensities of an image by a table of conditional means.

    Example:
        >>> dark = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
        >>> float(np.abs(map_intensities(dark, conditional_means(1 - dark, dark)) - (1 - dark)).max()) < 0.05
        True
    """
    return np.interp(image, np.linspace(0, _TOP, _BINS), table).astype(np.float32)


def _smoothed(values: Float64) -> Float64:
    return np.asarray(np.convolve(np.pad(values, 1), (0.25, 0.5, 0.25), mode="valid"))
