"""Rows of pictures that show a registration: what was given, what came out, how space was deformed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from lightcrcf.report.figure import Painter, Row
from lightcrcf.report.painters import LARGEST_RATIO, gray, grid_lines, outlined, ratio_map
from lightcrcf.report.planes import planes, slice_image
from lightcrcf.report.slices import Slices, moved_grid
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

__all__ = ["Views"]

Float32 = NDArray[np.float32]

_TILE_MM = 24.0


class Views:
    """The rows that can be drawn of one registration, all on the same planes of the fixed volume.

    Args:
        fixed: the volume that was aligned with.
        moving: the volume as it was given.
        moved: the result, on the fixed grid.
        chain: fixed points to moving points.
    """

    def __init__(self, fixed: Volume, moving: Volume, moved: Volume, chain: Chain) -> None:
        self.planes = planes(fixed)
        self._slices = Slices(fixed, moving, moved, chain)
        self._field = chain.field
        self._fixed_values = self._slices.values(self.planes)
        self._fixed, self._moved = self._slices.fixed(self.planes), self._slices.moved(self.planes)
        self._levels = self._slices.levels

    def before_after(self) -> list[Row]:
        """Fixed; moving as given, after affine alignment, and in the end."""
        return [self.fixed(), self.outlined_as_given(), self.outlined_affine(), self.outlined_moved()]

    def tiles(self) -> list[Row]:
        """Fixed and moving in turn, after affine alignment and in the end."""
        return [self.checkerboard_affine(), self.checkerboard_moved()]

    def deformation(self) -> list[Row]:
        """What the field does to a regular grid and to volumes; nothing if there is no field."""
        field = self._field
        return [] if field is None else [self.deformed_grid(field), self.volume_change(field)]

    def fixed(self) -> Row:
        """The fixed volume."""
        return _gray_row("fixed", self._fixed)

    def moved(self) -> Row:
        """The result."""
        return _gray_row("moved", self._moved)

    def outlined_as_given(self) -> Row:
        """The moving volume where its header puts it, under the outlines of the fixed one."""
        return self._outlined("moving, as given", self._slices.given(self.planes))

    def outlined_affine(self) -> Row:
        """The moving volume after affine alignment only, under the outlines of the fixed one."""
        return self._outlined("after affine", self._after_affine())

    def outlined_moved(self) -> Row:
        """The result, under the outlines of the fixed volume."""
        return self._outlined("moved", self._moved)

    def checkerboard_affine(self) -> Row:
        """Tiles of the fixed volume and of the moving one after affine alignment, in turn."""
        return self._checkerboard("tiles, after affine", self._after_affine())

    def checkerboard_moved(self) -> Row:
        """Tiles of the fixed and of the moved volume, in turn; edges run on where they agree."""
        return self._checkerboard("tiles, moved", self._moved)

    def deformed_grid(self, field: DisplacementField) -> Row:
        """Where a regular grid on the fixed volume goes, over the fixed volume."""
        return _row(
            "deformation",
            (
                partial(grid_lines, image=image, lines=moved_grid(field, plane))
                for image, plane in zip(self._fixed, self.planes, strict=True)
            ),
        )

    def volume_change(self, field: DisplacementField) -> Row:
        """The determinant of the field's Jacobian: how much larger each place is in the moving volume."""
        determinant = Volume(field.jacobian_determinant(), field.grid, "Jacobian determinant")
        colours = colormaps["RdBu_r"].with_extremes(bad="black")
        scale = ScalarMappable(LogNorm(1 / LARGEST_RATIO, LARGEST_RATIO), colours)
        painters = (
            partial(ratio_map, ratio=slice_image(determinant, plane), values=values, levels=self._levels, scale=scale)
            for values, plane in zip(self._fixed_values, self.planes, strict=True)
        )
        return _row("volume change", painters, scale)

    def _after_affine(self) -> list[Float32]:
        return self._slices.affine(self.planes)

    def _outlined(self, title: str, images: list[Float32]) -> Row:
        return _row(
            title,
            (
                partial(outlined, image=image, values=values, levels=self._levels)
                for image, values in zip(images, self._fixed_values, strict=True)
            ),
        )

    def _checkerboard(self, title: str, others: list[Float32]) -> Row:
        tiles = [
            _tiles(image, other, max(2, round(_TILE_MM / plane.pixel_mm)))
            for image, other, plane in zip(self._fixed, others, self.planes, strict=True)
        ]
        return _gray_row(title, tiles)


def _row(title: str, painters: Iterable[Painter], scale: ScalarMappable | None = None) -> Row:
    return Row(title, tuple(painters), scale)


def _gray_row(title: str, images: list[Float32]) -> Row:
    return _row(title, (partial(gray, image=image) for image in images))


def _tiles(first: Float32, second: Float32, size: int) -> Float32:
    rows, columns = np.indices(first.shape) // size
    return np.where((rows + columns) % 2 == 0, first, second)
