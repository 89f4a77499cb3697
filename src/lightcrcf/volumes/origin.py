"""The file that a volume was read from, as long as its voxels are the ones that were read."""

from __future__ import annotations

import weakref
from typing import Any

from lightcrcf.volumes.volume import Volume

__all__ = ["file_of", "record_origin"]

_files: dict[int, tuple[weakref.ref[Any], str]] = {}  # by the id of the array


def record_origin(volume: Volume, path: str) -> Volume:
    """Record that a volume holds what is in a file, and return it."""
    key = id(volume.data)
    _files[key] = weakref.ref(volume.data, lambda _: _files.pop(key, None)), path
    return volume


def file_of(volume: Volume) -> str | None:
    """Return the file that the voxels were read from; None for voxels that were made or changed in memory.

    Example:
        >>> import numpy as np
        >>> from lightcrcf.geometry.grid import Grid
        >>> read = record_origin(Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), np.eye(4))), "a.nii.gz")
        >>> file_of(read), file_of(Volume(read.data + 1, read.grid, "a.nii.gz"))
        ('a.nii.gz', None)
    """
    reference, path = _files.get(id(volume.data), (None, None))
    return path if reference is not None and reference() is volume.data else None
