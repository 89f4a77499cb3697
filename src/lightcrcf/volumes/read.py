"""Reading of volumes in any format, recognised by content."""

from __future__ import annotations

import os
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf.volumes.origin import record_origin
from lightcrcf.volumes.volume import Volume

__all__ = ["read"]


def read(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D volume.

    Args:
        path: a NIfTI file (.nii, .nii.gz, .hdr with .img), NRRD, MHA, MHD, MGH, MGZ or anything else that ITK reads, or
            a folder with one DICOM series. The content decides, not the name.

    Returns:
        The voxels as stored (integers stay integers unless the header scales them, everything else is float32), with
        notes on what was repaired or assumed.

    Raises:
        InputError: if the file is missing, damaged, or not a 3-D scalar volume with a usable geometry.
        MemoryEstimateError: if it would not fit into memory.
    """
    return record_origin(_read(Path(path)), str(path))


def _read(path: Path) -> Volume:
    # Formats are imported where they are met: the sandbox's process imports this module, and must not wait for nibabel.
    if path.is_dir():
        from lightcrcf.volumes.formats.sandbox import read_sandboxed

        return read_sandboxed(path)
    from lightcrcf.volumes.formats.nifti import is_nifti, nifti_header_path, read_nifti

    name = path.name.lower()
    header = nifti_header_path(path)
    if is_nifti(header):
        return read_nifti(header)
    if name.removesuffix(".gz").endswith((".nii", ".hdr", ".img")):
        raise _not_nifti(path)
    if name.endswith((".mgh", ".mgz")):
        from lightcrcf.volumes.formats.mgh import read_mgh

        return read_mgh(path)
    from lightcrcf.volumes.formats.sandbox import read_sandboxed

    return read_sandboxed(path)


def _not_nifti(path: Path) -> InputError:
    size = path.stat().st_size
    if size == 0:
        return InputError(str(path), expected="a NIfTI file", got="an empty file", remedy="copy or export it again")
    remedy = "check the file; if it is Analyze 7.5, which does not say left from right, convert it to NIfTI"
    return InputError(str(path), expected="a NIfTI file", got=f"{size} bytes without a NIfTI header", remedy=remedy)
