"""NIfTI files through nibabel: series, shapes and grids, reading and writing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path, gzip_stream, open_binary
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes.arrays import to_storable
from lightcrcf.volumes.formats.nifti_header import geometry_fields, header_for, header_grid
from lightcrcf.volumes.formats.voxels import read_frames, read_voxels, stored_dtype, stored_offset
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.volume import Volume

__all__ = [
    "is_nifti",
    "load_nifti",
    "nifti_grid",
    "nifti_header_path",
    "nifti_shape",
    "nifti_volumes",
    "read_nifti",
    "save_nifti",
    "save_nifti_parts",
    "write_nifti",
]

# The magic of a single file, and of a header beside its voxels.
_MAGIC = {nib.Nifti1Header: (b"n+1", b"ni1"), nib.Nifti2Header: (b"n+2", b"ni2")}
_LONGEST_HEADER = 540


class ShapeCheck(Protocol):
    """A function that raises if it refuses a shape, or returns the shape to use."""

    def __call__(self, source: str, shape: tuple[int, ...], /) -> tuple[int, ...]: ...


def nifti_header_path(path: str | os.PathLike[str]) -> Path:
    """Return the file that holds the header: `path` itself, or for `x.img` the `x.hdr` in its folder if present."""
    sibling = _sibling(Path(path), ".img", ".hdr")
    return sibling if sibling and sibling.exists() else Path(path)


def _sibling(path: Path, old: str, new: str) -> Path | None:
    for suffix in ("", ".gz"):
        if path.name.lower().endswith(old + suffix):
            return path.with_name(path.name[: -len(old + suffix)] + new + suffix)
    return None


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Return whether the content, compressed or not, starts with a NIfTI header.

    Raises:
        InputError: if the file cannot be read.
    """
    with open_binary(path) as stream:
        return _parsed(stream.read(_LONGEST_HEADER)) is not None


def _parsed(head: bytes) -> Any:
    """Return the nibabel header, unchecked, of a file that starts with `head`; None if it is not NIfTI."""
    for cls, magic in _MAGIC.items():
        if len(head) >= cls.sizeof_hdr:
            header = cls(head[: cls.sizeof_hdr], check=False)
            if header["magic"].item() in magic:
                return header
    return None


