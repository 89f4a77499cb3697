"""The smooth factor between two images: a scanner's bias field is no difference of anatomy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["smooth_gain"]

Float32 = NDArray[np.float32]

_FEWEST, _MOST = 300, 20_000  # voxels
_STRONGEST = np.float32(2.5)  # more is no bias field but another contrast or size
_DARK = 0.05  # as much as the darkest foreground, so that noise there does not decide


def smooth_gain(
    fixed: Float32,
    moved: Float32,
    places: NDArray[np.integer[Any]],
    everywhere: NDArray[np.integer[Any]] | None = None,
) -> Float32:
    """Return the smooth factor that brings `moved` closest to `fixed`: a scanner's bias field is no other contrast.

    Its logarithm is a polynomial of second order in the coordinates, by least squares. Where bright and dark are
    exchanged, or one anatomy lies on another, no such factor helps.

    Args:
        fixed, moved: (N,) intensities of about unit range.
        places: (N, 3) voxels they come from.
        everywhere: (M, 3) voxels where the factor is wanted; `places` if None. Beyond them it stays as at their edge.

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
    if len(places) < _FEWEST:
        return np.ones(len(wanted), np.float32)
    low, high = places.min(axis=0), places.max(axis=0)
    step = 1 + len(places) // _MOST
    f, m = (np.log(np.maximum(values[::step], 0) + _DARK) for values in (fixed, moved))
    terms = _second_order(places[::step], low, high).astype(np.float64)
    weights = np.linalg.pinv(terms.T @ terms, hermitian=True) @ (terms.T @ (f - m))
    factor = np.exp(_second_order(wanted, low, high) @ weights.astype(np.float32))
    return np.asarray(np.clip(factor, 1 / _STRONGEST, _STRONGEST), np.float32)


def _second_order(places: NDArray[np.integer[Any]], low: NDArray[Any], high: NDArray[Any]) -> Float32:
    """Return the (N, 10) terms of a polynomial in coordinates that run from -1 at `low` to 1 at `high`."""
    unit = (2 * places - (low + high)) / np.maximum(high - low, 1)
    x, y, z = np.clip(unit, -1, 1).T.astype(np.float32)
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], axis=1)
