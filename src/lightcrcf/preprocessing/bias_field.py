"""Smooth multiplicative gain between two images, which models the ratio of their bias fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["smooth_gain"]

Float32 = NDArray[np.float32]

_MIN_VOXELS, _MAX_VOXELS = 300, 20_000  # voxels
_MAX_GAIN = np.float32(2.5)  # a larger gain is no bias field but another contrast or misalignment
_EPSILON = 0.05  # about the darkest foreground, so that noise there has little weight


def smooth_gain(
    fixed: Float32,
    moved: Float32,
    places: NDArray[np.integer[Any]],
    everywhere: NDArray[np.integer[Any]] | None = None,
) -> Float32:
    """Estimate the smooth gain by which `moved` best matches `fixed`.

    Its logarithm is a second-order polynomial of the coordinates, fitted by least squares. It corrects neither inverted
    contrast nor misaligned anatomy.

    Args:
        fixed, moved: (N,) intensities of about unit range.
        places: (N, 3) voxel indices of the intensities.
        everywhere: (M, 3) voxel indices of the result; `places` if None. Outside of their bounding box it is constant.

    Example:
        >>> places = np.argwhere(np.ones((9, 8, 7), bool))
        >>> fixed = 0.5 + 0.3 * np.sin(np.arange(len(places), dtype=np.float32))
        >>> darker = (fixed * np.exp(-0.1 * places[:, 1])).astype(np.float32)
        >>> bool(np.corrcoef(fixed, darker)[0, 1] < 0.9)
        True
        >>> bool(np.corrcoef(fixed, darker * smooth_gain(fixed, darker, places))[0, 1] > 0.99)
        True
    """
    wanted = places if everywhere is None else everywhere
    if len(places) < _MIN_VOXELS:
        return np.ones(len(wanted), np.float32)
    low, high = places.min(axis=0), places.max(axis=0)
    step = 1 + len(places) // _MAX_VOXELS
    f, m = (np.log(np.maximum(values[::step], 0) + _EPSILON) for values in (fixed, moved))
    terms = _second_order(places[::step], low, high).astype(np.float64)
    weights = np.linalg.pinv(terms.T @ terms, hermitian=True) @ (terms.T @ (f - m))
    factor = np.exp(_second_order(wanted, low, high) @ weights.astype(np.float32))
    return np.asarray(np.clip(factor, 1 / _MAX_GAIN, _MAX_GAIN), np.float32)


def _second_order(places: NDArray[np.integer[Any]], low: NDArray[Any], high: NDArray[Any]) -> Float32:
    """Return the (N, 10) terms of a second-order polynomial in coordinates scaled to -1 at `low` and 1 at `high`."""
    unit = (2 * places - (low + high)) / np.maximum(high - low, 1)
    x, y, z = np.clip(unit, -1, 1).T.astype(np.float32)
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], axis=1)
