"""The geometry of NIfTI headers: qform, sform, units and voxel sizes, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes.orientation import corner_distance, orthogonal_grid
from lightcrcf.volumes.volume import UNKNOWN_SIDES

__all__ = ["geometry_fields", "header_for", "header_grid"]

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metre, micrometre; 2 is mm; 0 (unknown) is treated as mm
_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
_DISAGREEMENT_MM = 1e-2
_SAME_MM = 1e-3


def geometry_fields(header: Any) -> dict[str, NDArray[Any]]:
    """Return the fields of a nibabel NIfTI header that hold the geometry, to copy to files on the same grid."""
    return {name: np.array(header[name]) for name in _FIELDS}


def header_grid(header: Any, shape: tuple[int, int, int], source: str) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid of a header, and notes on what was assumed.

    The sform is used if its code is positive, else the qform, else only the voxel sizes (with axes left, anterior,
    superior around the centre, as nibabel and SPM assume).

    Args:
        header: nibabel Nifti1Header or Nifti2Header, either endianness.
        shape: sizes of the first three axes.
        source: the file, for messages.

    Raises:
        InputError: if voxel sizes are not positive or no usable matrix is left.
    """
    _check_spacing(header, source)
    unit = _unit(header)
    notes = () if unit == 1.0 else (f"voxel sizes converted to mm (times {unit:g})",)
    with np.errstate(over="ignore", invalid="ignore"):  # `orthogonal_grid` refuses overflow and NaN
        matrix, more = _matrix(header, shape, source)
        matrix = np.diag([unit, unit, unit, 1.0]) @ matrix
    grid, mended = orthogonal_grid(shape, matrix, source)
    return grid, (*notes, *more, *mended)


def _unit(header: Any) -> float:
    return _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)


def _check_spacing(header: Any, source: str) -> None:
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(pixdim) & (pixdim > 0)).all():
        raise InputError(
            source,
            expected="positive voxel sizes",
            got=", ".join(f"{size:g}" for size in pixdim),
            remedy="set them in the header, for instance with header.set_zooms in nibabel",
        )


def _matrix(header: Any, shape: tuple[int, int, int], source: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    sform = header.get_sform() if header["sform_code"] > 0 else None
    qform = _qform(header, source) if header["qform_code"] > 0 else None
    if sform is not None and not _usable(sform) and qform is not None:
        return qform, ("the sform is unusable; the qform is used",)
    if sform is not None:
        return np.asarray(sform), _compare(sform, qform, shape)
    if qform is not None:
        return qform, ()
    return _base(header, shape), (UNKNOWN_SIDES,)


def _usable(matrix: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix[:3, :3]) == 3)


def _qform(header: Any, source: str) -> NDArray[np.float64]:
    copy = header.copy()
    if copy["pixdim"][0] not in (-1, 1):  # by the standard any other value means 1
        copy["pixdim"][0] = 1
    try:
        return np.asarray(copy.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise InputError(
            source, expected="a rotation in the qform", got=str(error), remedy="repair its header"
        ) from error


def _compare(
    sform: NDArray[np.float64], qform: NDArray[np.float64] | None, shape: tuple[int, int, int]
) -> tuple[str, ...]:
    if qform is None:
        return ()
    apart = corner_distance(sform, qform, shape)
    if apart <= _DISAGREEMENT_MM:
        return ()
    return (f"sform and qform disagree by up to {apart:.3g} mm; the sform is used",)


def _base(header: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    step = np.asarray(header["pixdim"][1:4], dtype=np.float64) * (-1, 1, 1)
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = -step * (np.array(shape) - 1) / 2
    return matrix


def header_for(grid: Grid, dtype: np.dtype[Any], fields: Mapping[str, Any]) -> Any:
    """Return a little-endian header for a volume on `grid`: NIfTI-1, or NIfTI-2 if an axis has more than 32767 voxels.

    Args:
        grid: of the volume.
        dtype: of its voxels.
        fields: `geometry_fields` of the file that defined the grid. They are copied unchanged if they describe `grid`;
            else only the codes are copied and the matrices are written anew. If empty, both codes are 1 (scanner).
    """
    cls: Any = nib.Nifti1Header if max(grid.shape) < 2**15 else nib.Nifti2Header
    header = cls(endianness="<")
    header.set_data_shape(grid.shape)
    header.set_data_dtype(dtype)
    if fields and _copied(header, grid, fields):
        return header
    codes = [int(fields.get(name, 1)) for name in ("qform_code", "sform_code")]
    header["xyzt_units"] = 2
    header.set_qform(grid.affine, codes[0])
    header.set_sform(grid.affine, codes[1] if any(codes) else 1)
    return header


def _copied(header: Any, grid: Grid, fields: Mapping[str, Any]) -> bool:
    trial = header.copy()
    for name in _FIELDS:
        trial[name] = fields[name]
    trial["pixdim"][4:] = 1
    if trial["pixdim"][0] not in (-1, 1):
        trial["pixdim"][0] = 1
    trial["xyzt_units"] = int(fields["xyzt_units"]) & 7
    unit = _unit(trial)
    try:
        matrix = np.diag([unit, unit, unit, 1.0]) @ trial.get_best_affine()
    except HeaderDataError:
        return False
    if not corner_distance(matrix, grid.affine, grid.shape) <= _SAME_MM:
        return False  # another grid, or one with shear removed
    for name in _FIELDS:
        header[name] = trial[name]
    return True
