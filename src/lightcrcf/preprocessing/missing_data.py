"""Where an image holds what was measured, and what to put where it does not: NaN and padding stand for no data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.preprocessing.foreground import border_values, foreground, lowest
from lightcrcf.volumes.volume import Volume

__all__ = ["background", "filled", "found_measured", "holds", "measured", "padding", "put"]

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Padding: a constant on at least this share of the border, so far from what is usual among the other voxels (in terms
# of their range from the 1st to the 99th percentile), beside a background of their own that makes up a share of them.
_ON_BORDER, _FAR, _BACKGROUND = 0.02, 0.4, 0.1
_DARK, _VERY_DARK = 0.15, 0.05  # how far up their range that background reaches
_BESIDE = 0.3  # of the voxels beside padding are of that background: around a masked brain lies what is no darkest
_LEAST_HU, _AIR_HU = -1100.0, -900.0  # no tissue has less; between them lies air, and the -1024 that scanners store
_LARGEST = 1e36  # farther from 0 nothing was measured: what others write for "missing" (9.97e36, 3.4e38), and infinity
_SAMPLES = 200_000  # voxels whose percentiles tell
_PADDED = 0.005  # of all voxels at least, where the same value occurs in tissue too
_AIR_ON_BORDER = 0.05  # of the border's voxels tell the background's value
_NEAR_LEAST = 0.35  # of the way from the least value to the tissue's median: what is no brighter is empty


def filled(volume: Volume, fill: float | Literal["auto"] = "auto") -> tuple[Volume, float]:
    """An image with a value where it has no data (NaN, infinity, padding).

    Args:
        volume: an image, not a label map.
        fill: the value; "auto" for that of the image's background.

    Returns:
        the volume, as `put` gives it, and the value.

    Raises:
        InputError: if no voxel has data.
    """
    known = measured(volume)
    value = background(volume, known) if fill == "auto" else fill
    return put(volume, known, value), value


def measured(volume: Volume) -> Mask | None:
    """Where an image has data: (D, H, W) bool, False for NaN, infinity and padding; None if all voxels have.

    Raises:
        InputError: if no voxel has data.
    """
    return found_measured(volume)[0]


def found_measured(volume: Volume) -> tuple[Mask | None, dict[str, int]]:
    """As `measured`; and how many voxels have no data, by what made them so."""
    known = _finite(volume.data)
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


def _finite(data: NDArray[Any]) -> Mask | None:
    """Where a number is one that can have been measured; None for everywhere."""
    if data.dtype.kind in "iub" or -_LARGEST < data.min() <= data.max() < _LARGEST:
        return None
    return np.asarray((data > -_LARGEST) & (data < _LARGEST))


def put(volume: Volume, known: Mask | None, value: float) -> Volume:
    """An image with a value where it is not known.

    Args:
        volume: an image.
        known: (D, H, W) bool; None where all is known.
        value: for the other voxels.

    Returns:
        the same object where all is known; in float32 where the type of the image cannot hold the value.
    """
    if known is None:
        return volume
    dtype = volume.data.dtype if holds(volume.data.dtype, value) else np.dtype(np.float32)
    return replace(volume, data=np.where(known, volume.data.astype(dtype, copy=False), np.asarray(value).astype(dtype)))


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether numbers of this type can be `value`, to the digits that they have.

    Example:
        >>> [holds(np.dtype(t), -1000.0) for t in (np.uint8, np.int16, np.float32)]
        [False, True, True]
    """
    if dtype.kind not in "iub":
        return True
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low <= value <= high and float(value).is_integer()


def background(volume: Volume, known: Mask | None = None) -> float:
    """The value of an image's own background: of air in CT, of what surrounds a brain.

    Args:
        volume: an image.
        known: (D, H, W), the voxels that have data; None for all that are finite.

    Returns:
        the median of what is dark on the border, or else anywhere, a whole number for images of integers. Without any
        the smallest value, or 0 where the border has no data and values have both signs, as in statistical maps.
    """
    some = tuple(slice(None, None, max(1, n // 64)) for n in volume.data.shape)
    thin = volume.data[some] if known is None else np.where(known[some], volume.data[some], np.nan)
    if not np.isfinite(thin).any():  # a few voxels, between those
        return lowest(volume.data if known is None else volume.data[known])
    value = _background(thin)
    return value if volume.data.dtype.kind == "f" else float(np.rint(value))


def _background(thin: NDArray[Any]) -> float:
    """The value of the background of a small image that is NaN where it has no data."""
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
        finite: (D, H, W), False where it is NaN, infinite or the like; None if it is finite.

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
    data = data if finite is None else np.where(finite, data, np.nan)
    values, shares = border_values(data)
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
        dark = low + _DARK * span
        far = low - value > _FAR * span and np.mean(rest <= dark) > _BACKGROUND
        far = far and np.mean(data[_beside(data == value)] <= dark) > _BESIDE
        return np.asarray(data < (value + low) / 2) if far or value < _LEAST_HU <= low else None
    if value - low > _FAR * span and np.mean(rest <= low + _VERY_DARK * span) > _BACKGROUND:
        reached = _reached(np.asarray(data == value))
        return reached if np.mean(reached) > _PADDED else None
    return None


def _beside(equal: Mask) -> Mask:
    """The voxels that share a face with one of `equal`, and are none."""
    near = np.zeros_like(equal)
    for axis in range(3):
        lines, found = np.moveaxis(equal, axis, 0), np.moveaxis(near, axis, 0)
        found[1:] |= lines[:-1]
        found[:-1] |= lines[1:]
    return near & ~equal


def _reached(equal: Mask) -> Mask:
    """What of `equal` a straight line along an axis reaches from the border."""
    found = np.zeros_like(equal)
    for axis in range(3):
        for way in (slice(None), slice(None, None, -1)):
            lines = np.moveaxis(equal, axis, 0)[way]
            np.moveaxis(found, axis, 0)[way] |= np.logical_and.accumulate(lines, axis=0)
    return found
