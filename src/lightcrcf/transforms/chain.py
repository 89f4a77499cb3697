"""Composite transform of an affine, a displacement field and an affine; it resamples with one interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.geometry import kernels
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes.volume import Volume

__all__ = ["Chain", "Interpolation"]

Float = NDArray[np.float64]
Interpolation = Literal["auto", "linear", "nearest", "cubic"]


@dataclass(frozen=True, eq=False)
class Chain:
    """Composite transform x -> after(y + u(y)) with y = before(x), on points in RAS+ mm.

    The result of a registration has the identity as `before`, the field on the fixed grid, and the affine as `after`.
    It maps points from fixed to moving, as needed to resample the moving volume to the fixed grid.

    Args:
        before: applied first.
        field: applied second; None for none.
        after: applied last.

    Example:
        >>> grid = Grid((4, 5, 6), np.eye(4))
        >>> field = DisplacementField(grid, np.full((3, 4, 5, 6), 0.25, np.float32))
        >>> double = Affine(np.diag([2.0, 2.0, 2.0, 1.0]))
        >>> chain = Chain(Affine.identity(), field, double)
        >>> chain.points([1, 1, 1]).tolist()  # the field first, then the affine
        [2.5, 2.5, 2.5]
        >>> chain.inverse_points([2.5, 2.5, 2.5]).round(6).tolist()
        [1.0, 1.0, 1.0]
    """

    before: Affine
    field: DisplacementField | None
    after: Affine

    def points(self, points_mm: ArrayLike) -> Float:
        """Transform (..., 3) points in RAS+ mm."""
        points = self.before.points(points_mm)
        return self.after.points(points if self.field is None else self.field.points(points))

    def inverse_points(self, points_mm: ArrayLike) -> Float:
        """Return the points that `points` maps to these, solved point by point to 1e-4 mm in the space of the field."""
        points = self.after.inverse().points(points_mm)
        return self.before.inverse().points(points if self.field is None else self.field.inverse_points(points))

    def inverse(self) -> Chain:
        """Return the inverse chain, with the field inverted on its own grid (see `DisplacementField.inverse`)."""
        field = None if self.field is None else self.field.inverse()
        return Chain(self.after.inverse(), field, self.before.inverse())

    def resample(self, moving: Volume, onto: Grid, interpolation: Interpolation = "auto", fill: float = 0.0) -> Volume:
        """Resample `moving` at the images of the voxels of `onto` under this chain, with one interpolation.

        Args:
            moving: on its own grid.
            onto: grid of the result.
            interpolation: nearest keeps the dtype, linear and cubic give float32; auto is nearest for label maps and
                linear for images, see `is_label_map`.
            fill: value outside of `moving`.

        Returns:
            Volume on `onto`.
        """
        if interpolation == "auto":
            interpolation = "nearest" if is_label_map(moving.data) else "linear"
        data = kernels.resample(
            moving.data,
            onto.shape,
            _rows(moving.grid.inverse @ self.after.matrix @ self.before.matrix @ onto.affine),
            interpolation=interpolation,
            fill=fill,
            **self._field_arguments(moving.grid, onto),
        )
        return Volume(data, onto, moving.source)

    def _field_arguments(self, moving: Grid, onto: Grid) -> dict[str, Any]:
        if self.field is None:
            return {}
        grid = self.field.grid
        return {
            "field": self.field.displacement,
            "field_matrix": _rows(grid.inverse @ self.before.matrix @ onto.affine),
            "vector_matrix": (moving.inverse @ self.after.matrix @ grid.affine)[:3, :3],
        }


def _rows(matrix: Float) -> Float:
    return matrix[:3]