def read_nifti(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D NIfTI file (.nii, .nii.gz, .hdr with .img; NIfTI-1 or 2; either endianness).

    Integers stay integers unless the header scales them; everything else becomes float32.

    Raises:
        InputError: if the file is damaged, not a 3-D scalar volume, or its geometry cannot be used.
        MemoryEstimateError: if it would not fit into memory.
    """
    header, raw = load_nifti(path, check_shape)
    source, shape = str(path), (raw.shape[0], raw.shape[1], raw.shape[2])
    grid, notes = header_grid(header, shape, source)
    return Volume(_scaled(header, raw, source), grid, source, geometry_fields(header), notes)


def nifti_volumes(path: str | os.PathLike[str]) -> Iterator[Volume]:
    """Read the volumes of a 3-D or 4-D NIfTI file one after the other; see `read_nifti`.

    Raises:
        InputError: if the file is damaged, not a series of 3-D scalar volumes, or its geometry cannot be used.
        MemoryEstimateError: if one volume would not fit into memory.
    """
    source = str(path)
    header, data_path = _header(Path(path))
    dtype, (*sizes, count) = stored_dtype(header, source), _series_shape(source, _shape(header, source))
    shape = (sizes[0], sizes[1], sizes[2])
    grid, notes = header_grid(header, shape, source)
    for raw in read_frames(data_path, _offset(header, source), shape, count, dtype):
        yield Volume(_scaled(header, raw, source), grid, source, geometry_fields(header), notes)


def _series_shape(source: str, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    sizes = list(shape)
    while len(sizes) > 4 and sizes[-1] == 1:
        sizes.pop()
    count = sizes.pop() if len(sizes) == 4 else 1
    return (*check_shape(source, sizes), count)


def nifti_grid(path: str | os.PathLike[str]) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid of a 3-D NIfTI file from its header alone, and notes on what was assumed.

    Raises:
        InputError: if the header is damaged, not of a 3-D volume, or its geometry cannot be used.
    """
    source = str(path)
    header, _ = _header(Path(path))
    return header_grid(header, check_shape(source, _shape(header, source)), source)


def nifti_shape(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return the shape of a NIfTI file of any dimension, from its header.

    Raises:
        InputError: if the header is damaged.
    """
    return _shape(_header(Path(path))[0], str(path))


def load_nifti(path: str | os.PathLike[str], check: ShapeCheck) -> tuple[Any, NDArray[Any]]:
    """Read header and unscaled voxels of a NIfTI file of any dimension.

    Args:
        path: the file that holds the header.
        check: called with file name and shape before anything is allocated; returns the shape of the result.

    Returns:
        nibabel Nifti1Header or Nifti2Header; array in Fortran order and native byte order.

    Raises:
        InputError: if the file is damaged or holds colours or complex numbers, or `check` raises it.
        MemoryEstimateError: if it would not fit into memory.
    """
    source = str(path)
    header, data_path = _header(Path(path))
    dtype = stored_dtype(header, source)
    shape = check(source, _shape(header, source))
    return header, read_voxels(data_path, _offset(header, source), shape, dtype)


def _header(path: Path) -> tuple[Any, Path]:
    """Return the header of a file, and the file that holds the voxels."""
    with open_binary(path) as stream:
        head = stream.read(_LONGEST_HEADER)
    header = _parsed(head)
    if header is None:
        got = f"a file of {len(head)} bytes" if len(head) < 348 else "something else"
        raise InputError(str(path), expected="a NIfTI header", got=got, remedy="check that this is the right file")
    return header, path if _is_single(header) else _sibling(path, ".hdr", ".img") or path


def _is_single(header: Any) -> bool:
    return bool(header["magic"].item()[:2] == b"n+")


def _shape(header: Any, source: str) -> tuple[int, ...]:
    count, *sizes = (int(n) for n in header["dim"])
    if not 1 <= count <= 7 or min(sizes[:count]) < 1:
        raise InputError(
            source,
            expected="1 to 7 positive sizes",
            got=f"{count} sizes {tuple(sizes)}",
            remedy="the header is damaged; copy or convert the file again",
        )
    shape: tuple[int, ...] = header.get_data_shape()
    return shape


def _offset(header: Any, source: str) -> int:
    return max(stored_offset(header, source), header.sizeof_hdr + 4 if _is_single(header) else 0)


def _scaled(header: Any, raw: NDArray[Any], source: str) -> NDArray[Any]:
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(source, expected="finite scaling", got=str(error), remedy="repair the header") from error
    # Values beyond float32 become infinite, or NaN when multiplied by zero; both count as missing data.
    with np.errstate(over="ignore", invalid="ignore"):
        if slope is not None and (slope, intercept) != (1.0, 0.0):
            exact: NDArray[Any] = raw.astype(np.float32 if raw.dtype.itemsize <= 2 else np.float64)
            raw = np.add(np.multiply(exact, slope, out=exact), intercept, out=exact)
        return raw.astype(np.float32, copy=False) if raw.dtype.kind == "f" else raw


def write_nifti(path: str | os.PathLike[str], volume: Volume, fields: Mapping[str, Any]) -> None:
    """Write a volume as .nii or .nii.gz, atomically; the same volume gives the same bytes.

    Args:
        path: the file.
        volume: what to write; its dtype is kept where all NIfTI readers support it (see `arrays.to_storable`).
        fields: geometry fields of the file that defined the grid (may be empty), see `header_for`.

    Raises:
        InputError: if the file cannot be written.
    """
    data = to_storable(volume.data)
    save_nifti(path, header_for(volume.grid, data.dtype, fields), data)


def save_nifti(path: str | os.PathLike[str], header: Any, data: NDArray[Any]) -> None:
    """Write a single-file NIfTI (.nii, or .nii.gz by the name), atomically and deterministically.

    Args:
        path: the file.
        header: nibabel Nifti1Header or Nifti2Header (not of a pair), little-endian, with shape and dtype set.
        data: array of that shape and dtype.

    Raises:
        InputError: if the file cannot be written.
    """
    save_nifti_parts(path, header, [data])


def save_nifti_parts(path: str | os.PathLike[str], header: Any, parts: Iterable[NDArray[Any]]) -> None:
    """Write a single-file NIfTI from consecutive parts, so that the array is never in memory as a whole.

    Args:
        path: the file.
        header: as for `save_nifti`, with the shape of the whole array.
        parts: arrays that are concatenated along the last axis, such as the components of a field.

    Raises:
        InputError: if the file cannot be written.
    """
    header.set_data_offset(0)  # nibabel puts it behind the header
    header.set_slope_inter(1, 0)
    with _created(path) as stream:
        header.write_to(stream)
        for part in parts:  # the first axis runs fastest
            voxels = np.ascontiguousarray(part.T, dtype=part.dtype.newbyteorder("<"))
            stream.write(voxels.reshape(-1).view(np.uint8).data)
            del part, voxels  # before the next one is made


@contextmanager
def _created(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a stream to a new file, compressed if the name ends in .gz; the file appears when the block succeeds."""
    if str(path).lower().endswith(".gz"):
        with gzip_stream(path) as packed:
            yield packed
        return
    with atomic_path(path) as temporary, temporary.open("wb") as plain:
        yield plain
