"""Normalisation by percentiles of all known voxels, for networks trained on any contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["unit_intensities"]

_OUTLIER_PERCENT, _SAMPLES = 0.5, 100_000


def unit_intensities(data: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scale intensities so that the 0.5th and the 99.5th percentile map to 0 and 1, and clip.

    Args:
        data: (D, H, W).
        known: (D, H, W) bool, the voxels that the percentiles are of.

    Example:
        >>> data = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
        >>> [round(float(value), 2) for value in unit_intensities(data, data >= 0)[3, 5, [0, 12]]]
        [0.49, 0.51]
    """
    values = data[known]
    some = values[:: max(1, values.size // _SAMPLES)]
    low, high = np.percentile(some, (_OUTLIER_PERCENT, 100 - _OUTLIER_PERCENT)) if some.size else (0.0, 1.0)
    scale = np.float32(high - low if high > low else 1.0)
    return np.clip((data - np.float32(low)) / scale, 0.0, 1.0).astype(np.float32)
