"""A small picture of a registration, to look through many of them: the moved volume under outlines of the fixed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.report.images import gray_uri
from lightcrcf.report.planes import Frame, Plane
from lightcrcf.report.render import render
from lightcrcf.report.slices import WindowedVolume, contour_levels
from lightcrcf.report.svg import outline_paths
from lightcrcf.volumes import Volume

__all__ = ["Outlined", "Thumbnail", "Tile", "write_thumbnail"]

_MOST_PIXELS = 170
_GAP, _STEPS = 12, 4  # between tiles in steps; steps of a pixel


@dataclass(frozen=True, eq=False)
class Outlined:
    """An axial, a coronal and a sagittal plane through a fixed volume, and its contours on them as SVG paths."""

    planes: Sequence[Plane]
    lines: Sequence[Sequence[str]]

    @classmethod
    def of(cls, fixed: Volume) -> Outlined:
        """Draw the contours that reports draw, coarser."""
        planes, levels = Frame.around(fixed, most_pixels=_MOST_PIXELS).planes(), contour_levels(fixed)
        return cls(planes, [outline_paths(values, levels) for values in WindowedVolume(fixed).values(planes)])


@dataclass(frozen=True)
class Tile:
    """One plane of a thumbnail.

    Args:
        x, y: of its first pixel's centre, in quarters of a pixel, as all lengths.
        width, height: of it.
        uri: its image.
        lines: SVG paths over it.
    """

    x: int
    y: int
    width: int
    height: int
    uri: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Thumbnail:
    """Planes side by side, all with the same millimetres to the pixel.

    Args:
        width, height: of all together, in quarters of a pixel.
        tiles: from left to right.
    """

    width: int
    height: int
    tiles: Sequence[Tile]

    @classmethod
    def of(cls, fixed: Outlined, moved: Volume) -> Thumbnail:
        """Draw a moved volume under the outlines of the fixed one."""
        sizes = [(_STEPS * p.grid.shape[1], _STEPS * p.grid.shape[0]) for p in fixed.planes]
        height, left, tiles = max(high for _, high in sizes), 0, []
        images = WindowedVolume(moved).gray(fixed.planes)
        for (wide, high), image, lines in zip(sizes, images, fixed.lines, strict=True):
            x, y = left + _STEPS // 2, (height - high) // 2 + _STEPS // 2
            tiles.append(Tile(x, y, wide, high, gray_uri(image), lines))
            left += wide + _GAP
        return cls(left - _GAP, height, tiles)


def write_thumbnail(path: Path, fixed: Volume, moved: Volume, cache: RegistrationCache) -> None:
    """Write an SVG file that holds its images; the same input gives the same bytes.

    Args:
        path: to write.
        fixed: the volume that gives the outlines.
        moved: the volume that is shown under them.
        cache: holds the outlines of a fixed volume.
    """
    outlined = cache.get_or_compute(fixed, "outlines", lambda: Outlined.of(fixed))
    path.write_text(render("thumbnail.svg", picture=Thumbnail.of(outlined, moved)), encoding="utf-8")
