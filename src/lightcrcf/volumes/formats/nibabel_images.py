"""Conversion of nibabel images to volumes."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from lightcrcf.errors import InputError
from lightcrcf.volumes.arrays import array_volume, plain_array
from lightcrcf.volumes.formats.nifti_header import geometry_fields, header_grid
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.volume import Volume

__all__ = ["from_nibabel", "is_nibabel"]


def is_nibabel(obj: object) -> bool:
    """Return whether an object is a nibabel image of voxels."""
    return isinstance(obj, SpatialImage)


def from_nibabel(image: Any, source: str | None = None) -> Volume:
    """Return a volume of a nibabel spatial image; its affine takes precedence over its header.

    Raises:
        InputError: if it is not a 3-D scalar volume with a usable geometry, or its file is damaged.
    """
    source = source or image.get_filename() or "nibabel image"
    shape = check_shape(source, image.shape)
    try:
        data = plain_array(np.asanyarray(image.dataobj), source)
    except (OSError, EOFError, ValueError) as error:  # the voxels are read lazily
        got = f"voxels that nibabel cannot read ({error})"
        raise InputError(source, expected="a whole image", got=got, remedy="copy it again or convert it") from error
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return array_volume(data, image.affine, source)
    if image.affine is None or not np.allclose(header.get_best_affine(), image.affine, rtol=0, atol=1e-4):
        return array_volume(data, header.get_best_affine() if image.affine is None else image.affine, source)
    grid, notes = header_grid(header, shape, source)
    return Volume(data, grid, source, geometry_fields(header), notes)
