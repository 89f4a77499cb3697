"""Slices of all images on common planes, contour levels, and grids deformed by the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.report.planes import Plane, slice_image, subsample
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

__all__ = ["Slices", "WindowedVolume", "box_filter", "contour_levels", "moved_grid"]

Float32 = NDArray[np.float32]
Images = list[Float32]

_LINE_MM = 6.0
_MAX_EXCLUDED = 0.5  # of the foreground: more is visible on any plane
_BORDER_RANGE_PERCENT = (0.5, 99.7)


class Slices:
    """Images of a registration on some planes of the fixed volume.

    Args:
        fixed: the volume that was aligned with.
        moving: the volume as it was given.
        moved: the result, on the fixed grid.
        chain: fixed points to moving points.
        masks: of both volumes, 0 where voxels must not count.
    """

    def __init__(
        self,
        fixed: Volume,
        moving: Volume,
        moved: Volume,
        chain: Chain,
        masks: tuple[Volume | None, Volume | None] = (None, None),
    ) -> None:
        self.chain = chain
        self._masks = masks
        self._fixed, self._moving, self._moved = WindowedVolume(fixed), WindowedVolume(moving), WindowedVolume(moved)
        self.levels = contour_levels(fixed)

    def values(self, planes: Sequence[Plane]) -> Images:
        """Return the fixed volume in its own intensities; NaN outside of it."""
        return self._fixed.values(planes)

    def fixed(self, planes: Sequence[Plane]) -> Images:
        """Return the fixed volume in grey values from 0 to 1; NaN outside of it, as for the next methods."""
        return self._fixed.gray(planes)

    def given(self, planes: Sequence[Plane]) -> Images:
        """Return the moving volume under the alignment of the headers."""
        return self._moving.gray(planes)

    def affine(self, planes: Sequence[Plane]) -> Images:
        """Return the moving volume after affine alignment only."""
        return self._moving.gray(planes, Chain(self.chain.before, None, self.chain.after))

    def moved(self, planes: Sequence[Plane]) -> Images:
        """Return the moved volume."""
        return self._moved.gray(planes)

    def excluded(self, planes: Sequence[Plane], kind: str = "moved") -> Images:
        """Return what the masks exclude: above 0.5 where voxels of either volume do not count.

        Args:
            planes: of the pictures.
            kind: whether the moving mask lies there as "given", after the "affine" or as "moved".
        """
        chains = {
            "given": None,
            "affine": Chain(self.chain.before, None, self.chain.after),
            "moved": self.chain,
        }
        fixed, moving = self._masks
        images = [[np.zeros(plane.grid.shape[:2], np.float32) for plane in planes]]
        if fixed is not None:
            images.append(_excluded(fixed, planes, None))
        if moving is not None:
            images.append(_excluded(moving, planes, chains[kind]))
        return [np.maximum.reduce(each) for each in zip(*images, strict=True)]

    def middle_excluded(self) -> NDArray[np.float64] | None:
        """Return the point nearest to the middle of the excluded foreground, in RAS+ mm; None without one."""
        sampled, step = subsample(self._fixed.volume)
        grid = self._fixed.volume.grid
        places = grid.world(np.argwhere(foreground(sampled)) * step)
        out = np.zeros(len(places), np.bool_)
        for mask, points in zip(self._masks, (places, self.chain.points(places)), strict=True):
            if mask is not None:
                out |= _is_zero(mask, points)
        if not out.any() or np.mean(out) > _MAX_EXCLUDED:
            return None
        middle = places[out].mean(axis=0)
        nearest: NDArray[np.float64] = places[out][np.square(places[out] - middle).sum(axis=1).argmin()]
        return nearest

    def histograms(self, bins: int = 64) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the normalised histograms of the fixed and the moving foreground, with `bins` grey values."""
        return self._fixed.histogram(bins), self._moving.histogram(bins)


