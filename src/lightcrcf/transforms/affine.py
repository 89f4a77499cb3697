"""Affine transforms of world points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError

__all__ = ["Affine"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> A x + t on points in RAS+ mm; from fixed to moving points as the result of a registration.

    Args:
        matrix: (4, 4) float64, homogeneous.

    Raises:
        InputError: if the matrix is not 4x4, finite, invertible, with (0, 0, 0, 1) as last row.

    Example:
        >>> shift = Affine(np.array([[1, 0, 0, 5.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
        >>> double = Affine(np.diag([2.0, 2.0, 2.0, 1.0]))
        >>> double.compose(shift).points([1, 0, 0]).tolist()  # shifts first
        [12.0, 0.0, 0.0]
        >>> shift.inverse().points([5, 0, 0]).tolist()
        [0.0, 0.0, 0.0]
    """

    matrix: Float

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if (
            matrix.shape != (4, 4)
            or not np.isfinite(matrix).all()
            or abs(np.linalg.det(matrix[:3, :3])) < 1e-12
            or not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0))
        ):
            raise InputError(
                "affine",
                expected="a finite, invertible 4x4 matrix whose last row is 0 0 0 1",
                got=np.array2string(matrix, precision=3, separator=",").replace("\n", ""),
                remedy="check where the matrix comes from",
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Affine:
        """Return the identity transform."""
        return cls(np.eye(4))

    def points(self, points_mm: ArrayLike) -> Float:
        """Transform (..., 3) points in RAS+ mm."""
        return np.asarray(points_mm, dtype=np.float64) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse(self) -> Affine:
        """Return the exact inverse."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.linalg.inv(self.matrix[:3, :3])
        matrix[:3, 3] = -matrix[:3, :3] @ self.matrix[:3, 3]
        return Affine(matrix)

    def compose(self, other: Affine) -> Affine:
        """Return x -> self(other(x)): `other` is applied first."""
        return Affine(self.matrix @ other.matrix)
