"""Unit intensities for a network that is to see any contrast: nothing is taken for background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["unit_intensities"]

_ENDS_PERCENT, _SAMPLES = 0.5, 100_000


def unit_intensities(data: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intensities with all but the extreme voxels between 0 and 1, and these clipped.

    Args:
        data: (D, H, W).
        known: (D, H, W), the voxels that tell.

    Example:
        >>> data = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
        >>> [round(float(value), 2) for value in unit_intensities(data, data >= 0)[3, 5, [0, 12]]]
        [0.49, 0.51]
    """
    values = data[known]
    some = values[:: max(1, values.size // _SAMPLES)]
    low, high = np.percentile(some, (_ENDS_PERCENT, 100 - _ENDS_PERCENT)) if some.size else (0.0, 1.0)
    scale = np.float32(high - low if high > low else 1.0)
    return np.clip((data - np.float32(low)) / scale, 0.0, 1.0).astype(np.float32)
