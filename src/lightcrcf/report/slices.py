"""The numbers behind the pictures: slices of all images on the same planes, outlines, and what the field does there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightcrcf.pipeline.foreground import foreground
from lightcrcf.report.planes import Plane, slice_image, thinned
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

__all__ = ["Slices", "box3", "moved_grid"]

Float32 = NDArray[np.float32]
Images = list[Float32]

_LINE_MM = 6.0
_BORDER_RANGE_PERCENT = (0.5, 99.7)


class Slices:
    """Images of a registration on some planes of the fixed volume.

    Args:
        fixed: the volume that was aligned with.
        moving: the volume as it was given.
        moved: the result, on the fixed grid.
        chain: fixed points to moving points.
    """

    def __init__(self, fixed: Volume, moving: Volume, moved: Volume, chain: Chain) -> None:
        self.chain = chain
        self._fixed, self._moving, self._moved = _Shown(fixed), _Shown(moving), _Shown(moved)
        self.levels = _contour_levels(fixed)

    def values(self, planes: Sequence[Plane]) -> Images:
        """The fixed volume in its own intensities; NaN outside of it."""
        return self._fixed.values(planes)

    def fixed(self, planes: Sequence[Plane]) -> Images:
        """The fixed volume, as this and the next in grey values from 0 to 1, NaN outside of the volume."""
        return self._fixed.gray(planes)

    def given(self, planes: Sequence[Plane]) -> Images:
        """The moving volume where its header puts it."""
        return self._moving.gray(planes)

    def affine(self, planes: Sequence[Plane]) -> Images:
        """The moving volume after affine alignment only."""
        return self._moving.gray(planes, Chain(self.chain.before, None, self.chain.after))

    def moved(self, planes: Sequence[Plane]) -> Images:
        """The result."""
        return self._moved.gray(planes)

    def histograms(self, bins: int = 64) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shares of the foreground in `bins` grey values, of the fixed and of the moving volume."""
        return self._fixed.histogram(bins), self._moving.histogram(bins)


class _Shown:
    """A volume with one window for all of its pictures."""

    def __init__(self, volume: Volume) -> None:
        self._volume = Volume(np.asarray(volume.data, dtype=np.float32), volume.grid, volume.source)
        data = thinned(volume)[0]
        mask = foreground(data)
        self._inside = data[mask] if mask.any() else data.ravel()
        low, high = _BORDER_RANGE_PERCENT
        self._low, top = float(np.percentile(data, low)), float(np.percentile(self._inside, high))
        self._width = max(top - self._low, float(np.finfo(np.float32).tiny))

    def values(self, planes: Sequence[Plane], chain: Chain | None = None) -> Images:
        return [slice_image(self._volume, plane, chain) for plane in planes]

    def gray(self, planes: Sequence[Plane], chain: Chain | None = None) -> Images:
        return [self._unit(image) for image in self.values(planes, chain)]

    def histogram(self, bins: int) -> NDArray[np.float64]:
        counts, _ = np.histogram(self._unit(self._inside), bins=bins, range=(0, 1))
        return np.asarray(counts / max(int(counts.sum()), 1), dtype=np.float64)

    def _unit(self, values: Float32) -> Float32:
        return np.asarray(np.clip((values - self._low) / self._width, 0, 1), dtype=np.float32)


def moved_grid(field: DisplacementField, plane: Plane) -> list[NDArray[np.float64]]:
    """(N, 2) pixel positions (column, row) of each line of a regular grid after the field moved it."""
    moved = plane.grid.voxels(field.points(plane.world.reshape(-1, 3)))[:, [1, 0]]
    moved = moved.reshape(*plane.grid.shape[:2], 2)
    step = max(2, round(_LINE_MM / plane.pixel_mm))
    return [*moved[step // 2 :: step], *moved[:, step // 2 :: step].transpose(1, 0, 2)]


def box3(image: Float32) -> Float32:
    """Means of 3x3 pixels, so that noise does not fray the outlines."""
    padded = np.pad(image, 1, mode="edge")
    rows, columns = image.shape
    shifted = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
    return np.asarray(np.mean(shifted, axis=0, dtype=np.float32))


def _contour_levels(volume: Volume) -> tuple[float, ...]:
    """The values at the foreground's border, and between its darker and its brighter tissue."""
    data = thinned(volume)[0]
    mask = foreground(data)
    if not mask.any() or mask.all():
        return ()
    inside = data[mask].astype(np.float64)
    border = float(np.median(data[~mask]) + np.median(inside)) / 2
    return (border, _two_class_threshold(inside))


def _two_class_threshold(values: NDArray[np.float64]) -> float:
    """The threshold half-way between the means of the two classes that it makes."""
    threshold = float(values.mean())
    for _ in range(20):
        high = values > threshold
        if high.all() or not high.any():
            break
        threshold = float(values[high].mean() + values[~high].mean()) / 2
    return threshold
