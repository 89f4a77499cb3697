"""Reading of FreeSurfer's .mgh and .mgz: the header through nibabel, the voxels as for NIfTI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from lightcrcf.errors import InputError
from lightcrcf.files import open_binary
from lightcrcf.volumes.arrays import array_volume
from lightcrcf.volumes.formats.voxels import read_voxels
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.volume import Volume

__all__ = ["read_mgh"]

_OFFSET = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def read_mgh(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D .mgh or .mgz file.

    Raises:
        InputError: if the file is damaged, or not a 3-D volume with a usable geometry.
        MemoryEstimateError: if it would not fit into memory.
    """
    source = str(path)
    with open_binary(path) as stream:
        head = stream.read(_OFFSET)
    header: Any = MGHHeader(head, check=False) if len(head) == _OFFSET else None
    if header is None or header["version"] != 1 or int(header["type"]) not in _TYPES:
        got = "something else or a cut-off header"
        raise InputError(source, expected="an MGH header", got=got, remedy="check that this is the right file")
    shape = check_shape(source, header["dims"])
    with np.errstate(invalid="ignore", over="ignore"):  # `array_volume` refuses a damaged matrix
        affine = header.get_affine()
    return array_volume(read_voxels(Path(path), _OFFSET, shape, np.dtype(_TYPES[int(header["type"])])), affine, source)
