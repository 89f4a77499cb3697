"""Grids with orthogonal axes from the voxel-to-world matrices of files."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid

__all__ = ["corner_distance", "orthogonal_grid"]

# ITK and most others treat axes as orthogonal; 1e-2 is a cosine of 89.4 degrees.
_MAX_SHEAR = 1e-2
_ROUNDING = 1e-6
_MAX_MM = 1e9  # a thousand kilometres


def corner_distance(a: ArrayLike, b: ArrayLike, shape: tuple[int, int, int]) -> float:
    """Return the largest distance between the corner voxels of two (4, 4) voxel-to-world matrices, in world units.

    Example:
        >>> corner_distance(np.eye(4), np.diag([2.0, 1.0, 1.0, 1.0]), (5, 7, 11))
        4.0
    """
    corners = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in shape], [1.0], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm((np.asarray(a) - np.asarray(b))[:3] @ corners, axis=0).max())


def orthogonal_grid(shape: tuple[int, int, int], affine: ArrayLike, source: str) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid of a file with slight shear removed, and notes on what was changed.

    The axes are replaced by the nearest orthonormal directions (the polar decomposition's rotation, possibly with a
    reflection); spacing and the centre of the volume stay.

    Args:
        shape: voxels along the array axes.
        affine: (4, 4) voxel to RAS+ mm.
        source: the file, for messages.

    Raises:
        InputError: if the matrix is not finite, a spacing is zero, or the axes are far from orthogonal.

    Example:
        >>> grid, notes = orthogonal_grid((5, 7, 11), np.diag([1.0, 2.0, 3.0, 1.0]), "brain.nii")
        >>> grid.spacing_mm.tolist(), notes
        ([1.0, 2.0, 3.0], ())
    """
    matrix = _checked(np.array(affine, dtype=np.float64), source)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    directions = matrix[:3, :3] / spacing
    shear = np.abs(directions.T @ directions - np.eye(3)).max()
    if shear <= _ROUNDING:
        return Grid(shape, matrix), ()
    if shear >= _MAX_SHEAR:
        raise InputError(
            source,
            expected="orthogonal axes",
            got=f"axes that meet at {np.degrees(np.arccos(min(shear, 1.0))):.1f} degrees",
            remedy="resample it onto an orthogonal grid first, e.g. with nibabel.processing.resample_to_output",
        )
    orthogonal = _remove_shear(matrix, spacing, directions, (np.array(shape) - 1) / 2)
    moved = corner_distance(orthogonal, matrix, shape)
    note = f"slight shear removed; corners moved by up to {moved:.2g} mm"
    return Grid(shape, orthogonal), (note,) if moved > 1e-3 else ()


def _checked(matrix: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    if matrix.shape != (4, 4):
        got = f"an array of shape {matrix.shape}"
        raise InputError(source, expected="a 4x4 voxel-to-world matrix", got=got, remedy="give the image's affine")
    finite = bool((np.abs(matrix) < _MAX_MM).all())  # False for NaN too
    spacing = np.linalg.norm(matrix[:3, :3], axis=0) if finite else np.zeros(3)
    if not (spacing > 1 / _MAX_MM).all():
        got = "zero spacing" if finite else "NaN, infinity or absurd numbers in the orientation or spacing"
        raise InputError(
            source, expected="finite positive spacing", got=got, remedy="set the header's voxel sizes and orientation"
        )
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-6:
        raise InputError(
            source,
            expected="three independent axes",
            got="a singular voxel-to-world matrix",
            remedy="repair the header's orientation",
        )
    return matrix


def _remove_shear(
    matrix: NDArray[np.float64],
    spacing: NDArray[np.float64],
    directions: NDArray[np.float64],
    centre: NDArray[np.float64],
) -> NDArray[np.float64]:
    left, _, right = np.linalg.svd(directions)
    orthogonal = np.array(matrix)
    orthogonal[:3, :3] = (left @ right) * spacing
    orthogonal[:3, 3] += (matrix[:3, :3] - orthogonal[:3, :3]) @ centre
    return orthogonal
