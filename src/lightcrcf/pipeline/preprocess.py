"""From a volume to what the network sees: canonical axes, a working grid, unit intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.network.config import MULTIPLE
from lightcrcf.pipeline.foreground import foreground
from lightcrcf.volumes.volume import Volume

__all__ = ["Prepared", "prepare", "working_grid"]

_MARGIN_MM, _MARGIN_VOXELS = 5.0, 16.0  # whichever is less
_DARK_PERCENTILE, _BRIGHT_PERCENTILE = 0.5, 98.0
_CEILING = 1.25
_SAME_SPACING = 1e-3


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume with canonical axes and unit intensities.

    Args:
        data: (D, H, W) float32, 0 for background, about 1 for the brightest tissue, at most 1.25.
        grid: its grid; axes closest to RAS+.
        box: first and last foreground voxel along each axis, (2, 3).
        level: the intensity that became 0.
        scale: the intensity difference that became 1.
    """

    data: NDArray[np.float32]
    grid: Grid
    box: NDArray[np.int64]
    level: float
    scale: float

    def onto(self, grid: Grid, matrix: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Resample onto `grid`; `matrix` (4, 4) maps its RAS mm to this volume's RAS mm (identity by default)."""
        step = self.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
        return np.asarray(resample(self.data, grid.shape, step[:3]), dtype=np.float32)


def prepare(volume: Volume) -> Prepared:
    """Canonical axes and unit intensities of one image.

    The darkest value becomes 0 and the 98th percentile of the foreground 1; both ends are clipped, at 0 and 1.25.
    Local correlation does not mind, but the network's weights expect this range. Where the background is brighter than
    some tissue (a white background, or intensities centred on zero), it becomes 0 as well.

    Raises:
        InputError: if the image has no foreground.
    """
    canonical = volume.canonical()
    data = np.ascontiguousarray(canonical.data, dtype=np.float32)
    mask = foreground(data)
    if not mask.any():
        raise InputError(
            volume.source, expected="an image with some contrast", got="a constant", remedy="check the file"
        )
    dark, bright = np.percentile(data[mask], (_DARK_PERCENTILE, _BRIGHT_PERCENTILE))
    around = float(data.min() if mask.all() else data[~mask].min())
    level = min(around, float(dark))
    scale = float(bright) - level
    unit = (data - np.float32(level)) / np.float32(scale if scale > 0 else 1.0)
    np.clip(unit, 0.0, _CEILING, out=unit)
    if level < around:
        unit[~mask] = 0.0
    return Prepared(unit, canonical.grid, _box(mask), level, scale)


def _box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(2, 3): first and last True along each axis."""
    sides = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return np.array([[s[0] for s in sides], [s[-1] for s in sides]], dtype=np.int64)


def working_grid(fixed: Prepared, spacing_mm: float) -> Grid:
    """The grid on which the network runs: the fixed image's foreground and a margin, in multiples of 16 voxels.

    Where the fixed image has this spacing already, its own lattice is kept (no interpolation) and the first voxel
    has even indices, so that the working grid's half lattice is the fixed image's half lattice.
    """
    if np.allclose(fixed.grid.spacing_mm, spacing_mm, rtol=_SAME_SPACING):
        lattice, box = fixed.grid, fixed.box.astype(np.float64)
    else:
        step = np.diag([*(spacing_mm / fixed.grid.spacing_mm), 1.0])
        lattice = Grid(fixed.grid.shape, fixed.grid.affine @ step)
        box = fixed.box / np.diag(step)[:3]
    wanted = box[1] - box[0] + 1 + 2 * min(_MARGIN_MM / spacing_mm, _MARGIN_VOXELS)
    shape = tuple(int(-(-n // MULTIPLE) * MULTIPLE) for n in wanted)
    start = np.round(((box[0] + box[1] + 1) - np.array(shape)) / 2)
    start -= start % 2
    return lattice.crop(start, (shape[0], shape[1], shape[2]))
