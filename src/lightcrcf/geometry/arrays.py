"""Arrays as the compiled kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["contiguous"]


def contiguous(array: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return the array C-contiguous and aligned, as kernels require; copied only if it is not."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
