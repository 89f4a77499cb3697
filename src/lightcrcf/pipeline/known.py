"""What of a volume is known: no data is not zero.

NaN, the padding of a scanner and what lies outside of a volume are unknown; so is a constant beyond a plane that cuts
through the anatomy. Unknown voxels exert no force and count in no figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.pipeline.foreground import (
    background_value,
    border_values,
    content,
    foreground,
    intensity_range,
    lowest,
    thin_out,
)
from lightcrcf.volumes.volume import Volume

__all__ = ["Extent", "background", "compared", "examine", "filled", "padding"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Padding: a constant on at least this share of the border, so far from what is usual among the other voxels (in terms
# of their range from the 1st to the 99th percentile), beside a background of their own that makes up a share of them.
_ON_BORDER, _FAR, _BACKGROUND = 0.02, 0.4, 0.1
_DARK, _VERY_DARK = 0.15, 0.05  # how far up their range that background reaches
_LEAST_HU, _AIR_HU = -1100.0, -900.0  # no tissue has less; between them lies air, and the -1024 that scanners store
_THIN = 100_000  # voxels by which what the image shows is judged, as `foreground.content` does
_SAMPLES = 200_000  # voxels whose percentiles tell
_PADDED = 0.005  # of all voxels at least, where the same value occurs in tissue too
# An image is cut where what differs from the constant at its border begins with a slice of this share of its largest
# one. A ball of radius R voxels begins with 4 / R.
_CUT, _BALL = 0.25, 3 * 4.0
# Brighter than this, in terms of the range that images keep (`intensity_range`), is extreme; from this share of the
# foreground on it would steer; so many voxels around it are left out too.
_EXTREME, _STEERS, _RIM, _TOUCHED = 1.25, 0.01, 2, 1e-4
_ALONE = 5.0  # times as much of it as in the other image: less may be fluid in both
_STRAY = 0.02  # of the largest slice: less is no foreground
_FIRST = -0.5 + 1e-3  # the least index inside of a grid, away from where rounding decides
_WHOLE = 0.99  # of a voxel's interpolated data must be known
_AIR_ON_BORDER = 0.05  # of the border's voxels tell the background's value
_NEAR_LEAST = 0.35  # of the way from the least value to the tissue's median: what is no brighter is empty


@dataclass(frozen=True, eq=False)
class Extent:
    """Where a volume has data.

    Args:
        grid: of the volume.
        known: (D, H, W) bool, False where a voxel has no data; None if all have.
        closed: (3, 2) bool, whether the background goes on beyond the first and the last face along each axis, since
            the image was masked and its anatomy ends before. Beyond all other faces nothing is known.
        reasons: what made voxels unknown or extreme, and how many of them, for the record.
        extreme: (D, H, W) bool, True in a lesion, metal or contrast agent so bright that it must steer nothing, and
            around it; None if there is none.
        extreme_share: of the foreground, that is so bright.
    """

    grid: Grid
    known: Mask | None
    closed: Mask
    reasons: dict[str, int]
    extreme: Mask | None = None
    extreme_share: float = 0.0

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

    def reordered(self, order: AxisOrder) -> Extent:
        """Of the same volume with its axes in another order."""
        known, extreme = (None if m is None else order.array(m) for m in (self.known, self.extreme))
        axes = zip(order.permutation, order.flips, strict=True)
        closed = np.array([self.closed[axis][::-1] if flip else self.closed[axis] for axis, flip in axes])
        return Extent(order.grid(self.grid), known, closed, self.reasons, extreme, self.extreme_share)


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
    known, reasons = _with_data(volume)
    if known is not None:
        volume = _put(volume, known, background(volume, known))
    thin = thin_out(volume, voxels=_THIN)[0]
    cut, closed = _cuts(volume, thin)
    if cut is not None:
        reasons["beyond a cut"] = int(cut.size - np.count_nonzero(cut))
        known = cut if known is None else known & cut
    extreme, share = _extreme(volume, thin)
    if extreme is not None:
        reasons["extreme"] = int(np.count_nonzero(extreme))
    return volume, Extent(volume.grid, known, closed, reasons, extreme, share)


def compared(fixed: Extent, moving: Extent) -> tuple[Extent, Extent]:
    """The extents of two images that are compared: what is as bright in both is anatomy, such as fluid, and steers."""
    return _beside(fixed, moving), _beside(moving, fixed)


def _beside(extent: Extent, other: Extent) -> Extent:
    if extent.extreme is None or extent.extreme_share > _ALONE * other.extreme_share:
        return extent
    reasons = {reason: count for reason, count in extent.reasons.items() if reason != "extreme"}
    return replace(extent, extreme=None, reasons=reasons)


def filled(volume: Volume, fill: float | Literal["auto"] = "auto") -> tuple[Volume, float]:
    """An image with a value where it has no data (NaN, infinity, padding).

    Args:
        volume: an image, not a label map.
        fill: the value; "auto" for that of the image's background.

    Returns:
        the volume, the same object where all voxels have data, and the value.

    Raises:
        InputError: if no voxel has data.
    """
    known, _ = _with_data(volume)
    value = background(volume, known) if fill == "auto" else fill
    return volume if known is None else _put(volume, known, value), value


def _with_data(volume: Volume) -> tuple[Mask | None, dict[str, int]]:
    """Voxels that have data, None for all; and how many have none, by what made them so."""
    finite = None if volume.data.dtype.kind in "iub" else np.isfinite(volume.data)
    known = None if finite is None or finite.all() else finite
    if known is not None and not known.any():
        raise InputError(
            volume.source, expected="an image", got="NaN or infinity in every voxel", remedy="check the file"
        )
    reasons = {} if known is None else {"not finite": int(known.size - np.count_nonzero(known))}
    padded = padding(volume.data, known)
    if padded is not None:
        reasons["padding"] = int(np.count_nonzero(padded))
        known = ~padded if known is None else known & ~padded
    return known, reasons


def _put(volume: Volume, known: Mask, value: float) -> Volume:
    """`volume` with a value where it is not known."""
    return replace(volume, data=np.where(known, volume.data, np.asarray(value).astype(volume.data.dtype)))


def background(volume: Volume, known: Mask | None = None) -> float:
    """The value of an image's own background: of air in CT, of what surrounds a brain.

    Args:
        volume: an image.
        known: (D, H, W), the voxels that have data; None for all that are finite.

    Returns:
        the median of what is dark on the border, or else anywhere. Without any the smallest value, or 0 where the
        border has no data and values have both signs, as in statistical maps.
    """
    data = volume.data if known is None else np.where(known, volume.data, np.nan)
    thin = data[tuple(slice(None, None, max(1, n // 64)) for n in data.shape)]
    finite = np.isfinite(thin)
    least, most = lowest(thin), float(thin[finite].max())
    bright = foreground(np.where(finite, thin, least))  # unknown as the darkest: 0 may be bright
    empty = finite & ~bright & (thin <= least + _NEAR_LEAST * (np.median(thin[bright]) - least if bright.any() else 0))
    faces = np.zeros(thin.shape, np.bool_)
    for axis in range(3):
        np.moveaxis(faces, axis, 0)[[0, -1]] = True
    if np.count_nonzero(empty & faces) > _AIR_ON_BORDER * np.count_nonzero(faces):
        return float(np.median(thin[empty & faces]))
    dark, bright_end = np.percentile(thin[finite], (100 * _BACKGROUND, 99))
    if empty.any() and (not least < 0 < most or dark - least < _DARK * (bright_end - least)):
        return float(np.median(thin[empty]))
    return 0.0 if least < 0 < most and not finite[faces].all() else least


def padding(data: NDArray[Any], finite: Mask | None = None) -> Mask | None:
    """What a scanner or a tool wrote where it had no data: a constant at the border, far from the rest.

    Args:
        data: (D, H, W).
        finite: (D, H, W), False where it is NaN or infinite; None if it is finite.

    Returns:
        (D, H, W) bool, True for padding; None if there is none.

    Example:
        >>> ct = np.full((8, 9, 10), -1000)
        >>> ct[3:6, 3:6, 3:6] = 40
        >>> ct[:, :2] = -3024
        >>> int(padding(ct).sum())
        160
        >>> padding(np.maximum(ct, -1024)) is None  # the least that the scanner stores is air
        True
    """
    values, shares = border_values(data if finite is None else np.where(finite, data, np.nan))
    return next((found for v in _candidates(values, shares) if (found := _padding_of(data, v)) is not None), None)


def _candidates(values: NDArray[Any], shares: Float64) -> list[float]:
    """What may be padding of the values on the border: what is less than air, then the most common but air."""
    constant = np.isfinite(values) & (shares >= _ON_BORDER)
    below = [float(value) for value in values[constant][:1] if value < _LEAST_HU]
    common = [float(values[n]) for n in np.argsort(-shares, kind="stable")[:3] if constant[n]]
    return [*below, *[value for value in common if not _LEAST_HU <= value <= _AIR_HU][:1]]


def _padding_of(data: NDArray[Any], value: float) -> Mask | None:
    """Where `data` is padding, if `value` is."""
    rest = data.reshape(-1)[:: max(1, data.size // _SAMPLES)]
    rest = rest[np.isfinite(rest) & (rest != value)].astype(np.float64)
    if rest.size < 2:
        return None
    low, high = np.percentile(rest, (1, 99))
    span = high - low
    if span <= 0:  # two values: a shape and what is around it
        return None
    if value < low:
        far = low - value > _FAR * span and np.mean(rest <= low + _DARK * span) > _BACKGROUND
        return np.asarray(data < (value + low) / 2) if far or value < _LEAST_HU <= low else None
    if value - low > _FAR * span and np.mean(rest <= low + _VERY_DARK * span) > _BACKGROUND:
        reached = _reached(np.asarray(data == value))
        return reached if np.mean(reached) > _PADDED else None
    return None


def _extreme(volume: Volume, thin: Float32) -> tuple[Mask | None, float]:
    """What is far brighter than the rest of the foreground, enough to steer, with its surroundings; and its share."""
    tissue = thin[foreground(thin)]
    if not tissue.size:
        return None, 0.0
    low, high = intensity_range(tissue, 0.5, 100.0)
    limit = low + _EXTREME * (high - low)
    extreme = float(np.mean(tissue > limit))
    if extreme < _STEERS:
        return None, extreme
    share = (volume.data > limit).astype(np.float32)[None]
    for _ in range(_RIM):
        share = window_mean(share, 1)
    return np.asarray(share[0] > _TOUCHED), extreme


def _reached(equal: Mask) -> Mask:
    """What of `equal` a straight line along an axis reaches from the border."""
    found = np.zeros_like(equal)
    for axis in range(3):
        for way in (slice(None), slice(None, None, -1)):
            lines = np.moveaxis(equal, axis, 0)[way]
            np.moveaxis(found, axis, 0)[way] |= np.logical_and.accumulate(lines, axis=0)
    return found


def _cuts(volume: Volume, thin: Float32) -> tuple[Mask | None, Mask]:
    """What is not beyond a plane that cuts the anatomy, None for everything; and (3, 2) which faces are closed."""
    closed, masked = np.zeros((3, 2), np.bool_), content(volume).masked
    value, _ = background_value(thin)
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
