"""Writing of volumes in the format that the file name ends in."""

from __future__ import annotations

import os
from pathlib import Path

from lightcrcf.errors import InputError, UsageError
from lightcrcf.volumes.volume import Volume

__all__ = ["check_target", "write"]

_NIFTI, _ITK = (".nii", ".nii.gz"), (".nrrd", ".mha", ".mhd")


def check_target(path: str | os.PathLike[str]) -> None:
    """Check before any work that `write` can succeed: a known format, and a folder that exists and is writable.

    Raises:
        UsageError: if the name ends in none of the formats.
        InputError: if the folder cannot be written to.
    """
    if not str(path).lower().endswith(_NIFTI + _ITK):
        raise UsageError(
            str(path),
            expected=f"a name ending in {', '.join(_NIFTI + _ITK)}",
            got=repr(Path(path).name),
            remedy="choose one of these formats",
        )
    folder = Path(path).parent
    if Path(path).is_dir():
        raise InputError(
            str(path), expected="a file to write", got="a folder of that name", remedy="choose another name"
        )
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        got = f"no permission to write to {folder}" if folder.is_dir() else f"no folder {folder}"
        raise InputError(str(path), expected="a folder that can be written to", got=got, remedy="choose another place")


def write(path: str | os.PathLike[str], volume: Volume, *, like: Volume | None = None) -> None:
    """Write a volume, atomically; the same volume gives the same bytes.

    Args:
        path: ends in .nii, .nii.gz, .nrrd, .mha or .mhd (which comes with a .raw).
        volume: what to write; its dtype is kept (bool becomes uint8, 64-bit integers become int32 where they fit).
        like: the volume whose qform, sform, codes and units are copied to NIfTI; it has the same grid. By default
            `volume` itself.

    Raises:
        UsageError: if the name ends in something else.
        InputError: if the file cannot be written.
    """
    check_target(path)
    if str(path).lower().endswith(_NIFTI):
        from lightcrcf.volumes.formats.nifti import write_nifti

        write_nifti(path, volume, (like or volume).header)
        return
    from lightcrcf.volumes.formats.itk_images import write_image

    write_image(path, volume)
