"""The pictures of a page: each embedded once as the background of a CSS class, and the boxes that show these classes.

Any number of boxes can show a picture, on top of one another, faded, cut or in tiles, without a script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.report.boxes import Box, Row, Symbol
from lightcrcf.report.images import gray_uri, ratio_uri
from lightcrcf.report.planes import Frame, Plane, slice_image
from lightcrcf.report.slices import Slices, moved_grid
from lightcrcf.report.subject import Shown
from lightcrcf.report.svg import Histogram, area_path, outline_paths, path
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume

__all__ = ["COUNT", "KEYS", "MIDDLE", "Deformation", "ExcludedRegion", "Pictures"]

COUNT = 5  # of slices in each orientation
MIDDLE = COUNT // 2
KEYS = ("a", "c", "s")
"""The three places where pictures stand side by side, in the names of CSS classes."""

_TITLES = {
    "fixed": "fixed",
    "given": "moving, as given",
    "affine": "moving, after affine",
    "moved": "moving, after registration",
}


class Pictures:
    """The slices of one registration as images and outlines.

    Args:
        subject: what to show.
        count: of slices in each orientation.
    """

    def __init__(self, subject: Shown, count: int = COUNT) -> None:
        self.frame = Frame.around(subject.fixed)
        self.stacks = self.frame.stacks(count)
        self.slices = Slices(subject.fixed, subject.moving, subject.moved, subject.chain, subject.masks)
        self.masked = any(mask is not None for mask in subject.masks)
        self.titles = {**_TITLES, "moved": _TITLES["moved"] + (", affine only" if subject.chain.field is None else "")}
        flat = [plane for stack in self.stacks for plane in stack]
        shown = {name: getattr(self.slices, name)(flat) for name in _TITLES}
        self.empty = {name: _middles_are_black(images, count) for name, images in shown.items()}
        names = [f"{key}{n}" for key in KEYS for n in range(count)]
        self.images = _by_class(names, {kind: map(gray_uri, images) for kind, images in shown.items()})
        self.symbols = self.outlined(names, flat, self.slices.values(flat))
        if self.masked:  # where the moving volume lies elsewhere, so does its mask
            values = self.slices.values(self.middles)
            for kind in ("given", "affine"):
                self.symbols += self.outlined([f"{key}-{kind}" for key in KEYS], self.middles, values, kind)

    def outlined(
        self, names: Sequence[str], planes: Sequence[Plane], values: Sequence[NDArray[np.float32]], kind: str = "moved"
    ) -> list[Symbol]:
        """Draw overlays: outlines of the fixed volume, and the region that the masks exclude."""
        areas = [area_path(area) for area in self.slices.excluded(planes, kind)] if self.masked else [""] * len(planes)
        return [
            Symbol(name, plane, outline_paths(image, self.slices.levels), area)
            for name, plane, image, area in zip(names, planes, values, areas, strict=True)
        ]

    @property
    def middles(self) -> tuple[Plane, ...]:
        """The plane in the middle of each stack."""
        return tuple(stack[len(stack) // 2] for stack in self.stacks)


@dataclass(frozen=True)
class ExcludedRegion:
    """Three planes through the middle of the region that the masks exclude.

    Args:
        images: of the fixed and of the moved volume there.
        symbols: what lies over them.
        planes: the three.
    """

    images: dict[str, str]
    symbols: list[Symbol]
    planes: tuple[Plane, ...]

    @classmethod
    def of(cls, pictures: Pictures) -> ExcludedRegion | None:
        """Draw the region; None without a mask, or where so much is excluded that every picture shows it."""
        middle = pictures.slices.middle_excluded() if pictures.masked else None
        if middle is None:
            return None
        planes, names = pictures.frame.through(middle), [f"{key}m" for key in KEYS]
        shown = {"fixed": pictures.slices.fixed(planes), "moved": pictures.slices.moved(planes)}
        images = _by_class(names, {kind: map(gray_uri, each) for kind, each in shown.items()})
        return cls(images, pictures.outlined(names, planes, pictures.slices.values(planes)), planes)

    def row(self, kind: str, caption: str) -> Row:
        """Show the "fixed" or the "moved" volume."""
        names = [f"{key}m" for key in KEYS]
        return Row.of(names, self.planes, kind, outlines=names, caption=caption)


@dataclass(frozen=True)
class Deformation:
    """The effect of the field on three planes.

    Args:
        images: maps of volume change, and the fixed volume on these planes.
        symbols: outlines of the fixed volume there.
        grids, maps: rows of pictures: the moved grid, and the volume change.
        folded, voxels: voxels of the field that fold, and how many it has.
        histogram: volume ratios in the whole field, by logarithm from 1/4 to 4.
    """

    images: dict[str, str]
    symbols: list[Symbol]
    grids: Row
    maps: Row
    folded: int
    voxels: int
    histogram: Histogram

    @classmethod
    def of(cls, field: DisplacementField, pictures: Pictures) -> Deformation:
        """Draw a field; the planes go through the worst fold, if there is one in view, which is ringed on the maps."""
        determinant = field.jacobian_determinant()
        folded = int(np.count_nonzero(determinant <= 0))
        worst = field.grid.world(np.unravel_index(int(determinant.argmin()), determinant.shape)) if folded else None
        planes = pictures.frame.planes() if worst is None else pictures.frame.through(worst)
        ratio = Volume(determinant, field.grid, "Jacobian determinant")
        names, values = [f"{key}d" for key in KEYS], pictures.slices.values(planes)
        maps = [np.where(np.isfinite(v), slice_image(ratio, p), np.nan) for v, p in zip(values, planes, strict=True)]
        kinds = {"ratio": map(ratio_uri, maps), "fixed": map(gray_uri, pictures.slices.fixed(planes))}
        return cls(
            _by_class(names, kinds),
            pictures.outlined(names, planes, values),
            _grids(field, names, planes),
            _maps(names, planes, worst),
            folded,
            determinant.size,
            _histogram(determinant),
        )


def _by_class(names: Sequence[str], kinds: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the data URI of each image by its CSS class."""
    return {f"{name}-{kind}": uri for kind, uris in kinds.items() for name, uri in zip(names, uris, strict=True)}


def _grids(field: DisplacementField, names: Sequence[str], planes: Sequence[Plane]) -> Row:
    boxes = [Box(p, [f"{n}-fixed dim"], lines=path(moved_grid(field, p))) for n, p in zip(names, planes, strict=True)]
    return Row(boxes, "where the lines of a regular grid on the fixed volume go (affine part aside)")


def _maps(names: Sequence[str], planes: Sequence[Plane], worst: NDArray[np.float64] | None) -> Row:
    boxes = [Box(p, [f"{n}-ratio"], outline=n, ring_mm=worst) for n, p in zip(names, planes, strict=True)]
    caption = "volume change: how much larger each place is in the moving volume than in the fixed"
    return Row(boxes, caption, kind="map")


def _histogram(determinant: NDArray[np.float32]) -> Histogram:
    logs = np.log2(np.clip(determinant[::2, ::2, ::2], 0.25, 4.0))
    counts, _ = np.histogram(logs, bins=61, range=(-2, 2))
    ticks = [(n / 4, label) for n, label in enumerate(("1/4", "1/2", "1", "2", "4"))]
    return Histogram("histogram of the volume change", [("h1", counts / counts.sum())], ticks)


def _middles_are_black(images: list[NDArray[np.float32]], count: int) -> bool:
    """Return whether the middle planes show nothing."""
    return all(not (np.nan_to_num(images[o * count + count // 2]) > 0.05).any() for o in range(3))
