"""Detection of CT by Hounsfield units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_ct"]

# HU: air is -1000, stored as -1024 at least; fat -100, soft tissue up to 100. Contrast agent is ignored.
_AIR, _TISSUE, _MIN_HU = (-1100, -900), (-150, 120), -1200
_MIN_AIR, _MIN_TISSUE = 0.01, 0.05  # of the voxels, at least
_SAMPLES = 100_000


def is_ct(data: NDArray[Any]) -> bool:
    """Return whether values are Hounsfield units: some are air, some tissue, and none are below air.

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
    return bool(some.min() >= _MIN_HU and air >= _MIN_AIR and tissue >= _MIN_TISSUE)
