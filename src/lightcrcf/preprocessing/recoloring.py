"""An image in the shades of another one: of each intensity the mean of what the other shows there.

Source:
    A. Roche et al., "The correlation ratio as a new similarity measure for multimodal image registration", MICCAI 1998
    (the image that is compared with the fixed one is E[fixed | moving]).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["recoloured", "shades"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BINS, _TOP = 32, 1.25  # of intensities; working images are brightest there
_TISSUE = 0.02
_LEAST = 1e-6  # of the samples in a bin


def shades(fixed: Float32, moved: Float32, weight: Float32 | None = None) -> Float64:
    """Of each intensity of `moved` the mean of `fixed`, at evenly spaced intensities; for `recoloured`.

    Args:
        fixed, moved: (D, H, W) of unit range, on one grid; where neither shows anything nothing is learned.
        weight: (D, H, W) of the voxels; None for 1.

    Returns:
        (bins,) float64, smoothed a little; where no voxel tells, what the nearest bins have.
    """
    tissue = (fixed > _TISSUE) | (moved > _TISSUE)
    f, counts = fixed[tissue].astype(np.float64), None if weight is None else weight[tissue].astype(np.float64)
    at = np.clip(moved[tissue].astype(np.float64) * ((_BINS - 1) / _TOP), 0, _BINS - 1.001)
    below = at.astype(np.intp)
    part = at - below
    samples, sums = np.zeros(_BINS), np.zeros(_BINS)
    for bins, share in ((below, 1 - part), (below + 1, part)):
        share = share if counts is None else share * counts
        samples += np.bincount(bins, share, _BINS)
        sums += np.bincount(bins, share * f, _BINS)
    samples, sums = _smoothed(samples), _smoothed(sums)
    known = samples > _LEAST * max(samples.sum(), 1.0)
    if not known.any():
        return np.linspace(0, _TOP, _BINS)
    return np.asarray(np.interp(np.arange(_BINS), np.flatnonzero(known), sums[known] / samples[known]))


def recoloured(image: Float32, table: Float64) -> Float32:
    """The image in the shades of the other one.

    Example:
        >>> dark = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
        >>> float(np.abs(recoloured(dark, shades(1 - dark, dark)) - (1 - dark)).max()) < 0.05
        True
    """
    return np.interp(image, np.linspace(0, _TOP, _BINS), table).astype(np.float32)


def _smoothed(values: Float64) -> Float64:
    return np.asarray(np.convolve(np.pad(values, 1), (0.25, 0.5, 0.25), mode="valid"))
