"""Write a volume in the format that the file's name asks for."""

from __future__ import annotations

import os

from lightcrcf.errors import UsageError
from lightcrcf.volumes.nifti import write_nifti
from lightcrcf.volumes.volume import Volume

__all__ = ["write"]


def write(path: str | os.PathLike[str], volume: Volume, *, like: Volume | None = None) -> None:
    """Write a volume so that it appears whole or not at all; the same volume gives the same bytes.

    Args:
        path: ends in .nii or .nii.gz.
        volume: what to write; its dtype is kept (bool becomes uint8, 64-bit integers become int32 where they fit).
        like: the volume whose grid this one is on; its qform and sform codes and units are copied.

    Raises:
        UsageError: if the name ends in something else.
        InputError: if the file cannot be written.
    """
    name = str(path).lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise UsageError(str(path), expected="a name ending in .nii or .nii.gz", got=name, remedy="rename it")
    write_nifti(path, volume, (like or volume).header)
