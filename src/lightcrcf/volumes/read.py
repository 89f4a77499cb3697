"""Any file that holds a volume, by its content."""

from __future__ import annotations

import os

from lightcrcf.errors import InputError
from lightcrcf.volumes.nifti import is_nifti, nifti_header_path, read_nifti
from lightcrcf.volumes.volume import Volume

__all__ = ["read"]


def read(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D volume; what the file is called does not matter, only what it holds.

    Args:
        path: a NIfTI file.

    Returns:
        The voxels as stored (integers stay integers unless scaled, everything else is float32), with notes on what was
        mended or assumed.

    Raises:
        InputError: if the file is missing, damaged, or not a 3-D scalar volume with a usable geometry.
        MemoryEstimateError: if it would not fit into memory.
    """
    header = nifti_header_path(path)
    if not is_nifti(header):
        raise InputError(str(path), expected="a NIfTI file", got="something else", remedy="convert it")
    return read_nifti(header)
