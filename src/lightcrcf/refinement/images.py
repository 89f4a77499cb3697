"""Pairs of images that a refinement compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.preprocessing.noise import Noise

__all__ = ["Images"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Images:
    """A pair of images on one grid, with what is known of them.

    Args:
        fixed, moving: (D, H, W) at full resolution, unit range.
        fixed_mask, moving_mask: of each, 0 where voxels do not count, or None.
        noise: of both images; None for none.
        masked: of each, whether everything outside its anatomy was set to one value, 0 here.
        across: whether they are of two contrasts; None for what the schedule says.
        share: weight of this pair among all; they sum to 1.
    """

    fixed: Float32
    moving: Float32
    fixed_mask: Float32 | None = None
    moving_mask: Float32 | None = None
    noise: Noise | None = None
    masked: tuple[bool, bool] = (False, False)
    across: bool | None = None
    share: float = 1.0
