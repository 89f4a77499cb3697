"""Volumes from arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.orientation import orthogonal_grid
from lightcrcf.volumes.volume import Volume

__all__ = ["array_volume", "plain_array"]


def plain_array(array: ArrayLike, source: str) -> NDArray[Any]:
    """Return the array as (D, H, W): integers and bool keep their dtype, floats become float32; a view if possible.

    Raises:
        InputError: if it does not hold one real number per voxel of a 3-D volume.

    Example:
        >>> plain_array(np.zeros((5, 7, 11, 1)), "array").shape
        (5, 7, 11)
    """
    data = np.asarray(array)
    if data.dtype.kind not in "biuf":
        raise InputError(
            source,
            expected="one real number per voxel",
            got=f"elements of type {data.dtype}",
            remedy="convert it to a grey-scale volume",
        )
    data = data.reshape(check_shape(source, data.shape))
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, i.e. missing data
            return data.astype(np.float32, copy=False)
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def array_volume(array: ArrayLike, affine: ArrayLike, source: str, header: Mapping[str, Any] | None = None) -> Volume:
    """Return a volume of an array and its (4, 4) voxel-to-RAS+ mm matrix; neither is changed.

    Raises:
        InputError: if the array is no 3-D scalar volume, or the matrix is unusable.
    """
    data = plain_array(array, source)
    grid, notes = orthogonal_grid((data.shape[0], data.shape[1], data.shape[2]), affine, source)
    return Volume(data, grid, source, header or {}, notes)
