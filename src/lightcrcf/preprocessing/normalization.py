"""From a volume to what the network sees: canonical axes, a working grid, unit intensities."""

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

__all__ = ["Prepared", "prepare", "working_grid", "working_order"]

Shape = tuple[int, int, int]

_MARGIN_MM, _MARGIN_VOXELS = 5.0, 16.0  # whichever is less
_DARK_PERCENTILE, _BRIGHT_PERCENTILE = 0.5, 98.0
_CEILING = 1.25
_SAME_SPACING = 1e-3


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume with working axes and unit intensities.

    Args:
        order: from the file's axes to these.
        data: (D, H, W) float32, 0 for background, about 1 for the brightest tissue, at most 1.25.
        grid: its grid; see `working_order`.
        box: first and last foreground voxel along each axis, (2, 3).
        level: the intensity that became 0.
        scale: the intensity difference that became 1.
    """

    order: AxisOrder
    data: NDArray[np.float32]
    grid: Grid
    box: NDArray[np.int64]
    level: float
    scale: float

    def onto(self, grid: Grid, matrix: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Resample onto `grid`; `matrix` (4, 4) maps its RAS mm to this volume's RAS mm (identity by default)."""
        step = self.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
        return np.asarray(resample(self.data, grid.shape, step[:3]), dtype=np.float32)


def working_order(grid: Grid, pool: Shape = (2, 2, 2)) -> AxisOrder:
    """From a grid's axes to those closest to RAS+; the thickest slices come last if the network does not pool there."""
    order = grid.canonical()
    if pool == (2, 2, 2):
        return order
    spacing = order.grid(grid).spacing_mm
    thick = int(np.argmax(spacing)) if spacing.max() > 1.01 * spacing.min() else int(np.argmin(order.grid(grid).shape))
    axes = [*(a for a in range(3) if a != thick), thick]
    permutation, flips = zip(*((order.permutation[a], order.flips[a]) for a in axes), strict=True)
    return AxisOrder(permutation, flips)


def prepare(
    volume: Volume,
    *,
    pool: Shape = (2, 2, 2),
    view: View = "foreground",
    window: tuple[float, float] | None = None,
) -> Prepared:
    """Working axes and unit intensities of one image.

    Args:
        volume: in its own axes.
        pool: of the network; see `working_order`.
        view: "whole" takes every voxel as foreground.
        window: the intensities that become 0 and 1, instead of the image's own.

    The darkest value becomes 0 and the 98th percentile of the foreground 1, unless a bright lesion is in it (see
    `intensity_range`); both ends are clipped, at 0 and 1.25.
    Local correlation does not mind, but the network's weights expect this range. Where the background is brighter than
    some tissue (a white background, or intensities centred on zero), it becomes 0 as well.

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
        unit = np.clip((data - np.float32(window[0])) / np.float32(scale), 0.0, _CEILING)
        return Prepared(order, unit, grid, _box(mask), window[0], scale)
    dark, bright = intensity_range(data[mask], _DARK_PERCENTILE, _BRIGHT_PERCENTILE)
    around = float(data.min() if mask.all() else data[~mask].min())
    level = min(around, dark)
    scale = bright - level
    unit = (data - np.float32(level)) / np.float32(scale if scale > 0 else 1.0)
    np.clip(unit, 0.0, _CEILING, out=unit)
    if level < around:
        unit[~mask] = 0.0
    return Prepared(order, unit, grid, _box(mask), level, scale)


def _box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(2, 3): first and last True along each axis."""
    sides = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return np.array([[s[0] for s in sides], [s[-1] for s in sides]], dtype=np.int64)


def working_grid(
    fixed: Prepared, spacing_mm: tuple[float, float, float] | None, *, multiples: Shape, view: View = "foreground"
) -> Grid:
    """The grid on which the network runs: the fixed image's foreground and a margin.

    Args:
        fixed: the fixed image.
        spacing_mm: along each axis; None for the image's own.
        multiples: that the sizes must be of.
        view: "whole" wants no margin, there is nothing around.

    Where the fixed image has this spacing already, its own lattice is kept (no interpolation) and the first voxel
    has even indices, so that the working grid's half lattice is the fixed image's half lattice.
    """
    spacing = fixed.grid.spacing_mm if spacing_mm is None else np.array(spacing_mm)
    if np.allclose(fixed.grid.spacing_mm, spacing, rtol=_SAME_SPACING):
        lattice, box = fixed.grid, fixed.box.astype(np.float64)
    else:
        step = np.diag([*(spacing / fixed.grid.spacing_mm), 1.0])
        lattice = Grid(fixed.grid.shape, fixed.grid.affine @ step)
        box = fixed.box / np.diag(step)[:3]
    margin = np.zeros(3) if view == "whole" else np.minimum(_MARGIN_MM / spacing, _MARGIN_VOXELS)
    wanted = box[1] - box[0] + 1 + 2 * margin
    shape = tuple(int(-(-n // m) * m) for n, m in zip(wanted, multiples, strict=True))
    start = np.round(((box[0] + box[1] + 1) - np.array(shape)) / 2)
    start -= start % np.minimum(multiples, 2)
    return lattice.crop(start, (shape[0], shape[1], shape[2]))
