"""Missing data of an image (NaN, infinity, padding), and the background value that replaces it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.preprocessing.foreground import border_values, foreground, robust_minimum
from lightcrcf.volumes.volume import Volume

__all__ = [
    "can_hold",
    "estimate_background",
    "fill_missing",
    "fill_unknown",
    "find_measured",
    "find_padding",
    "measured_mask",
]

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Padding: a constant on at least this fraction of the border, at this distance from the other voxels (in units of their
# range from the 1st to the 99th percentile), if at least this fraction of them is background.
_MIN_BORDER_FRACTION, _MIN_DISTANCE, _MIN_BACKGROUND = 0.02, 0.4, 0.1
_DARK_RANGE, _VERY_DARK_RANGE = 0.15, 0.05  # upper end of that background, in units of the range
_MIN_ADJACENT_BACKGROUND = 0.3  # of the voxels next to padding; around a masked brain they are tissue
_MIN_HU, _AIR_HU = -1100.0, -900.0  # no tissue is below the first; air lies between, with the -1024 that scanners store
_MAX_MAGNITUDE = 1e36  # larger values mean missing data (9.97e36, 3.4e38, infinity)
_SAMPLES = 200_000  # for percentiles
_MIN_PADDING_FRACTION = 0.005  # of all voxels, if tissue may have the same value
_MIN_BORDER_AIR = 0.05  # of the border's voxels, to take the background's value from the border
_EMPTY_RANGE = 0.35  # upper end of empty voxels, in units of the range from the minimum to the tissue's median


def fill_missing(volume: Volume, fill: float | Literal["auto"] = "auto") -> tuple[Volume, float]:
    """Replace missing data (NaN, infinity, padding) by a value.

    Args:
        volume: an image, not a label map.
        fill: the value; "auto" for the image's background.

    Returns:
        The volume, as from `fill_unknown`, and the value.

    Raises:
        InputError: if no voxel has data.
    """
    known = measured_mask(volume)
    value = estimate_background(volume, known) if fill == "auto" else fill
    return fill_unknown(volume, known, value), value


def measured_mask(volume: Volume) -> Mask | None:
    """Return a (D, H, W) bool mask, False for NaN, infinity and padding; None if there are none.

    Raises:
        InputError: if no voxel has data.
    """
    return find_measured(volume)[0]


def find_measured(volume: Volume) -> tuple[Mask | None, dict[str, int]]:
    """Return the mask of `measured_mask`, and the number of voxels without data for each reason."""
    known = _finite_mask(volume.data)
    if known is not None and not known.any():
        raise InputError(
            volume.source, expected="an image", got="NaN or infinity in every voxel", remedy="check the file"
        )
    reasons = {} if known is None else {"not finite": int(known.size - np.count_nonzero(known))}
    padded = find_padding(volume.data, known)
    if padded is not None:
        reasons["padding"] = int(np.count_nonzero(padded))
        known = ~padded if known is None else known & ~padded
    return known, reasons


def _finite_mask(data: NDArray[Any]) -> Mask | None:
    """Return the mask of finite values of plausible magnitude; None for everywhere."""
    if data.dtype.kind in "iub" or -_MAX_MAGNITUDE < data.min() <= data.max() < _MAX_MAGNITUDE:
        return None
    return np.asarray((data > -_MAX_MAGNITUDE) & (data < _MAX_MAGNITUDE))


def fill_unknown(volume: Volume, known: Mask | None, value: float) -> Volume:
    """Replace unknown voxels by a value.

    Args:
        volume: an image.
        known: (D, H, W) bool; None if all voxels are known.
        value: for the unknown voxels.

    Returns:
        The volume, the same object if all voxels are known; in float32 if its dtype cannot hold the value.
    """
    if known is None:
        return volume
    dtype = volume.data.dtype if can_hold(volume.data.dtype, value) else np.dtype(np.float32)
    return replace(volume, data=np.where(known, volume.data.astype(dtype, copy=False), np.asarray(value).astype(dtype)))


def can_hold(dtype: np.dtype[Any], value: float) -> bool:
    """Return whether a dtype can hold `value` to its precision.

    Example:
        >>> [can_hold(np.dtype(t), -1000.0) for t in (np.uint8, np.int16, np.float32)]
        [False, True, True]
    """
    if dtype.kind not in "iub":
        return True
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low <= value <= high and float(value).is_integer()


def estimate_background(volume: Volume, known: Mask | None = None) -> float:
    """Estimate the background intensity of an image: air in CT, the surroundings of a brain.

    Args:
        volume: an image.
        known: (D, H, W) bool; None for all finite voxels.

    Returns:
        The median of the dark voxels on the border, or else anywhere; an integer for integer images. Without any, the
        minimum, or 0 if the border has no data and values have both signs, as in statistical maps.
    """
    some = tuple(slice(None, None, max(1, n // 64)) for n in volume.data.shape)
    thin = volume.data[some] if known is None else np.where(known[some], volume.data[some], np.nan)
    if not np.isfinite(thin).any():  # a few voxels, between those
        return robust_minimum(volume.data if known is None else volume.data[known])
    value = _estimate_background(thin)
    return value if volume.data.dtype.kind == "f" else float(np.rint(value))


def _estimate_background(thin: NDArray[Any]) -> float:
    """Estimate the background of a subsampled image, with NaN for missing data."""
    finite = np.isfinite(thin)
    least, most = robust_minimum(thin), float(thin[finite].max())
    bright = foreground(np.where(finite, thin, least))  # unknown as the darkest: 0 may be bright
    empty = finite & ~bright & (thin <= least + _EMPTY_RANGE * (np.median(thin[bright]) - least if bright.any() else 0))
    faces = np.zeros(thin.shape, np.bool_)
    for axis in range(3):
        np.moveaxis(faces, axis, 0)[[0, -1]] = True
    if np.count_nonzero(empty & faces) > _MIN_BORDER_AIR * np.count_nonzero(faces):
        return float(np.median(thin[empty & faces]))
    dark, bright_end = np.percentile(thin[finite], (100 * _MIN_BACKGROUND, 99))
    if empty.any() and (not least < 0 < most or dark - least < _DARK_RANGE * (bright_end - least)):
        return float(np.median(thin[empty]))
    return 0.0 if least < 0 < most and not finite[faces].all() else least


def find_padding(data: NDArray[Any], finite: Mask | None = None) -> Mask | None:
    """Find padding: a constant at the border, far from all other intensities, for voxels without data.

    Args:
        data: (D, H, W).
        finite: (D, H, W) bool, False for NaN and infinity; None if all voxels are finite.

    Returns:
        (D, H, W) bool, True for padding; None if there is none.

    Example:
        >>> ct = np.full((8, 9, 10), -1000)
        >>> ct[3:6, 3:6, 3:6] = 40
        >>> ct[:, :2] = -3024
        >>> int(find_padding(ct).sum())
        160
        >>> find_padding(np.maximum(ct, -1024)) is None  # the least that the scanner stores is air
        True
    """
    data = data if finite is None else np.where(finite, data, np.nan)
    values, fractions = border_values(data)
    return next((found for v in _candidates(values, fractions) if (found := _padding_of(data, v)) is not None), None)


def _candidates(values: NDArray[Any], fractions: Float64) -> list[float]:
    """List border values that may be padding: a minimum below air, then the most frequent one that is not air."""
    constant = np.isfinite(values) & (fractions >= _MIN_BORDER_FRACTION)
    below = [float(value) for value in values[constant][:1] if value < _MIN_HU]
    common = [float(values[n]) for n in np.argsort(-fractions, kind="stable")[:3] if constant[n]]
    return [*below, *[value for value in common if not _MIN_HU <= value <= _AIR_HU][:1]]


def _padding_of(data: NDArray[Any], value: float) -> Mask | None:
    """Return the mask of padding if `value` is padding, else None."""
    rest = data.reshape(-1)[:: max(1, data.size // _SAMPLES)]
    rest = rest[np.isfinite(rest) & (rest != value)].astype(np.float64)
    if rest.size < 2:
        return None
    low, high = np.percentile(rest, (1, 99))
    span = high - low
    if span <= 0:  # two values: a shape and what is around it
        return None
    if value < low:
        dark = low + _DARK_RANGE * span
        far = low - value > _MIN_DISTANCE * span and np.mean(rest <= dark) > _MIN_BACKGROUND
        far = far and np.mean(data[_face_neighbours(data == value)] <= dark) > _MIN_ADJACENT_BACKGROUND
        return np.asarray(data < (value + low) / 2) if far or value < _MIN_HU <= low else None
    if value - low > _MIN_DISTANCE * span and np.mean(rest <= low + _VERY_DARK_RANGE * span) > _MIN_BACKGROUND:
        reached = _reachable_from_border(np.asarray(data == value))
        return reached if np.mean(reached) > _MIN_PADDING_FRACTION else None
    return None


def _face_neighbours(equal: Mask) -> Mask:
    """Return the voxels outside of `equal` that share a face with it."""
    near = np.zeros_like(equal)
    for axis in range(3):
        lines, found = np.moveaxis(equal, axis, 0), np.moveaxis(near, axis, 0)
        found[1:] |= lines[:-1]
        found[:-1] |= lines[1:]
    return near & ~equal


def _reachable_from_border(equal: Mask) -> Mask:
    """Return the voxels of `equal` connected to the border by a straight line along an axis."""
    found = np.zeros_like(equal)
    for axis in range(3):
        for way in (slice(None), slice(None, None, -1)):
            lines = np.moveaxis(equal, axis, 0)[way]
            np.moveaxis(found, axis, 0)[way] |= np.logical_and.accumulate(lines, axis=0)
    return found
