"""Averages of 4-D series, such as functional or diffusion MR, with one volume in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.volumes.formats.nifti import nifti_volumes
from lightcrcf.volumes.volume import Volume

__all__ = ["mean_volume"]


def mean_volume(path: str | os.PathLike[str], numbers: Collection[int] | None = None) -> Volume:
    """Average the volumes of a NIfTI series voxel by voxel, without motion correction.

    Args:
        path: a 4-D NIfTI file; a 3-D one is a series of one.
        numbers: indices of the volumes, from 0; all by default.

    Returns:
        Volume of (D, H, W) float32.

    Raises:
        InputError: if the file is damaged, no series of volumes, or lacks one of those volumes.
        MemoryEstimateError: if a volume would not fit into memory.
    """
    total: NDArray[np.float64] | None = None
    first, used = None, 0
    for number, volume in enumerate(nifti_volumes(path)):
        first = first or volume
        if numbers is None or number in numbers:
            total = volume.data.astype(np.float64) if total is None else np.add(total, volume.data, out=total)
            used += 1
    if first is None or total is None or (numbers is not None and used < len(set(numbers))):
        raise InputError(
            str(path), expected=f"volumes of numbers up to {max(numbers or (0,))}", got="fewer",
            remedy="check that the series is whole, and that it belongs to the list of its volumes",
        )  # fmt: skip
    return replace(first, data=(total / used).astype(np.float32))
