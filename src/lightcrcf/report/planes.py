"""Three orthogonal planes through a volume, laid out as radiologists read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes.volume import Volume

__all__ = ["Frame", "Plane", "slice_image", "subsample"]

Float = NDArray[np.float64]

_MARGIN_MM = 12.0
_MOST_PIXELS = 320
_OFF_MIDDLE = 0.07  # of the width: the very middle of a brain is the fluid between its halves
_REACH = 0.72  # of the way from the middle to the ends: further out there is little to see
_FLAT = 0.2  # of the longest side: an axis shorter than this shows strips from the side
_SUBSAMPLED_VOXELS = 600_000
# Name, normal, image columns, image rows (each an axis of the canonical grid), and the letters at left, right, top,
# bottom. The patient's right is on the left of the picture, the face on the left of the sagittal one.
_LAYOUT = (
    ("axial", 2, 0, 1, "RLAP"),
    ("coronal", 1, 0, 2, "RLSI"),
    ("sagittal", 0, 1, 2, "APSI"),
)

_ACROSS = {"axial": (2, "S", "I"), "coronal": (1, "A", "P"), "sagittal": (0, "R", "L")}
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture's pixels in the world.

    Args:
        name: axial, coronal or sagittal (the closest of them, for oblique volumes).
        grid: (rows, columns, 1) pixels, from the top left corner.
        letters: what lies at left, right, top and bottom.
    """

    name: str
    grid: Grid
    letters: str

    @property
    def pixel_mm(self) -> float:
        """Size of the square pixels."""
        return float(self.grid.spacing_mm[0])

    @property
    def place(self) -> str:
        """Position of the picture's centre along the normal of its plane: direction and mm from the world's origin.

        Example:
            >>> middle = np.diag([2.0, 2.0, 2.0, 1.0])
            >>> middle[2, 3] = -12
            >>> Plane("axial", Grid((1, 1, 1), middle), "RLAP").place
            'I 12 mm'
        """
        axis, positive, negative = _ACROSS[self.name]
        rows, columns, _ = self.grid.shape
        at = float(self.grid.world(np.array([(rows - 1) / 2, (columns - 1) / 2, 0]))[axis])
        return f"{positive if at >= 0 else negative} {abs(at):.0f} mm"

    @property
    def bar_mm(self) -> int:
        """Length of a scale bar that takes a fifth of the width or less, in round mm."""
        width = self.grid.shape[1] * self.pixel_mm
        return max((n for n in _BARS_MM if n <= width / 5), default=_BARS_MM[0])

    @property
    def world(self) -> Float:
        """(rows, columns, 3) RAS+ mm of the pixel centres."""
        rows, columns, _ = self.grid.shape
        return self.grid.world(np.moveaxis(np.indices((rows, columns, 1)), 0, -1))[:, :, 0]


