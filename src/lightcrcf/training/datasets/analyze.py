"""Analyze 7.5 files, with axis directions that the data set's layout states.

The format does not store the directions. `volumes.read` refuses such files, because a guess could swap left and right.
LPBA40 comes in no other format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.files import open_binary
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes.arrays import plain_array
from lightcrcf.volumes.formats.voxels import read_voxels, stored_dtype, stored_offset
from lightcrcf.volumes.limits import check_shape
from lightcrcf.volumes.volume import Volume

__all__ = ["analyze_grid", "read_analyze"]

_TOWARDS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def analyze_grid(path: Path, axes: str) -> Grid:
    """Return the grid of an Analyze image from its header alone; the world origin is the centre of the image.

    Args:
        path: the .hdr file.
        axes: directions of the three array axes, as "LPS": left, posterior, superior.

    Raises:
        InputError: if the file is no header of a 3-D image with positive voxel sizes.
    """
    return _grid(_header(path), axes, path)


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
    grid = _grid(header, axes, path)
    voxels = path.with_suffix(".img")
    if not voxels.exists():
        voxels = voxels.with_name(f"{voxels.name}.gz")
    data = read_voxels(voxels, stored_offset(header, str(path)), grid.shape, stored_dtype(header, str(path)))
    note = f"Analyze 7.5, which stores no axis directions: {axes} assumed"
    return Volume(plain_array(data, str(path)), grid, str(path), {}, (note,))


def _header(path: Path) -> Any:
    with open_binary(path) as stream:
        head = stream.read(nib.AnalyzeHeader.sizeof_hdr)
    if not nib.AnalyzeHeader.may_contain_header(head):
        raise InputError(
            str(path),
            expected="an Analyze 7.5 header",
            got="something else",
            remedy="check that this is the right file",
        )
    return nib.AnalyzeHeader(head, check=False)


def _grid(header: Any, axes: str, path: Path) -> Grid:
    shape = check_shape(str(path), header.get_data_shape())
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        got = ", ".join(f"{size:g}" for size in sizes)
        raise InputError(str(path), expected="positive voxel sizes", got=got, remedy="repair its header")
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(axes):
        world, sign = _TOWARDS[letter]
        affine[world, axis] = sign * sizes[axis]
    affine[:, 3] = [*(-affine[:3, :3] @ ((np.array(shape) - 1) / 2)), 1.0]
    return Grid(shape, affine)
