"""Validity masks of an image: known voxels, faces cut by the field of view, and extreme intensities.

NaN, padding and everything outside of the grid are unknown; so is a constant beyond a plane that cuts the anatomy.
Unknown voxels exert no force and are excluded from all metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import DownsampledImage, border_mode, intensity_range
from lightcrcf.preprocessing.missing_data import estimate_background, fill_unknown, find_measured
from lightcrcf.preprocessing.table import find_table
from lightcrcf.volumes.volume import Volume

__all__ = ["Extent", "compare_extremes", "examine", "remove_table"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The anatomy is cut at a face if its first slice has at least this fraction of the area of its largest one. A ball of
# radius R voxels starts with 4 / R.
_MIN_CUT_FRACTION, _BALL_FRACTION = 0.25, 3 * 4.0
# Limits of extreme intensities: brightness in units of the intensity range (`intensity_range`), and the fraction of the
# foreground above which they would dominate an alignment. Fluid in abdomens reaches 1.4 and 1 %, and is anatomy; from
# 1.6 on it is none, and a cyst of 5 cm is 0.5 % of an abdomen. A margin in voxels around them is excluded too.
_EXTREME = ((1.25, 0.01), (1.6, 0.001))
_MARGIN, _MIN_MEAN = 2, 1e-4
_MIN_FRACTION_RATIO = 5.0  # of the fractions of extreme voxels in two images: a smaller ratio may be fluid in both
_MIN_SLICE_FRACTION = 0.02  # of the area of the largest slice: less is no foreground
_FIRST_INDEX = -0.5 + 1e-3  # lowest index inside of a grid, plus a tolerance
_MIN_KNOWN = 0.99  # interpolated mask value from which a voxel is known


@dataclass(frozen=True, eq=False)
class Extent:
    """Validity of the voxels of a volume.

    Args:
        grid: of the volume.
        known: (D, H, W) bool, False for missing data and beyond a cut; None if all voxels are known.
        closed: (3, 2) bool, whether background continues beyond the first and the last face along each axis, because
            the image is masked and its anatomy ends inside. Everything beyond the other faces is unknown.
        reasons: number of unknown or extreme voxels for each reason, for the record.
        extreme: (D, H, W) bool, True in and around lesions, metal or contrast agent that are excluded because of their
            brightness; None if there are none.
        extremes: candidates for `extreme`, one for each limit of brightness; None where their fraction is too small.
        extreme_fractions: fraction of the foreground that is brighter than each limit.
        small: whether the fraction of `extreme` is too small to influence an affine.
        measured: (D, H, W) bool, False for NaN, infinity and padding, which moved images replace by the fill value;
            None if there are none.
        background_masked: whether everything outside of the anatomy has one value.
        table: (D, H, W) bool, True in a CT for objects outside of the body, which `remove_table` replaces by air; None
            if there are none.
    """

    grid: Grid
    known: Mask | None
    closed: Mask
    reasons: dict[str, int]
    extreme: Mask | None = None
    extremes: tuple[Mask | None, ...] = ()
    extreme_fractions: tuple[float, ...] = ()
    small: bool = False
    measured: Mask | None = None
    background_masked: bool = False
    table: Mask | None = None

    def known_on(self, grid: Grid, matrix: Float64 | None = None) -> Float32 | None:
        """Resample the mask of known voxels to another grid.

        Args:
            grid: of the result.
            matrix: (4, 4) from its RAS mm to this volume's RAS mm; the identity by default.

        Returns:
            (D, H, W) float32, 1 where the volume is known and 0 elsewhere; None if it is everywhere.
        """
        return self._resampled(self.known, grid, matrix)

    def field_of_view_on(self, grid: Grid, matrix: Float64 | None = None) -> Float32 | None:
        """Resample the field of view to another grid: as `known_on`, but 1 for unknown voxels too."""
        return self._resampled(None, grid, matrix)

    def usable_on(self, grid: Grid, matrix: Float64 | None = None) -> Float32 | None:
        """Resample the mask of usable voxels to another grid: as `known_on`, but 0 for extreme voxels."""
        return self._resampled(self._usable, grid, matrix)

    @property
    def _usable(self) -> Mask | None:
        if self.extreme is None:
            return self.known
        return ~self.extreme if self.known is None else self.known & ~self.extreme

    def _resampled(self, known: Mask | None, grid: Grid, matrix: Float64 | None) -> Float32 | None:
        step = self.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
        inside = np.ones(grid.shape, np.bool_)
        for axis, end in np.argwhere(~self.closed):
            place = _index_along(step[axis], grid.shape)
            inside &= place > _FIRST_INDEX if end == 0 else place < self.grid.shape[axis] - 1 - _FIRST_INDEX
        if known is not None:
            inside &= resample(known.astype(np.float32), grid.shape, step[:3], fill=1.0) > _MIN_KNOWN
        return None if inside.all() else inside.astype(np.float32)

    def usable_mask(self, volume: Volume, mask: Volume | None) -> Volume | None:
        """Return a mask on the grid of `volume`: nonzero where it is known, not extreme, and inside `mask`.

        None if that is everywhere.
        """
        usable = self._usable
        if usable is None:
            return mask
        counts = usable if mask is None else usable & (mask.data != 0)
        return Volume(counts, volume.grid, (mask or volume).source)

    def for_affine(self) -> Extent:
        """Return the validity for the affine, which uses small extreme regions, since it needs what surrounds them."""
        return replace(self, extreme=None) if self.small else self

    def reordered(self, order: AxisOrder) -> Extent:
        """Return the validity of the same volume with reordered axes."""
        masks = self.known, self.extreme, self.measured, self.table, *self.extremes
        known, extreme, measured, table, *rest = (None if mask is None else order.array(mask) for mask in masks)
        axes = zip(order.permutation, order.flips, strict=True)
        closed = np.array([self.closed[axis][::-1] if flip else self.closed[axis] for axis, flip in axes])
        found = replace(self, grid=order.grid(self.grid), known=known, closed=closed, measured=measured, table=table)
        return replace(found, extreme=extreme, extremes=tuple(rest))


def examine(volume: Volume) -> tuple[Volume, Extent]:
    """Find the validity of an image.

    Args:
        volume: an image, not a label map.

    Returns:
        The volume with missing data replaced by its background (the same object if there are none), and its validity.

    Raises:
        InputError: if no voxel has data, or all that have are equal.
    """
    data, reasons = find_measured(volume)
    if data is not None:
        volume = fill_unknown(volume, data, estimate_background(volume, data))
    coarse, known = DownsampledImage.of(volume), data
    cut, closed = _cuts(volume, coarse)
    if cut is not None:
        reasons["beyond a cut"] = int(np.count_nonzero(~cut if data is None else data & ~cut))
        known = cut if data is None else data & cut
    extremes, fractions = _extremes(volume, coarse)
    extreme = next((mask for mask in extremes if mask is not None), None)
    if extreme is not None:
        reasons["extreme"] = int(np.count_nonzero(extreme))
    table = find_table(volume) if coarse.image_type.ct else None
    if table is not None:
        reasons["beside the body"] = int(np.count_nonzero(table))
    masked = coarse.image_type.masked
    return volume, Extent(volume.grid, known, closed, reasons, extreme, extremes, fractions, False, data, masked, table)


def remove_table(volume: Volume, extent: Extent) -> Volume:
    """Replace the table by the background of the image; return the same object if there is none."""
    return (
        volume
        if extent.table is None
        else fill_unknown(volume, ~extent.table, estimate_background(volume, extent.measured))
    )


def compare_extremes(fixed: Extent, moving: Extent) -> tuple[Extent, Extent]:
    """Select the extreme voxels of two images: what is as bright in both is anatomy, such as fluid, and stays."""
    return _select_extreme(fixed, moving), _select_extreme(moving, fixed)


def _select_extreme(extent: Extent, other: Extent) -> Extent:
    """Select the lowest limit of brightness that exceeds the anatomy of the other image."""
    reasons = {reason: count for reason, count in extent.reasons.items() if reason != "extreme"}
    for mask, fraction, theirs in zip(extent.extremes, extent.extreme_fractions, other.extreme_fractions, strict=True):
        if mask is not None and fraction > _MIN_FRACTION_RATIO * theirs:
            reasons["extreme"] = int(np.count_nonzero(mask))
            small = fraction < _EXTREME[0][1]
            return replace(extent, extreme=mask, small=small, reasons=reasons)
    return replace(extent, extreme=None, small=False, reasons=reasons)


def _extremes(volume: Volume, coarse: DownsampledImage) -> tuple[tuple[Mask | None, ...], tuple[float, ...]]:
    """Return the mask of brighter voxels with a margin, and their fraction of the foreground, for each limit.

    The mask is None if the fraction is too small.
    """
    tissue = coarse.data[coarse.tissue]
    low, high = intensity_range(tissue, 0.5, 100.0)
    limits = [low + times * (high - low) for times, _ in _EXTREME]
    fractions = tuple(float(np.mean(tissue > limit)) for limit in limits)
    least = [fraction for _, fraction in _EXTREME]
    masks = (
        _dilate(volume.data > limit) if fraction >= enough else None
        for limit, fraction, enough in zip(limits, fractions, least, strict=True)
    )
    return tuple(masks), fractions


def _dilate(bright: Mask) -> Mask:
    """Dilate a mask by the margin."""
    fraction = bright.astype(np.float32)[None]
    for _ in range(_MARGIN):
        fraction = window_mean(fraction, 1)
    return np.asarray(fraction[0] > _MIN_MEAN)


def _cuts(volume: Volume, coarse: DownsampledImage) -> tuple[Mask | None, Mask]:
    """Return the mask of voxels not beyond a cut (None for all), and the (3, 2) closed faces."""
    closed, masked = np.zeros((3, 2), np.bool_), coarse.image_type.masked
    value, _ = border_mode(coarse.data)
    inside = volume.data != np.asarray(value).astype(volume.data.dtype)
    known: Mask | None = None
    for axis in range(3):
        areas = np.count_nonzero(inside, axis=tuple(a for a in range(3) if a != axis))
        for end, first in _cut_ends(areas):
            closed[axis, end] = masked and first is None
            if first:
                known = np.ones_like(inside) if known is None else known
                lines = np.moveaxis(known, axis, 0)
                lines[slice(first) if end == 0 else slice(-first, None)] = False
    return known, closed


def _cut_ends(areas: NDArray[np.int_]) -> Iterator[tuple[int, int | None]]:
    """Yield the number of slices beyond a cut for both ends of an axis; None without a cut.

    Args:
        areas: foreground voxels of each slice.
    """
    slices = np.flatnonzero(areas > _MIN_SLICE_FRACTION * areas.max())
    radius = len(slices) / 2
    fraction = max(_MIN_CUT_FRACTION, _BALL_FRACTION / max(radius, 1.0))
    for end, line in enumerate((areas, areas[::-1])):
        first = int(np.flatnonzero(line > _MIN_SLICE_FRACTION * areas.max())[0])
        begins = line[first + 1] if radius > 2 else 0  # the slice after it, since interpolation blurs the first
        yield end, first if begins > fraction * areas.max() else None


def _index_along(row: Float64, shape: tuple[int, int, int]) -> Float32:
    """Return (D, H, W) float32 row @ [i, j, k, 1] at every voxel."""
    i, j, k = (np.arange(n, dtype=np.float32) * np.float32(c) for n, c in zip(shape, row[:3], strict=True))
    place: Float32 = i[:, None, None] + j[:, None] + k + np.float32(row[3])
    return place
