"""The parts of a page that show pictures: style rules that hold them, and boxes that refer to those rules.

Every picture is embedded once, as the background of a class of its own; any number of boxes can then show it, on top of
one another, faded, cut or in tiles, without a script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from lightcrcf.report.images import gray_uri, ratio_uri
from lightcrcf.report.planes import Frame, Plane, slice_image
from lightcrcf.report.slices import Slices, moved_grid
from lightcrcf.report.subject import Subject
from lightcrcf.report.svg import area_path, outline_paths, path, view_box
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume

__all__ = ["COUNT", "IMAGES", "KEYS", "MIDDLE", "Deformation", "LeftOut", "Pictures", "box", "symbol", "three"]

COUNT = 5  # of slices in each orientation
MIDDLE = COUNT // 2
IMAGES = {
    "fixed": "fixed",
    "given": "moving, as given",
    "affine": "moving, after affine",
    "moved": "moving, after registration",
}
_TILE_MM = 24.0
KEYS = ("a", "c", "s")
"""Of the three places where pictures stand side by side, in the names of style rules."""


class Pictures:
    """The slices of one registration as style rules and outlines.

    Args:
        subject: what to show.
        count: of slices in each orientation.
    """

    def __init__(self, subject: Subject, count: int = COUNT) -> None:
        self.frame = Frame.around(subject.fixed)
        self.stacks = self.frame.stacks(count)
        self.slices = Slices(subject.fixed, subject.moving, subject.moved, subject.chain, subject.masks)
        self.masked = any(mask is not None for mask in subject.masks)
        self.titles = {**IMAGES, "moved": IMAGES["moved"] + (", affine only" if subject.chain.field is None else "")}
        flat = [plane for stack in self.stacks for plane in stack]
        shown = {name: getattr(self.slices, name)(flat) for name in IMAGES}
        self.empty = {name: _middles_are_black(images, count) for name, images in shown.items()}
        names = [f"{key}{n}" for key in KEYS for n in range(count)]
        self.rules = "\n".join(
            f".{name}-{kind}{{background-image:url({gray_uri(image)})}}"
            for kind, images in shown.items()
            for name, image in zip(names, images, strict=True)
        )
        self.outlines = self.symbols(names, flat, self.slices.values(flat))
        if self.masked:  # where the moving volume lies elsewhere, so does its mask
            values = self.slices.values(self.middles)
            for kind in ("given", "affine"):
                self.outlines += self.symbols([f"{key}-{kind}" for key in KEYS], self.middles, values, kind)

    def symbols(
        self, names: Sequence[str], planes: Sequence[Plane], values: Sequence[NDArray[np.float32]], kind: str = "moved"
    ) -> str:
        """Draw what lies over pictures: outlines of the fixed volume, and what the masks leave out."""
        areas = [area_path(area) for area in self.slices.left_out(planes, kind)] if self.masked else [""] * len(planes)
        return "".join(
            symbol(name, plane, outline_paths(image, self.slices.levels), area)
            for name, plane, image, area in zip(names, planes, values, areas, strict=True)
        )

    @property
    def middles(self) -> tuple[Plane, ...]:
        """The plane in the middle of each stack."""
        return tuple(stack[len(stack) // 2] for stack in self.stacks)


@dataclass(frozen=True)
class LeftOut:
    """The planes through the middle of what the masks leave out.

    Args:
        rules: style rules of the fixed and of the moved volume there.
        outlines: what lies over them.
        planes: the three.
    """

    rules: str
    outlines: str
    planes: tuple[Plane, ...]

    @classmethod
    def of(cls, pictures: Pictures) -> LeftOut | None:
        """Draw it; None where there is no mask, or so large a part is left out that it is on every picture."""
        middle = pictures.slices.middle_left_out() if pictures.masked else None
        if middle is None:
            return None
        planes, names = pictures.frame.through(middle), [f"{key}m" for key in KEYS]
        shown = {"fixed": pictures.slices.fixed(planes), "moved": pictures.slices.moved(planes)}
        rules = "\n".join(
            f".{name}-{kind}{{background-image:url({gray_uri(image)})}}"
            for kind, images in shown.items()
            for name, image in zip(names, images, strict=True)
        )
        return cls(rules, pictures.symbols(names, planes, pictures.slices.values(planes)), planes)


@dataclass(frozen=True)
class Deformation:
    """What the field does, on three planes.

    Args:
        rules: style rules of the maps of volume change and of the fixed volume on these planes.
        outlines: of the fixed volume there.
        lines: the moved grid on each plane, as the paths of SVG.
        planes: the three.
        folded, voxels: voxels of the field that fold, and how many it has.
        worst: where the worst of them lies, in RAS+ mm; the planes go through it. None if nothing folds.
        ratios: shares of the volume ratios in the foreground, by logarithm from 1/4 to 4.
    """

    rules: str
    outlines: str
    lines: tuple[str, ...]
    planes: tuple[Plane, ...]
    folded: int
    voxels: int
    worst: NDArray[np.float64] | None
    ratios: NDArray[np.float64]

    @classmethod
    def of(cls, field: DisplacementField, pictures: Pictures) -> Deformation:
        """Draw a field; the planes go through the worst fold, if there is one in view."""
        determinant = field.jacobian_determinant()
        place = np.unravel_index(int(determinant.argmin()), determinant.shape)
        folded = int(np.count_nonzero(determinant <= 0))
        worst = field.grid.world(place) if folded else None
        planes = pictures.frame.planes() if worst is None else pictures.frame.through(worst)
        ratio = Volume(determinant, field.grid, "Jacobian determinant")
        names, values = [f"{key}d" for key in KEYS], pictures.slices.values(planes)
        maps = [np.where(np.isfinite(v), slice_image(ratio, p), np.nan) for v, p in zip(values, planes, strict=True)]
        uris = {"ratio": map(ratio_uri, maps), "fixed": map(gray_uri, pictures.slices.fixed(planes))}
        rules = "\n".join(
            f".{name}-{kind}{{background-image:url({uri})}}"
            for kind, each in uris.items()
            for name, uri in zip(names, each, strict=True)
        )
        outlines = pictures.symbols(names, planes, values)
        lines = tuple(path(moved_grid(field, plane)) for plane in planes)
        logs = np.log2(np.clip(determinant[::2, ::2, ::2], 0.25, 4.0))
        counts, _ = np.histogram(logs, bins=61, range=(-2, 2))
        ratios = np.asarray(counts / counts.sum(), np.float64)
        return cls(rules, outlines, lines, planes, folded, determinant.size, worst, ratios)


def box(
    plane: Plane,
    *layers: str,
    outline: str = "",
    lines: str = "",
    ring_mm: NDArray[np.float64] | None = None,
    letters: bool = True,
    places: Sequence[Plane] = (),
) -> str:
    """One picture.

    Args:
        plane: of it.
        layers: the classes of its images, from below.
        outline: of a `symbol` to lay over them.
        lines: an SVG path to lay over them.
        ring_mm: a point in RAS+ mm to mark.
        letters: whether to say which way is which, where the plane lies, and how long some mm are.
        places: the planes that a script may show instead.
    """
    images = "".join(f'<div class="im {layer}"></div>' for layer in layers)
    over = f'<svg class="outline"><use href="#{outline}"/></svg>' if outline else ""
    if lines:
        over += f'<svg class="grid" viewBox="{view_box(plane.grid.shape)}"><path d="{lines}"/></svg>'
    over += "" if ring_mm is None else _ring(plane, ring_mm)
    return f'<div class="box" style="{_shape(plane)}">{images}{over}{_letters(plane, places) if letters else ""}</div>'


def _ring(plane: Plane, point_mm: NDArray[np.float64]) -> str:
    row, column, _ = plane.grid.voxels(point_mm)
    radius = 0.15 * max(plane.grid.shape)
    circle = f'<circle class="ring" cx="{4 * column:.1f}" cy="{4 * row:.1f}" r="{radius:.1f}"/>'
    return f'<svg viewBox="{view_box(plane.grid.shape)}">{circle}</svg>'


def three(boxes: list[str], planes: tuple[Plane, ...], caption: str = "", kind: str = "") -> str:
    """Three pictures side by side, all with the same millimetres to the pixel."""
    widths = " ".join(f"{plane.grid.shape[1]}fr" for plane in planes)
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{told}<div class="three" style="--widths:{widths}">{"".join(boxes)}</div></figure>'


def _shape(plane: Plane) -> str:
    rows, columns, _ = plane.grid.shape
    tiles = (2 * 100 * _TILE_MM / plane.pixel_mm / n for n in (columns, rows))
    across, down = (f"{share:.2f}%" for share in tiles)
    return f"aspect-ratio:{columns}/{rows};--tiles:{across} {down}"


def _letters(plane: Plane, places: Sequence[Plane]) -> str:
    directions = "".join(f'<i class="at{n}">{letter}</i>' for n, letter in enumerate(plane.letters))
    others = f' data-places="{"|".join(other.place for other in places)}"' if places else ""
    width = 100 * plane.bar_mm / plane.pixel_mm / plane.grid.shape[1]
    bar = f'<i class="mm"><span>{plane.bar_mm} mm</span><b style="width:{width:.2f}%"></b></i>'
    return f'{directions}<i class="place"{others}>{plane.place}</i>{bar}'


def symbol(name: str, plane: Plane, paths: list[str], area: str = "") -> str:
    """Outlines on a plane, to be referred to by `box`, over an area that is shaded."""
    shaded = f'<path class="out" fill-rule="evenodd" d="{area}"/>' if area else ""
    drawn = shaded + "".join(f'<path class="o{n}" d="{d}"/>' for n, d in enumerate(paths))
    return f'<symbol id="o-{name}" viewBox="{view_box(plane.grid.shape)}">{drawn}</symbol>'


def _middles_are_black(images: list[NDArray[np.float32]], count: int) -> bool:
    """Whether there is nothing to see on the middle planes."""
    return all(not (np.nan_to_num(images[o * count + count // 2]) > 0.05).any() for o in range(3))
