"""Images of nibabel, in memory or in the formats that only nibabel reads (FreeSurfer's MGH and MGZ)."""

from __future__ import annotations

import os
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHImage

from lightcrcf.errors import InputError
from lightcrcf.files import is_gzip, open_binary
from lightcrcf.volumes.arrays import array_volume, plain_array
from lightcrcf.volumes.limits import check_shape, check_stored
from lightcrcf.volumes.nifti_header import geometry_fields, header_grid
from lightcrcf.volumes.volume import Volume

__all__ = ["from_nibabel", "read_mgh"]


def from_nibabel(image: Any, source: str | None = None) -> Volume:
    """A volume from a nibabel spatial image (its affine counts, whatever its class).

    Raises:
        InputError: if it is not a 3-D scalar volume with a usable geometry, or its file has gone bad.
    """
    source = source or image.get_filename() or "nibabel image"
    shape = check_shape(source, image.shape)
    try:
        data = plain_array(np.asanyarray(image.dataobj), source)
    except (OSError, EOFError, ValueError) as error:  # the voxels are read from the file only now
        got = f"voxels that nibabel cannot read ({error})"
        raise InputError(source, expected="a whole image", got=got, remedy="copy it again or convert it") from error
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return array_volume(data, image.affine, source)
    if image.affine is None or not np.allclose(header.get_best_affine(), image.affine, rtol=0, atol=1e-4):
        return array_volume(data, header.get_best_affine() if image.affine is None else image.affine, source)
    grid, notes = header_grid(header, shape, source)
    return Volume(data, grid, source, geometry_fields(header), notes)


def read_mgh(path: str | os.PathLike[str]) -> Volume:
    """Read FreeSurfer's .mgh or .mgz.

    Raises:
        InputError: if the file is damaged or not a 3-D volume.
        MemoryEstimateError: if it would not fit into memory.
    """
    source = str(path)
    with open_binary(path) as stream:
        stored = os.fstat(stream.fileno()).st_size
    try:
        image: Any = MGHImage.from_filename(source)
        itemsize = image.get_data_dtype().itemsize
    except Exception as error:  # nibabel raises whatever the parsing of a damaged header runs into
        got = f"what nibabel cannot read ({error})"
        raise InputError(source, expected="an MGH file", got=got, remedy="copy it again or convert it") from error
    check_stored(source, check_shape(source, image.shape), itemsize, stored=stored, compressed=is_gzip(path))
    return from_nibabel(image, source)
