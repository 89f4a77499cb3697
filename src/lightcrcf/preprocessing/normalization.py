"""Intensity normalisation, the working axes, and the working grid of network and refinement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import foreground, intensity_range
from lightcrcf.volumes.volume import Volume
from lightcrcf.weights.preparation import View

__all__ = ["NormalizedImage", "normalize", "working_grid", "working_order"]

Shape = tuple[int, int, int]

_MARGIN_MM, _MARGIN_VOXELS = 5.0, 16.0  # whichever is less
_DARK_PERCENTILE, _BRIGHT_PERCENTILE = 0.5, 98.0
_MAX_INTENSITY = 1.25
_SPACING_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class NormalizedImage:
    """A volume with working axes and normalised intensities.

    Args:
        order: from the axes of the file to the working axes.
        data: (D, H, W) float32, 0 for background, about 1 for the brightest tissue, at most 1.25.
        grid: of the data, in working axes; see `working_order`.
        box: first and last foreground voxel along each axis, (2, 3).
        offset: intensity that maps to 0.
        scale: intensity difference that maps to 1.
    """

    order: AxisOrder
    data: NDArray[np.float32]
    grid: Grid
    box: NDArray[np.int64]
    offset: float
    scale: float

    def resample_to(self, grid: Grid, matrix: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Resample linearly to `grid`; `matrix` (4, 4) maps its RAS mm to this volume's RAS mm (default: identity)."""
        step = self.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
        return np.asarray(resample(self.data, grid.shape, step[:3]), dtype=np.float32)


def working_order(grid: Grid, pool: Shape = (2, 2, 2)) -> AxisOrder:
    """Return the order of axes closest to RAS+; the thickest slices come last if the network does not pool there."""
    order = grid.canonical()
    if pool == (2, 2, 2):
        return order
    spacing = order.grid(grid).spacing_mm
    thick = int(np.argmax(spacing)) if spacing.max() > 1.01 * spacing.min() else int(np.argmin(order.grid(grid).shape))
    axes = [*(a for a in range(3) if a != thick), thick]
    permutation, flips = zip(*((order.permutation[a], order.flips[a]) for a in axes), strict=True)
    return AxisOrder(permutation, flips)


def normalize(
    volume: Volume,
    *,
    pool: Shape = (2, 2, 2),
    view: View = "foreground",
    window: tuple[float, float] | None = None,
) -> NormalizedImage:
    """Reorder the axes of an image and normalise its intensities.

    The darkest value maps to 0 and the 98th percentile of the foreground to 1, less if a bright lesion raises it (see
    `intensity_range`); values are clipped to [0, 1.25]. Local correlation is invariant to this, but the weights of the
    network expect this range. A background that is brighter than some tissue (a white background, or intensities
    centred on zero) is set to 0.

    Args:
        volume: in its own axes.
        pool: downsampling factors of the network; see `working_order`.
        view: "whole" takes every voxel as foreground.
        window: intensities that map to 0 and 1, instead of those of the image.

    Raises:
        InputError: if the image has no foreground.
    """
    order = working_order(volume.grid, pool)
    data, grid = np.ascontiguousarray(order.array(volume.data), dtype=np.float32), order.grid(volume.grid)
    mask = foreground(data)
    if not mask.any():
        raise InputError(
            volume.source, expected="an image with some contrast", got="a constant", remedy="check the file"
        )
    if view == "whole":
        mask = np.ones_like(mask)
    if window is not None:
        scale = window[1] - window[0]
        unit = np.clip((data - np.float32(window[0])) / np.float32(scale), 0.0, _MAX_INTENSITY)
        return NormalizedImage(order, unit, grid, _bounding_box(mask), window[0], scale)
    dark, bright = intensity_range(data[mask], _DARK_PERCENTILE, _BRIGHT_PERCENTILE)
    around = float(data.min() if mask.all() else data[~mask].min())
    offset = min(around, dark)
    scale = bright - offset
    unit = (data - np.float32(offset)) / np.float32(scale if scale > 0 else 1.0)
    np.clip(unit, 0.0, _MAX_INTENSITY, out=unit)
    if offset < around:
        unit[~mask] = 0.0
    return NormalizedImage(order, unit, grid, _bounding_box(mask), offset, scale)


def _bounding_box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the (2, 3) first and last True index along each axis."""
    sides = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return np.array([[s[0] for s in sides], [s[-1] for s in sides]], dtype=np.int64)


def working_grid(
    fixed: NormalizedImage,
    spacing_mm: tuple[float, float, float] | None,
    *,
    multiples: Shape,
    view: View = "foreground",
) -> Grid:
    """Return the grid of network and refinement: the bounding box of the fixed foreground with a margin.

    If the fixed image has this spacing already, the result is a crop of its grid (no interpolation) that starts at even
    indices, so that the half-resolution grids agree too.

    Args:
        fixed: the fixed image.
        spacing_mm: along each axis; None for that of the image.
        multiples: the sizes are multiples of these.
        view: "whole" for no margin.
    """
    spacing = fixed.grid.spacing_mm if spacing_mm is None else np.array(spacing_mm)
    if np.allclose(fixed.grid.spacing_mm, spacing, rtol=_SPACING_TOLERANCE):
        grid, box = fixed.grid, fixed.box.astype(np.float64)
    else:
        step = np.diag([*(spacing / fixed.grid.spacing_mm), 1.0])
        grid = Grid(fixed.grid.shape, fixed.grid.affine @ step)
        box = fixed.box / np.diag(step)[:3]
    margin = np.zeros(3) if view == "whole" else np.minimum(_MARGIN_MM / spacing, _MARGIN_VOXELS)
    wanted = box[1] - box[0] + 1 + 2 * margin
    shape = tuple(int(-(-n // m) * m) for n, m in zip(wanted, multiples, strict=True))
    start = np.round(((box[0] + box[1] + 1) - np.array(shape)) / 2)
    start -= start % np.minimum(multiples, 2)
    return grid.crop(start, (shape[0], shape[1], shape[2]))
