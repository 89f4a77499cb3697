"""Displacement fields on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry import determinant, kernels
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.points import displacement_at, invert_at

__all__ = ["DisplacementField", "InverseConsistency"]

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

_POINT_TOLERANCE_MM = 1e-5  # a tenth of the documented accuracy


class InverseConsistency(NamedTuple):
    """Inverse-consistency error in mm: distance of points from their images under a field and then its inverse."""

    mean_mm: float
    max_mm: float


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacement field x -> x + u(x) on world points: trilinear between voxels, zero outside of the grid.

    A voxel index in [-0.5, n - 0.5) is inside and clamped to the border voxels, as in ITK.

    Args:
        grid: of the displacement vectors.
        displacement: u, (3, D, H, W) float32, in voxels of `grid`; channel c moves along array axis c.

    Raises:
        InputError: if grid and displacement disagree in shape.

    Example:
        >>> grid = Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1] = 0.5
        >>> field = DisplacementField(grid, u)
        >>> field.points([[1, 4, 6], [1, 4, 60]]).tolist()
        [[1.0, 5.0, 6.0], [1.0, 4.0, 60.0]]
        >>> field.inverse_points([1, 5, 6]).round(6).tolist()
        [1.0, 4.0, 6.0]
    """

    grid: Grid
    displacement: Float32

    def __post_init__(self) -> None:
        displacement = np.asarray(self.displacement, dtype=np.float32)
        if displacement.shape != (3, *self.grid.shape):
            raise InputError(
                "displacement field",
                expected=f"an array of shape {(3, *self.grid.shape)}",
                got=str(displacement.shape),
                remedy="give the vectors on their own grid, components first",
            )
        object.__setattr__(self, "displacement", displacement)

    @classmethod
    def zero(cls, grid: Grid) -> DisplacementField:
        """Return the zero field on a grid."""
        return cls(grid, np.zeros((3, *grid.shape), np.float32))

    @classmethod
    def from_world_mm(cls, grid: Grid, vectors: Float32) -> DisplacementField:
        """Build a field from (D, H, W, 3) vectors in RAS+ mm."""
        return cls(grid, _matrix_times(grid.inverse[:3, :3], np.moveaxis(np.asarray(vectors), -1, 0)))

    def world_mm(self) -> Float32:
        """Return (D, H, W, 3) float32 vectors in RAS+ mm."""
        return np.moveaxis(_matrix_times(self.grid.affine[:3, :3], self.displacement), 0, -1)

    def world_component_mm(self, axis: int) -> Float32:
        """Return the (D, H, W) float32 component along one world axis, in RAS+ mm."""
        component: Float32 = _matrix_times(self.grid.affine[axis : axis + 1, :3], self.displacement)[0]
        return component

    @property
    def length_mm(self) -> Float32:
        """Return the (D, H, W) float32 magnitudes of the vectors in mm."""
        squares = np.zeros(self.grid.shape, np.float32)
        for axis in range(3):
            component = self.world_component_mm(axis)
            squares += np.square(component, out=component)
        return np.sqrt(squares, out=squares)

    def points(self, points_mm: ArrayLike) -> Float:
        """Transform (..., 3) points in RAS+ mm: x + u(x)."""
        points = np.asarray(points_mm, dtype=np.float64)
        moved = displacement_at(self.displacement, self.grid.voxels(points).reshape(-1, 3))
        return points + (moved @ self.grid.affine[:3, :3].T).reshape(points.shape)

    def inverse_points(self, points_mm: ArrayLike) -> Float:
        """Solve y + u(y) = x, to 1e-4 mm wherever u does not fold.

        If no y maps to x, since the field ends at its border, y is the closest solution for u extrapolated beyond its
        border if x is inside of the grid, and x itself if it is outside.

        Args:
            points_mm: x, (..., 3) RAS+ mm.

        Returns:
            y, (..., 3) RAS+ mm.
        """
        points = np.asarray(points_mm, dtype=np.float64)
        x = self.grid.voxels(points).reshape(-1, 3)
        y = invert_at(self.displacement, x, tolerance=_POINT_TOLERANCE_MM / float(self.grid.spacing_mm.max()))
        untouched = ~(self._inside(x) | self._inside(y))
        return np.where(untouched.reshape(*points.shape[:-1], 1), points, self.grid.world(y).reshape(points.shape))

    def inverse(self) -> DisplacementField:
        """Return the field v on the same grid with v(x) + u(x + v(x)) = 0 at its voxels, u clamped at the borders."""
        return DisplacementField(self.grid, kernels.invert(self.displacement))

    def inverse_consistency_mm(self, inverse: DisplacementField) -> InverseConsistency:
        """Measure the inverse-consistency error: displacement of voxels by this field and then `inverse`.

        Voxels that this field moves out of the grid are excluded.

        Args:
            inverse: on the same grid.

        Raises:
            InputError: if it is on another grid.
        """
        if not self.grid.isclose(inverse.grid):
            raise InputError(
                "inverse field",
                expected=f"the grid of the field, {self.grid.shape}",
                got=f"another of shape {inverse.grid.shape}",
                remedy="compare a field with the inverse that was made from it",
            )
        residual = DisplacementField(self.grid, kernels.compose(inverse.displacement, self.displacement))
        distance = residual.length_mm[self._stays_inside()]
        if distance.size == 0:
            return InverseConsistency(0.0, 0.0)
        return InverseConsistency(float(distance.mean(dtype=np.float64)), float(distance.max()))

    def jacobian_determinant(self) -> Float32:
        """Return the (D, H, W) float32 Jacobian determinant det(I + du/dx); equal in voxels and in mm."""
        return determinant.jacobian_determinant(self.displacement)

    def reorder(self, order: AxisOrder) -> DisplacementField:
        """Return the same transform on the grid with reordered axes."""
        grid = order.grid(self.grid)
        vectors = np.empty((3, *grid.shape), np.float32)
        for axis, (old, flip) in enumerate(zip(order.permutation, order.flips, strict=True)):
            np.multiply(order.array(self.displacement[old]), np.float32(-1 if flip else 1), out=vectors[axis])
        return DisplacementField(grid, vectors)

    def _inside(self, voxels: Float) -> NDArray[np.bool_]:
        return np.asarray(((voxels >= -0.5) & (voxels < np.array(self.grid.shape) - 0.5)).all(axis=-1))

    def _stays_inside(self) -> NDArray[np.bool_]:
        inside = np.ones(self.grid.shape, dtype=bool)
        for axis, n in enumerate(self.grid.shape):
            index = np.arange(n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            position = self.displacement[axis] + index
            inside &= (position >= 0) & (position <= n - 1)
        return inside


def _matrix_times(matrix: Float, vectors: Float32) -> Float32:
    """Return matrix @ vectors element by element, with the same result on any number of threads."""
    out = np.zeros((len(matrix), *vectors.shape[1:]), np.float32)
    for a, b in zip(*np.nonzero(matrix), strict=True):
        out[a] += np.float32(matrix[a, b]) * vectors[b]
    return out