@dataclass(frozen=True, eq=False)
class Frame:
    """The bounding box of a volume's foreground, along the volume's axes closest to RAS+; planes cut through it.

    Args:
        grid: of the volume.
        low_mm, high_mm: (3,) corners of the pictures, in mm along the axes from the first voxel.
        first_mm, last_mm, middle_mm: (3,) extent and middle of the foreground, likewise.
        pixel_mm: of the pictures.
    """

    grid: Grid
    low_mm: Float
    high_mm: Float
    first_mm: Float
    last_mm: Float
    middle_mm: Float
    pixel_mm: float

    @classmethod
    def around(cls, volume: Volume, most_pixels: int = _MOST_PIXELS) -> Frame:
        """Return the frame of the foreground of `volume`, with a margin; pixels are square for any slice thickness."""
        volume = volume.canonical()
        spacing, size = volume.grid.spacing_mm, np.array(volume.grid.shape)
        sampled, step = subsample(volume)
        first, last, middle = (corner * step * spacing for corner in _extent(foreground(sampled)))
        middle[0] += _OFF_MIDDLE * (last[0] - first[0])
        low, high = np.maximum(first - _MARGIN_MM, 0), np.minimum(last + _MARGIN_MM, (size - 1) * spacing)
        pixel = max(float(spacing.min()), float((high - low).max()) / most_pixels)
        return cls(volume.grid, low, high, first, last, middle, pixel)

    @property
    def flat(self) -> tuple[str, int, int, int, str] | None:
        """The layout along an axis that is too short for the other two views; None if no axis is."""
        sizes = self.high_mm - self.low_mm
        return next((layout for layout in _LAYOUT if sizes[layout[1]] < _FLAT * sizes.max()), None)

    def planes(self, at_mm: Float | None = None) -> tuple[Plane, Plane, Plane]:
        """Return axial, coronal and sagittal planes through `at_mm` (along the axes, as `middle_mm`), or the middle.

        For a stack of few slices, return three parallel ones, the middle one through `at_mm`.
        """
        at = self.middle_mm if at_mm is None else at_mm
        if self.flat is None:
            first, second, third = (self._plane(layout, at) for layout in _LAYOUT)
        else:
            below, above = (self._at(self.flat[1], step) for step in (-_REACH * 2 / 3, _REACH * 2 / 3))
            first, second, third = (self._plane(self.flat, place) for place in (below, at, above))
        return first, second, third

    def through(self, point_mm: Float) -> tuple[Plane, Plane, Plane]:
        """Return the planes through a point in RAS+ mm, clipped to the frame."""
        along = self.grid.voxels(point_mm) * self.grid.spacing_mm
        return self.planes(np.clip(along, self.low_mm, self.high_mm))

    def stacks(self, count: int) -> tuple[tuple[Plane, ...], ...]:
        """Return three stacks of `count` parallel planes, evenly over the foreground, one of each orientation.

        For a stack of few slices, return three consecutive stacks of one orientation.

        Args:
            count: an odd number.
        """
        if self.flat is not None:
            many = np.linspace(-_REACH, _REACH, 3 * count)
            laid = [self._plane(self.flat, self._at(self.flat[1], step)) for step in many]
            return tuple(tuple(laid[first : first + count]) for first in range(0, 3 * count, count))
        steps = np.linspace(-_REACH, _REACH, count)
        return tuple(tuple(self._plane(layout, self._at(layout[1], step)) for step in steps) for layout in _LAYOUT)

    def _at(self, normal: int, step: float) -> Float:
        """Return the middle shifted along one axis; `step` runs from -1 to 1, the foreground's first and last voxel."""
        at = self.middle_mm.copy()
        end = self.last_mm if step > 0 else self.first_mm
        at[normal] += abs(step) * (end[normal] - at[normal])
        spacing = self.grid.spacing_mm[normal]
        at[normal] = np.round(at[normal] / spacing) * spacing if step else at[normal]
        return at

    def _plane(self, layout: tuple[str, int, int, int, str], at_mm: Float) -> Plane:
        return _plane(self.grid, layout, self.low_mm, self.high_mm, at_mm, self.pixel_mm)


def subsample(volume: Volume) -> tuple[NDArray[np.float32], int]:
    """Return every n-th voxel of `volume` along each axis, and n: enough for foreground and intensities."""
    step = max(1, round((volume.data.size / _SUBSAMPLED_VOXELS) ** (1 / 3)))
    return np.ascontiguousarray(volume.data[::step, ::step, ::step], dtype=np.float32), step


def slice_image(volume: Volume, plane: Plane, chain: Chain | None = None) -> NDArray[np.float32]:
    """Return (rows, columns) float32 values of `volume` on `plane`, moved by `chain` if given; NaN outside of it."""
    chain = chain or Chain(Affine.identity(), None, Affine.identity())
    values = Volume(np.asarray(volume.data, dtype=np.float32), volume.grid, volume.source)
    return chain.resample(values, plane.grid, "linear", fill=float("nan")).data[:, :, 0]


def _plane(
    grid: Grid,
    layout: tuple[str, int, int, int, str],
    low_mm: Float,
    high_mm: Float,
    middle_mm: Float,
    pixel_mm: float,
) -> Plane:
    """Return the plane through `middle_mm`, from `high_mm` down to `low_mm`, in mm along the grid's axes."""
    name, normal, column, row, letters = layout
    directions = grid.directions
    start = middle_mm.copy()
    start[[row, column]] = high_mm[[row, column]]
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([-directions[:, row], -directions[:, column], directions[:, normal]]) * pixel_mm
    affine[:3, 3] = grid.affine[:3, 3] + directions @ start
    rows, columns = (round((high_mm[axis] - low_mm[axis]) / pixel_mm) + 1 for axis in (row, column))
    return Plane(name, Grid((rows, columns, 1), affine), letters)


def _extent(mask: NDArray[np.bool_]) -> tuple[Float, Float, Float]:
    """Return first, last and middle voxel of `mask` along each axis."""
    if not mask.any():
        mask = np.ones_like(mask)
    low, high, middle = np.zeros(3), np.zeros(3), np.zeros(3)
    for axis in range(3):
        counts = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        filled = np.flatnonzero(counts)
        low[axis], high[axis] = filled[0], filled[-1]
        middle[axis] = np.round(np.average(np.arange(len(counts)), weights=counts))
    return low, high, middle
