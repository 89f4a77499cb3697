"""Layout of pictures for the templates: boxes with layers of images, rows of boxes, and outlines over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.report.planes import Plane

__all__ = ["Box", "Row", "Symbol"]

_TILE_MM = 24.0


@dataclass(frozen=True, eq=False)
class Symbol:
    """Outlines on a plane, which boxes refer to.

    Args:
        name: of it.
        plane: below it.
        lines: SVG paths, one for each level of the contours.
        area: the SVG path around what is shaded.
    """

    name: str
    plane: Plane
    lines: Sequence[str]
    area: str = ""


@dataclass(frozen=True, eq=False)
class Box:
    """One picture.

    Args:
        plane: of it.
        layers: the CSS classes of its images, from below.
        outline: the name of a `Symbol` to lay over them.
        lines: an SVG path to lay over them.
        ring_mm: (3,) point in RAS+ mm to mark.
        stack: the planes that the script of the page may show instead.
    """

    plane: Plane
    layers: Sequence[str]
    outline: str = ""
    lines: str = ""
    ring_mm: NDArray[np.float64] | None = None
    stack: Sequence[Plane] = ()

    @property
    def tiles_percent(self) -> tuple[float, float]:
        """Width and height of a pair of tiles beside those of the picture."""
        rows, columns, _ = self.plane.grid.shape
        across, down = (2 * 100 * _TILE_MM / self.plane.pixel_mm / n for n in (columns, rows))
        return across, down

    @property
    def bar_percent(self) -> float:
        """Length of the scale bar beside the picture's width."""
        return 100 * self.plane.bar_mm / self.plane.pixel_mm / self.plane.grid.shape[1]

    @property
    def ring(self) -> tuple[float, float, float] | None:
        """Middle and radius of the ring in the picture's own steps; None without one."""
        if self.ring_mm is None:
            return None
        row, column, _ = self.plane.grid.voxels(self.ring_mm)
        return 4 * float(column), 4 * float(row), 0.15 * max(self.plane.grid.shape)


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures side by side, all with the same millimetres to the pixel.

    Args:
        boxes: the pictures.
        caption: above them.
        kind: a CSS class.
    """

    boxes: Sequence[Box]
    caption: str = ""
    kind: str = ""

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        planes: Sequence[Plane],
        *layers: str,
        outlines: Sequence[str] = (),
        caption: str = "",
    ) -> Row:
        """Show the images `NAME-LAYER` of each name on its plane, under an outline if there is one for each."""
        over = outlines or [""] * len(names)
        found = [Box(p, [f"{n}-{one}" for one in layers], o) for n, p, o in zip(names, planes, over, strict=True)]
        return cls(found, caption)
