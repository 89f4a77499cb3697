"""Regular voxel grids in RAS+ world millimetres, and reorderings of their axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError

__all__ = ["AxisOrder", "Grid"]

Float = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular voxel grid: shape and voxel-to-world matrix.

    Args:
        shape: voxels along the array axes i, j, k.
        affine: (4, 4) float64, voxel index to RAS+ world mm.

    Raises:
        InputError: if the shape is not three positive integers, or the affine is not finite and invertible.

    Example:
        >>> grid = Grid((4, 6, 8), np.diag([1.0, 2.0, 3.0, 1.0]))
        >>> grid.spacing_mm.tolist(), grid.half().shape
        ([1.0, 2.0, 3.0], (2, 3, 4))
        >>> grid.half().world([0, 0, 0]).tolist()
        [0.5, 1.0, 1.5]
    """

    shape: tuple[int, int, int]
    affine: Float

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape, default=0) < 1:
            raise InputError("grid", expected="three positive sizes", got=str(shape), remedy="check the volume's shape")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise InputError(
                "grid",
                expected="a finite, invertible 4x4 voxel-to-world matrix",
                got=np.array2string(affine, precision=3, separator=",").replace("\n", ""),
                remedy="repair the header's spacing and orientation",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @cached_property
    def inverse(self) -> Float:
        """(4, 4) float64, RAS+ world mm to voxel index."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    @property
    def spacing_mm(self) -> Float:
        """(3,) distance between neighbouring voxels along each array axis."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def directions(self) -> Float:
        """(3, 3) unit vectors of the array axes, as columns, in RAS+."""
        return np.asarray(self.affine[:3, :3] / self.spacing_mm)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def world(self, voxels: ArrayLike) -> Float:
        """Return (..., 3) RAS+ mm of (..., 3) voxel indices."""
        return np.asarray(voxels, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxels(self, world_mm: ArrayLike) -> Float:
        """Return (..., 3) continuous voxel indices of (..., 3) RAS+ mm."""
        return np.asarray(world_mm, dtype=np.float64) @ self.inverse[:3, :3].T + self.inverse[:3, 3]

    def to(self, other: Grid) -> Float:
        """Return the (4, 4) matrix from voxel indices of this grid to those of `other`."""
        return np.asarray(other.inverse @ self.affine)

    def crop(self, start: ArrayLike, shape: tuple[int, int, int]) -> Grid:
        """Return the grid that starts at voxel `start` (negative pads) with `shape` voxels of the same spacing."""
        affine = np.array(self.affine)
        affine[:3, 3] = self.world(start)
        return Grid(shape, affine)

    def half(self, factors: tuple[int, int, int] = (2, 2, 2)) -> Grid:
        """Return the grid of half the resolution: voxel h is centred between voxels 2h and 2h + 1 (index 2h + 0.5).

        An axis with factor 1 keeps its voxels.
        """
        step = np.diag([*(float(f) for f in factors), 1.0])
        step[:3, 3] = [(f - 1) / 2 for f in factors]
        d, h, w = (-(-n // f) for n, f in zip(self.shape, factors, strict=True))
        return Grid((d, h, w), self.affine @ step)

    def isclose(self, other: Grid, *, tolerance_mm: float = 1e-3) -> bool:
        """Return whether both grids have the same shape and their corner voxels agree."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1).T
        return bool(np.abs(self.world(corners) - other.world(corners)).max() <= tolerance_mm)

    def canonical(self) -> AxisOrder:
        """Return the permutation and flips of the array axes to the orientation closest to RAS+."""
        return AxisOrder.towards_ras(self.directions)


@dataclass(frozen=True)
class AxisOrder:
    """A reordering of array axes without interpolation: first permute, then flip.

    Args:
        permutation: new axis a is old axis permutation[a].
        flips: whether new axis a is reversed.

    Example:
        >>> grid = Grid((2, 3, 4), np.array([[0, 0, -1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]))
        >>> order = grid.canonical()
        >>> order.permutation, order.flips, order.grid(grid).shape
        ((2, 0, 1), (True, False, False), (4, 2, 3))
        >>> order.inverse().grid(order.grid(grid)).isclose(grid)
        True
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def towards_ras(cls, directions: Float) -> AxisOrder:
        """Return the order of axes closest to RAS+, for (3, 3) direction columns.

        It maximises the total alignment, so that the result is a permutation for oblique grids too.
        """
        from itertools import permutations

        weight = np.abs(directions)
        best = max(permutations(range(3)), key=lambda p: sum(weight[a, p[a]] for a in range(3)))
        flips = tuple(bool(directions[a, best[a]] < 0) for a in range(3))
        return cls((best[0], best[1], best[2]), (flips[0], flips[1], flips[2]))

    def array(self, data: NDArray[T]) -> NDArray[T]:
        """Return a view of `data` (..., D, H, W) with its last three axes reordered."""
        lead = data.ndim - 3
        moved = data.transpose(*range(lead), *(lead + p for p in self.permutation))
        return moved[(..., *(slice(None, None, -1) if f else slice(None) for f in self.flips))]

    def grid(self, grid: Grid) -> Grid:
        """Return the grid with reordered axes; every voxel keeps its world position."""
        shape = tuple(grid.shape[p] for p in self.permutation)
        step = np.zeros((4, 4))
        step[3, 3] = 1.0
        for axis, (old, flip) in enumerate(zip(self.permutation, self.flips, strict=True)):
            step[old, axis] = -1.0 if flip else 1.0
            step[old, 3] = shape[axis] - 1 if flip else 0
        return Grid((shape[0], shape[1], shape[2]), grid.affine @ step)

    def inverse(self) -> AxisOrder:
        """Return the inverse order."""
        back = tuple(self.permutation.index(a) for a in range(3))
        return AxisOrder((back[0], back[1], back[2]), tuple(self.flips[b] for b in back))  # type: ignore[arg-type]
