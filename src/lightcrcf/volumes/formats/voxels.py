"""Reading of voxels: sizes are checked against the file and the memory first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.files import is_gzip, open_binary
from lightcrcf.volumes.limits import check_stored

__all__ = ["read_parts", "read_voxels"]

_CHUNK = 1 << 22


def read_voxels(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read the array that starts at byte `offset` of a file, compressed or not.

    Args:
        path: the file that holds the voxels.
        offset: bytes before the voxels, after decompression.
        shape: of the array; the first axis runs fastest in the file.
        dtype: of the array in the file, either endianness.

    Returns:
        Array of `shape` in Fortran order and native byte order.

    Raises:
        InputError: if the file is missing, damaged or too short.
        MemoryEstimateError: if the array would not fit into memory.
    """
    with open_binary(path):  # raises for a missing file before its size is queried
        packed = is_gzip(path)
    stored = path.stat().st_size - (0 if packed else offset)
    size = check_stored(str(path), shape, dtype.itemsize, stored=stored, compressed=packed)
    raw = np.empty(size // dtype.itemsize, dtype)
    with open_binary(path) as stream:
        filled = _fill(stream, offset, raw.view(np.uint8).data)
        while filled == size and stream.read(_CHUNK):  # to the end, where gzip keeps its checksum
            pass
    if filled < size:
        raise _cut_off(path, size, filled)
    return raw.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F")


def read_parts(
    path: Path, offset: int, shape: tuple[int, ...], count: int, dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Yield consecutive arrays of one shape from byte `offset` of a file, with one in memory at a time.

    Args:
        path, offset, dtype: as for `read_voxels`.
        shape: of each array.
        count: how many there are.

    Raises:
        InputError: if the file is missing, damaged or too short, when the iteration reaches that point.
        MemoryEstimateError: if one array would not fit into memory.
    """
    with open_binary(path) as stream:
        stored, packed = path.stat().st_size, is_gzip(path)
        size = check_stored(str(path), shape, dtype.itemsize, stored=stored, compressed=packed)
        for number in range(count):
            raw = np.empty(size // dtype.itemsize, dtype)
            filled = _fill(stream, 0 if number else offset, raw.view(np.uint8).data)
            if filled < size:
                raise _cut_off(path, count * size, number * size + filled)
            yield raw.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F")
        while stream.read(_CHUNK):  # to the end, where gzip keeps its checksum
            pass


def _cut_off(path: Path, size: int, filled: int) -> InputError:
    remedy = "copy or download it again; it is cut off or its header is damaged"
    return InputError(str(path), expected=f"{size} bytes of voxels", got=f"{filled}", remedy=remedy)


def _fill(stream: BinaryIO, offset: int, buffer: memoryview) -> int:
    """Skip `offset` bytes, then fill `buffer` as far as the stream goes; return the number of bytes filled."""
    while offset > 0 and (skipped := len(stream.read(min(offset, _CHUNK)))):
        offset -= skipped
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled : filled + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