class WindowedVolume:
    """A volume with one intensity window for all of its pictures.

    Args:
        volume: to show.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = Volume(np.asarray(volume.data, dtype=np.float32), volume.grid, volume.source)
        data = subsample(volume)[0]
        mask = foreground(data)
        self._inside = data[mask] if mask.any() else data.ravel()
        low, high = _BORDER_RANGE_PERCENT
        self._low, top = float(np.percentile(data, low)), float(np.percentile(self._inside, high))
        self._width = max(top - self._low, float(np.finfo(np.float32).tiny))

    def values(self, planes: Sequence[Plane], chain: Chain | None = None) -> Images:
        """Sample its own intensities on planes, moved by `chain` if given; NaN outside of it."""
        return [slice_image(self.volume, plane, chain) for plane in planes]

    def gray(self, planes: Sequence[Plane], chain: Chain | None = None) -> Images:
        """Sample grey values from 0 to 1 on planes, moved by `chain` if given; NaN outside of the volume."""
        return [self._unit(image) for image in self.values(planes, chain)]

    def histogram(self, bins: int) -> NDArray[np.float64]:
        """Return the normalised histogram of the foreground, with `bins` grey values."""
        counts, _ = np.histogram(self._unit(self._inside), bins=bins, range=(0, 1))
        return np.asarray(counts / max(int(counts.sum()), 1), dtype=np.float64)

    def _unit(self, values: Float32) -> Float32:
        return np.asarray(np.clip((values - self._low) / self._width, 0, 1), dtype=np.float32)


def _excluded(mask: Volume, planes: Sequence[Plane], chain: Chain | None) -> Images:
    """Return 1 where a mask is 0, on some planes, and 0 outside of its grid."""
    inverse = Volume((mask.data == 0).astype(np.float32), mask.grid, mask.source)
    return [np.nan_to_num(slice_image(inverse, plane, chain)) for plane in planes]


def _is_zero(mask: Volume, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the voxels nearest to (N, 3) points in RAS+ mm are 0; False outside of the mask's grid."""
    voxels = np.rint(mask.grid.voxels(points)).astype(int)
    within = np.all((voxels >= 0) & (voxels < mask.grid.shape), axis=1)
    found = np.zeros(len(points), np.bool_)
    found[within] = mask.data[tuple(voxels[within].T)] == 0
    return found


def moved_grid(field: DisplacementField, plane: Plane) -> list[NDArray[np.float64]]:
    """Return the lines of a regular grid deformed by the field, each as (N, 2) pixel positions (column, row)."""
    moved = plane.grid.voxels(field.points(plane.world.reshape(-1, 3)))[:, [1, 0]]
    moved = moved.reshape(*plane.grid.shape[:2], 2)
    step = max(2, round(_LINE_MM / plane.pixel_mm))
    return [*moved[step // 2 :: step], *moved[:, step // 2 :: step].transpose(1, 0, 2)]


def box_filter(image: Float32) -> Float32:
    """Return means of 3x3 pixels, which keep noise out of the outlines."""
    padded = np.pad(image, 1, mode="edge")
    rows, columns = image.shape
    shifted = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
    return np.asarray(np.mean(shifted, axis=0, dtype=np.float32))


def contour_levels(volume: Volume) -> tuple[float, ...]:
    """Return the values at the foreground's border, and between its darker and its brighter tissue."""
    data = subsample(volume)[0]
    mask = foreground(data)
    if not mask.any() or mask.all():
        return ()
    inside = data[mask].astype(np.float64)
    border = float(np.median(data[~mask]) + np.median(inside)) / 2
    return (border, _isodata_threshold(inside))


def _isodata_threshold(values: NDArray[np.float64]) -> float:
    """Return the threshold half-way between the means of the two classes it separates (Ridler and Calvard, 1978)."""
    threshold = float(values.mean())
    for _ in range(20):
        high = values > threshold
        if high.all() or not high.any():
            break
        threshold = float(values[high].mean() + values[~high].mean()) / 2
    return threshold
