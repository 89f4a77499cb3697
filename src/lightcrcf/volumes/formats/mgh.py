"""Reading of FreeSurfer's .mgh and .mgz through nibabel."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from lightcrcf.errors import InputError
from lightcrcf.files import open_binary
from lightcrcf.volumes.arrays import array_volume
from lightcrcf.volumes.formats.voxels import read_voxels, stored_dtype
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.volume import Volume

__all__ = ["read_mgh"]

_OFFSET = 284


def read_mgh(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D .mgh or .mgz file.

    Raises:
        InputError: if the file is damaged, or not a 3-D volume with a usable geometry.
        MemoryEstimateError: if it would not fit into memory.
    """
    source = str(path)
    with open_binary(path) as stream:
        head = stream.read(_OFFSET)
    header = MGHHeader(head, check=False) if len(head) == _OFFSET else None
    if header is None or header["version"] != 1:
        got = "something else or a cut-off header"
        raise InputError(source, expected="an MGH header", got=got, remedy="check that this is the right file")
    shape, dtype = check_shape(source, header.get_data_shape()), stored_dtype(header, source)
    with np.errstate(invalid="ignore", over="ignore"):  # `array_volume` refuses a damaged matrix
        affine = header.get_affine()
    return array_volume(read_voxels(Path(path), header.get_data_offset(), shape, dtype), affine, source)
