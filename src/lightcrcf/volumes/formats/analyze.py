"""Analyze 7.5 files with axis directions that the caller states.

The format does not store the directions. `read` refuses such files, because a guess could swap left and right. Some
data sets come in no other format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from lightcrcf.errors import InputError
from lightcrcf.files import open_binary
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes.formats.voxels import read_voxels
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.volume import Volume

__all__ = ["analyze_grid", "read_analyze"]

_SIZE = 348
_TOWARDS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def analyze_grid(path: Path, axes: str) -> Grid:
    """Return the grid of an Analyze image from its header alone; the world origin is the centre of the image.

    Args:
        path: the .hdr file.
        axes: directions of the three array axes, as "LPS": left, posterior, superior.

    Raises:
        InputError: if the file is no header of a 3-D image with positive voxel sizes.
    """
    header = _header(path)
    return _grid(header, _shape(header, path), axes, path)


def read_analyze(path: Path, axes: str) -> Volume:
    """Read an Analyze image (.hdr with .img or .img.gz beside it).

    Args:
        path: the .hdr file.
        axes: directions of the three array axes; see `analyze_grid`.

    Raises:
        InputError: if it is damaged, or not a 3-D scalar image.
        MemoryEstimateError: if it would not fit into memory.
    """
    header = _header(path)
    shape = _shape(header, path)
    grid = _grid(header, shape, axes, path)
    voxels = path.with_suffix(".img")
    if not voxels.exists():
        voxels = voxels.with_name(f"{voxels.name}.gz")
    data = read_voxels(voxels, max(0, int(header["vox_offset"])), shape, _dtype(header, path))
    note = f"Analyze 7.5, which stores no axis directions: {axes} assumed"
    return Volume(data.astype(np.float32, copy=False) if data.dtype.kind == "f" else data, grid, str(path), {}, (note,))


def _header(path: Path) -> Any:
    with open_binary(path) as stream:
        head = stream.read(_SIZE)
    if len(head) < _SIZE or _SIZE not in (int.from_bytes(head[:4], order) for order in ("little", "big")):
        raise InputError(
            str(path),
            expected="an Analyze 7.5 header",
            got="something else",
            remedy="check that this is the right file",
        )
    order = "<" if int.from_bytes(head[:4], "little") == _SIZE else ">"
    return nib.AnalyzeHeader(head, endianness=order, check=False)


def _shape(header: Any, path: Path) -> tuple[int, int, int]:
    count = min(max(int(header["dim"][0]), 0), 7)
    return check_shape(str(path), [int(n) for n in header["dim"][1 : count + 1]])


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        dtype = np.dtype(np.void)
    if dtype.kind not in "iuf":
        got = f"Analyze data type {int(header['datatype'])}"
        raise InputError(str(path), expected="one real number per voxel", got=got, remedy="convert it")
    return dtype


def _grid(header: Any, shape: tuple[int, int, int], axes: str, path: Path) -> Grid:
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        got = ", ".join(f"{size:g}" for size in sizes)
        raise InputError(str(path), expected="positive voxel sizes", got=got, remedy="repair its header")
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, letter in enumerate(axes):
        world, sign = _TOWARDS[letter]
        affine[world, axis] = sign * sizes[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)
