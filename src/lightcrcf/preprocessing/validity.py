"""What of a volume is known: no data is not zero.

NaN, the padding of a scanner and what lies outside of a volume are unknown; so is a constant beyond a plane that cuts
through the anatomy. Unknown voxels exert no force and count in no figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.body import beside_the_body
from lightcrcf.preprocessing.foreground import Thinned, background_value, intensity_range
from lightcrcf.preprocessing.missing_data import background, found_measured, put
from lightcrcf.volumes.volume import Volume

__all__ = ["Extent", "compared", "examine", "without_table"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# An image is cut where what differs from the constant at its border begins with a slice of this share of its largest
# one. A ball of radius R voxels begins with 4 / R.
_CUT, _BALL = 0.25, 3 * 4.0
# Brighter than this, in terms of the range that images keep (`intensity_range`), is extreme, and from this share of the
# foreground on it would steer: fluid of abdomens reaches 1.4 and a hundredth, and aligns them. Half as bright again is
# no fluid, and a cyst of 5 cm is half a hundredth of an abdomen. So many voxels around it are left out too.
_EXTREME = ((1.25, 0.01), (1.6, 0.001))
_RIM, _TOUCHED = 2, 1e-4
_ALONE = 5.0  # times as much of it as in the other image: less may be fluid in both
_STRAY = 0.02  # of the largest slice: less is no foreground
_FIRST = -0.5 + 1e-3  # the least index inside of a grid, away from where rounding decides
_WHOLE = 0.99  # of a voxel's interpolated data must be known


@dataclass(frozen=True, eq=False)
class Extent:
    """Where a volume has data.

    Args:
        grid: of the volume.
        known: (D, H, W) bool, False where a voxel has no data, and beyond a cut; None if all have.
        closed: (3, 2) bool, whether the background goes on beyond the first and the last face along each axis, since
            the image was masked and its anatomy ends before. Beyond all other faces nothing is known.
        reasons: what made voxels unknown or extreme, and how many of them, for the record.
        extreme: (D, H, W) bool, True in a lesion, metal or contrast agent so bright that it must steer nothing, and
            around it; None if there is none.
        extremes: what `extreme` may be, for each limit of brightness; None where it is too little to steer.
        extreme_shares: of the foreground, that are brighter than each limit.
        small: whether `extreme` is less of it than steers an affine.
        measured: (D, H, W) bool, False where a voxel is NaN, infinite or padding, which is what gets another value in
            moved images; None if none is.
        bare: whether everything outside the anatomy was set to one value.
        beside: (D, H, W) bool, True in a CT for what is no part of the body, such as the table, and is air for the
            registration (`without_table`); None if there is none.
    """

    grid: Grid
    known: Mask | None
    closed: Mask
    reasons: dict[str, int]
    extreme: Mask | None = None
    extremes: tuple[Mask | None, ...] = ()
    extreme_shares: tuple[float, ...] = ()
    small: bool = False
    measured: Mask | None = None
    bare: bool = False
    beside: Mask | None = None

    def onto(self, grid: Grid, matrix: Float64 | None = None) -> Float32 | None:
        """Where on another grid there is data.

        Args:
            grid: the grid.
            matrix: (4, 4), its RAS mm to this volume's RAS mm; the identity by default.

        Returns:
            (D, H, W) float32, 1 where the volume has data and 0 elsewhere; None if it has everywhere.
        """
        return self._onto(self.known, grid, matrix)

    def field_of_view_onto(self, grid: Grid, matrix: Float64 | None = None) -> Float32 | None:
        """As `onto`, and 1 wherever the volume has voxels, with data or without."""
        return self._onto(None, grid, matrix)

    def usable_onto(self, grid: Grid, matrix: Float64 | None = None) -> Float32 | None:
        """As `onto`, and 0 where it is extreme."""
        return self._onto(self._usable, grid, matrix)

    @property
    def _usable(self) -> Mask | None:
        if self.extreme is None:
            return self.known
        return ~self.extreme if self.known is None else self.known & ~self.extreme

    def _onto(self, known: Mask | None, grid: Grid, matrix: Float64 | None) -> Float32 | None:
        step = self.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
        inside = np.ones(grid.shape, np.bool_)
        for axis, end in np.argwhere(~self.closed):
            place = _along(step[axis], grid.shape)
            inside &= place > _FIRST if end == 0 else place < self.grid.shape[axis] - 1 - _FIRST
        if known is not None:
            inside &= resample(known.astype(np.float32), grid.shape, step[:3], fill=1.0) > _WHOLE
        return None if inside.all() else inside.astype(np.float32)

    def masked(self, volume: Volume, mask: Volume | None) -> Volume | None:
        """What of `volume` counts: nonzero where it has data, nothing is extreme, and `mask` on its grid is nonzero.

        None if that is everywhere.
        """
        usable = self._usable
        if usable is None:
            return mask
        counts = usable if mask is None else usable & (mask.data != 0)
        return Volume(counts, volume.grid, (mask or volume).source)

    def for_affine(self) -> Extent:
        """As an affine has it: what is extreme but small is used, since what lies around it would be missed more."""
        return replace(self, extreme=None) if self.small else self

    def reordered(self, order: AxisOrder) -> Extent:
        """Of the same volume with its axes in another order."""
        masks = self.known, self.extreme, self.measured, self.beside, *self.extremes
        known, extreme, measured, beside, *rest = (None if mask is None else order.array(mask) for mask in masks)
        axes = zip(order.permutation, order.flips, strict=True)
        closed = np.array([self.closed[axis][::-1] if flip else self.closed[axis] for axis, flip in axes])
        found = replace(self, grid=order.grid(self.grid), known=known, closed=closed, measured=measured, beside=beside)
        return replace(found, extreme=extreme, extremes=tuple(rest))


def examine(volume: Volume) -> tuple[Volume, Extent]:
    """Find what of an image is known.

    Args:
        volume: an image, not a label map.

    Returns:
        the volume with the value of its background where nothing is known (the same object where all is), and where it
        has data.

    Raises:
        InputError: if no voxel has data, or all that have are equal.
    """
    data, reasons = found_measured(volume)
    if data is not None:
        volume = put(volume, data, background(volume, data))
    thin, known = Thinned.of(volume), data
    cut, closed = _cuts(volume, thin)
    if cut is not None:
        reasons["beyond a cut"] = int(np.count_nonzero(~cut if data is None else data & ~cut))
        known = cut if data is None else data & cut
    extremes, shares = _extremes(volume, thin)
    extreme = next((mask for mask in extremes if mask is not None), None)
    if extreme is not None:
        reasons["extreme"] = int(np.count_nonzero(extreme))
    beside = beside_the_body(volume) if thin.content.ct else None
    if beside is not None:
        reasons["beside the body"] = int(np.count_nonzero(beside))
    bare = thin.content.masked
    return volume, Extent(volume.grid, known, closed, reasons, extreme, extremes, shares, False, data, bare, beside)


def without_table(volume: Volume, extent: Extent) -> Volume:
    """An image with the value of its background beside the body; the same object where there is nothing."""
    return volume if extent.beside is None else put(volume, ~extent.beside, background(volume, extent.measured))


def compared(fixed: Extent, moving: Extent) -> tuple[Extent, Extent]:
    """The extents of two images that are compared: what is as bright in both is anatomy, such as fluid, and steers."""
    return _beside(fixed, moving), _beside(moving, fixed)


def _beside(extent: Extent, other: Extent) -> Extent:
    """With the lowest limit of brightness that the other image says is not reached by anatomy."""
    reasons = {reason: count for reason, count in extent.reasons.items() if reason != "extreme"}
    for mask, share, theirs in zip(extent.extremes, extent.extreme_shares, other.extreme_shares, strict=True):
        if mask is not None and share > _ALONE * theirs:
            reasons["extreme"] = int(np.count_nonzero(mask))
            small = share < _EXTREME[0][1]
            return replace(extent, extreme=mask, small=small, reasons=reasons)
    return replace(extent, extreme=None, small=False, reasons=reasons)


def _extremes(volume: Volume, thin: Thinned) -> tuple[tuple[Mask | None, ...], tuple[float, ...]]:
    """For each limit, what is so much brighter than the rest of the foreground, with its surroundings, and its share.

    What is too little to steer is None.
    """
    tissue = thin.data[thin.tissue]
    low, high = intensity_range(tissue, 0.5, 100.0)
    limits = [low + times * (high - low) for times, _ in _EXTREME]
    shares = tuple(float(np.mean(tissue > limit)) for limit in limits)
    least = [share for _, share in _EXTREME]
    masks = (
        _around(volume.data > limit) if share >= enough else None
        for limit, share, enough in zip(limits, shares, least, strict=True)
    )
    return tuple(masks), shares


def _around(bright: Mask) -> Mask:
    """With the voxels around it."""
    share = bright.astype(np.float32)[None]
    for _ in range(_RIM):
        share = window_mean(share, 1)
    return np.asarray(share[0] > _TOUCHED)


def _cuts(volume: Volume, thin: Thinned) -> tuple[Mask | None, Mask]:
    """What is not beyond a plane that cuts the anatomy, None for everything; and (3, 2) which faces are closed."""
    closed, masked = np.zeros((3, 2), np.bool_), thin.content.masked
    value, _ = background_value(thin.data)
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
    """For both ends of an axis, how many slices lie beyond a cut; None where there is no cut.

    Args:
        areas: foreground voxels of each slice.
    """
    slices = np.flatnonzero(areas > _STRAY * areas.max())
    radius = len(slices) / 2
    share = max(_CUT, _BALL / max(radius, 1.0))
    for end, line in enumerate((areas, areas[::-1])):
        first = int(np.flatnonzero(line > _STRAY * areas.max())[0])
        begins = line[first + 1] if radius > 2 else 0  # the slice after it, since interpolation blurs the first
        yield end, first if begins > share * areas.max() else None


def _along(row: Float64, shape: tuple[int, int, int]) -> Float32:
    """(D, H, W) float32: row @ [i, j, k, 1] at every voxel."""
    i, j, k = (np.arange(n, dtype=np.float32) * np.float32(c) for n, c in zip(shape, row[:3], strict=True))
    place: Float32 = i[:, None, None] + j[:, None] + k + np.float32(row[3])
    return place
