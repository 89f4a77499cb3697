"""Volumes from arrays, and the types of arrays that files store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.orientation import orthogonal_grid
from lightcrcf.volumes.volume import Volume

__all__ = ["array_volume", "plain_array", "to_storable"]


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


def to_storable(data: NDArray[Any]) -> NDArray[Any]:
    """Return the array in a dtype that every reader supports: bool as uint8, wide integers as int32 where they fit.

    Example:
        >>> to_storable(np.array([[[0, 2035]]])).dtype.name, to_storable(np.array([[[True]]])).dtype.name
        ('int32', 'uint8')
    """
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    if data.dtype.kind == "f" and data.dtype.itemsize not in (4, 8):
        return data.astype(np.float32)
    int32 = np.iinfo(np.int32)
    if data.dtype.name in ("int64", "uint64", "uint32") and data.min() >= int32.min and data.max() <= int32.max:
        return data.astype(np.int32)
    return data
