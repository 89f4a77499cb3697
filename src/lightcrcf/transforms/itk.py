"""Transform files of ITK, ANTs and 3D Slicer, and the conversion between RAS+ and LPS+, which only this module does.

The world coordinates of ITK are LPS+ mm: the first two have the opposite sign. Transforms have the same direction.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path, check_readable
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.foreign import refuse_foreign_affine, refuse_transform_file
from lightcrcf.volumes.formats.nifti import is_nifti, load_nifti, nifti_shape, save_nifti_parts
from lightcrcf.volumes.formats.nifti_header import header_for, header_grid

__all__ = [
    "AFFINE_NAME",
    "FIELD_NAME",
    "INVERSE_FIELD_NAME",
    "flip_lps_ras",
    "read_affine",
    "read_field",
    "read_transform_folder",
    "write_affine",
    "write_field",
]

AFFINE_NAME, FIELD_NAME, INVERSE_FIELD_NAME = "affine.tfm", "warp.nii.gz", "inverse_warp.nii.gz"

_FLIP = np.array([-1.0, -1.0, 1.0])
_INTENT_VECTOR, _INTENT_DISPLACEMENT = 1007, 1006


def flip_lps_ras(vectors: ArrayLike) -> NDArray[np.float64]:
    """Convert (..., 3) points or vectors from LPS+ to RAS+, or back.

    Example:
        >>> flip_lps_ras([1, 2, 3]).tolist()
        [-1.0, -2.0, 3.0]
    """
    flipped: NDArray[np.float64] = np.multiply(vectors, _FLIP, dtype=np.float64)
    return flipped


def write_affine(path: str | os.PathLike[str], affine: Affine) -> None:
    """Write an ITK text transform (.tfm), atomically.

    Raises:
        InputError: if the file cannot be written.
    """
    flip = np.diag([*_FLIP, 1.0])
    matrix = flip @ affine.matrix @ flip + 0.0  # no "-0.0"
    numbers = [*matrix[:3, :3].ravel().tolist(), *matrix[:3, 3].tolist()]
    lines = (
        "#Insight Transform File V1.0",
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: " + " ".join(map(repr, numbers)),
        "FixedParameters: 0 0 0",
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(("\n".join(lines) + "\n").encode("ascii"))


def read_affine(path: str | os.PathLike[str]) -> Affine:
    """Read a linear 3-D transform in a format of ITK (.tfm, .txt, .mat, .h5): affine, rigid, similarity, composites.

    Raises:
        InputError: if the file is missing, no transform, or not linear; for formats of other tools the message states
            the command that converts them.
    """
    if not Path(path).is_dir():
        check_readable(path, "an ITK affine file")
    refuse_foreign_affine(Path(path), _nifti_shape(Path(path)))
    transform = _itk_transform(path)
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputError(
            str(path),
            expected="a linear 3-D transform",
            got=f"{transform.GetDimension()}-D {transform.GetName()}",
            remedy="give the affine that the registration wrote",
        )
    origin, *units = (np.array(transform.TransformPoint(p)) for p in np.vstack([np.zeros(3), np.eye(3)]).tolist())
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack(units) - origin[:, None]
    matrix[:3, 3] = origin
    flip = np.diag([*_FLIP, 1.0])
    return Affine(flip @ matrix @ flip)


def _nifti_shape(path: Path) -> tuple[int, ...] | None:
    if path.is_dir() or not is_nifti(path):
        return None
    return nifti_shape(path)


def _itk_transform(path: str | os.PathLike[str]) -> Any:
    import SimpleITK as sitk

    try:
        return sitk.ReadTransform(str(path))
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter if the message of ITK quotes bytes of the file
        lines = str(error).strip().splitlines() or ["a file that cannot be read"]  # SimpleITK may give no message
        got = re.sub(r"^ITK ERROR: |\(0x[0-9a-f]+\)", "", lines[-1])
        raise InputError(
            str(path), expected="an ITK transform file", got=got, remedy="write or copy it again"
        ) from error


def write_field(path: str | os.PathLike[str], field: DisplacementField) -> None:
    """Write a displacement field as ITK and ANTs do: NIfTI (X, Y, Z, 1, 3), intent 1007, LPS mm; atomically.

    The same field gives the same bytes.

    Args:
        path: .nii or .nii.gz.
        field: from fixed to moving points, as it resamples the moving volume.

    Raises:
        InputError: if the file cannot be written.
    """
    header = header_for(field.grid, np.dtype(np.float32), {})
    header.set_data_shape((*field.grid.shape, 1, 3))
    header["intent_code"] = _INTENT_VECTOR
    # One component at a time: the field is often the largest array of a registration.
    components = (_lps_component(field, axis) for axis in range(3))
    save_nifti_parts(path, header, components)


def _lps_component(field: DisplacementField, axis: int) -> NDArray[np.float32]:
    """Return the (D, H, W) component along one world axis, in LPS mm."""
    component = field.world_component_mm(axis)
    component *= np.float32(_FLIP[axis])
    component += np.float32(0)  # no negative zeros
    return component


def read_field(path: str | os.PathLike[str]) -> DisplacementField:
    """Read a displacement field as ITK, ANTs and `write_field` write it.

    Raises:
        InputError: if the file is missing, damaged, or no such field.
        MemoryEstimateError: if it would not fit into memory.
    """
    source = str(path)
    header, vectors = load_nifti(path, _field_shape)
    intent, name = int(header["intent_code"]), bytes(header["intent_name"].item()).decode("ascii", "replace")
    if intent != _INTENT_VECTOR or name.startswith("NREG"):
        kind = {_INTENT_DISPLACEMENT: "intent 1006 (vectors in RAS mm)"}.get(intent, f"intent {intent} {name}".strip())
        raise InputError(
            source,
            expected="an ITK displacement field, intent 1007 with vectors in LPS mm",
            got=kind,
            remedy="convert it with the tool that wrote it to ITK's convention",
        )
    if not np.isfinite(vectors).all():
        raise InputError(source, expected="finite vectors", got="NaN or infinity", remedy="write the field again")
    shape = (vectors.shape[0], vectors.shape[1], vectors.shape[2])
    grid: Grid = header_grid(header, shape, source)[0]
    return DisplacementField.from_world_mm(grid, vectors[..., 0, :] * _FLIP.astype(np.float32))


def _field_shape(source: str, shape: tuple[int, ...], /) -> tuple[int, ...]:
    if len(shape) != 5 or shape[3:] != (1, 3):
        raise InputError(
            source,
            expected="a displacement field of shape (X, Y, Z, 1, 3)",
            got=f"{len(shape)}-D {shape}",
            remedy="give the warp that the registration wrote",
        )
    return shape


def read_transform_folder(folder: str | os.PathLike[str]) -> Chain:
    """Read the chain from fixed to moving points that a registration wrote to `folder`.

    `affine.tfm` is required; `warp.nii.gz` exists unless the registration was affine. `inverse_warp.nii.gz` is for
    other tools: the inverse is always computed from `warp.nii.gz`, so that the two are consistent.

    Raises:
        InputError: if the folder or the affine is missing, or a file is damaged.
        MemoryEstimateError: if the field would not fit into memory.
    """
    root = Path(folder)
    if root.is_file():
        refuse_transform_file(root)
    if not (root / AFFINE_NAME).is_file():
        raise InputError(
            str(folder),
            expected=f"a folder with {AFFINE_NAME} and usually {FIELD_NAME}",
            got=f"no {AFFINE_NAME}" if root.is_dir() else "no such folder",
            remedy="give the folder that `lightcrcf register` wrote",
        )
    field = read_field(root / FIELD_NAME) if (root / FIELD_NAME).exists() else None
    return Chain(Affine.identity(), field, read_affine(root / AFFINE_NAME))
