"""The bytes of the voxels: checked against the file's size and the memory, then read in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.files import is_gzip, open_binary
from lightcrcf.volumes.limits import check_stored

__all__ = ["read_voxels"]

_CHUNK = 1 << 22


def read_voxels(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array that starts at byte `offset` of a file, compressed or not.

    Args:
        path: the file that holds the voxels.
        offset: bytes before them, after decompression.
        shape: of the array; the first axis runs fastest in the file.
        dtype: of the array in the file, either endianness.

    Returns:
        Array of `shape` in Fortran order and native byte order.

    Raises:
        InputError: if the file is missing, damaged or too short.
        MemoryEstimateError: if the array would not fit into memory.
    """
    with open_binary(path):  # a missing file is told before its size is asked for
        packed = is_gzip(path)
    stored = path.stat().st_size - (0 if packed else offset)
    size = check_stored(str(path), shape, dtype.itemsize, stored=stored, compressed=packed)
    raw = np.empty(size // dtype.itemsize, dtype)
    with open_binary(path) as stream:
        filled = _fill(stream, offset, raw.view(np.uint8).data)
        while filled == size and stream.read(_CHUNK):  # to the end, where gzip keeps its checksum
            pass
    if filled < size:
        remedy = "copy or download it again; it is cut off or its header is damaged"
        raise InputError(str(path), expected=f"{size} bytes of voxels", got=f"{filled}", remedy=remedy)
    return raw.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F")


def _fill(stream: BinaryIO, offset: int, room: memoryview) -> int:
    """Skip `offset` bytes, then fill `room` as far as the stream goes; the number of bytes filled."""
    while offset > 0 and (skipped := len(stream.read(min(offset, _CHUNK)))):
        offset -= skipped
    filled = 0
    while filled < len(room):
        count = stream.readinto(room[filled : filled + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
