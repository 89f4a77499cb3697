"""Hounsfield units: whether an image is a CT."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_ct"]

# Air is -1000 and stored as little as -1024, fat -100, soft tissue up to 100; contrast agent does not matter here.
_AIR, _TISSUE, _LEAST = (-1100, -900), (-150, 120), -1200
_SOME_AIR, _SOME_TISSUE = 0.01, 0.05  # of the voxels, at least
_SAMPLES = 100_000


def is_ct(data: NDArray[Any]) -> bool:
    """Whether values are Hounsfield units: some are of air, some of tissue, and none are less than air.

    Args:
        data: (D, H, W), with padding and NaN replaced by the background.

    Example:
        >>> body = np.full((20, 20, 20), -1000.0)
        >>> body[5:15, 5:15, 5:15] = 40
        >>> is_ct(body), is_ct(body + 1000), is_ct(-body)
        (True, False, False)
    """
    some = data.reshape(-1)[:: max(1, data.size // _SAMPLES)]
    air = np.mean((some >= _AIR[0]) & (some <= _AIR[1]))
    tissue = np.mean((some >= _TISSUE[0]) & (some <= _TISSUE[1]))
    return bool(some.min() >= _LEAST and air >= _SOME_AIR and tissue >= _SOME_TISSUE)
