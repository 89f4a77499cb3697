"""Conversion of paths, images of other libraries and arrays to volumes."""

from __future__ import annotations

import os
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.volumes.arrays import array_volume
from lightcrcf.volumes.read import read
from lightcrcf.volumes.volume import Volume

__all__ = ["as_volume"]


def as_volume(obj: Any) -> Volume:
    """Return a volume of a path, a nibabel image, a SimpleITK image, (array, affine) or a volume; none is changed.

    Args:
        obj: one of these; `affine` is (4, 4), voxel to RAS+ mm.

    Raises:
        InputError: if `obj` is none of these, or is no 3-D scalar volume with a usable geometry.
        MemoryEstimateError: if a file would not fit into memory.

    Example:
        >>> import numpy as np
        >>> as_volume((np.zeros((5, 7, 11)), np.eye(4))).grid.shape
        (5, 7, 11)
    """
    if isinstance(obj, Volume):
        return obj
    if isinstance(obj, str | os.PathLike):
        return read(obj)
    if type(obj).__module__.split(".")[0] == "SimpleITK" and type(obj).__name__ == "Image":
        from lightcrcf.volumes.formats.itk_images import from_image

        return from_image(obj, "SimpleITK image")
    if isinstance(obj, tuple | list) and len(obj) == 2:
        return array_volume(obj[0], obj[1], "array")
    from lightcrcf.volumes.formats.nibabel_images import from_nibabel, is_nibabel

    if is_nibabel(obj):
        return from_nibabel(obj)
    raise InputError(
        "volume",
        expected="a path, a nibabel or SimpleITK image, or (array, affine)",
        got=type(obj).__name__,
        remedy="give one of these; a bare array does not say where its voxels lie",
    )
