"""Similarity of two images on one grid: local and global correlation, intensity quantiles, overlap of foregrounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.explained_kernels import locally_explained
from lightcrcf.geometry.gradients import squared_local_correlation

__all__ = [
    "containment", "correlation", "local_correlation", "local_explained_variance", "overlap", "quantile_distance"
]  # fmt: skip

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_WINDOW_RADIUS = 2
_EPSILON = 1e-5  # added to the variances of a window


def local_correlation(fixed: Float32, moved: Float32, mask: Mask) -> float:
    """Return the mean over `mask` of the squared local correlation in windows of 5x5x5 voxels, in [0, 1].

    Args:
        fixed, moved: (D, H, W), intensities of about unit range.
        mask: (D, H, W), voxels that are averaged; the result is 0 if there are none.
    """
    if not mask.any():
        return 0.0
    squared = squared_local_correlation(fixed, moved, _WINDOW_RADIUS, _EPSILON, mask)
    return float(np.mean(squared, dtype=np.float64))


def local_explained_variance(fixed: Float32, moved: Float32, mask: Mask) -> float:
    """Return the mean over `mask` of the fraction of the variance of `moved` that `fixed` explains, in [0, 1].

    The counterpart of `local_correlation` for images of two contrasts, in the same windows.
    """
    return float(locally_explained(fixed, moved, _WINDOW_RADIUS)[mask].mean()) if mask.any() else 0.0


def correlation(fixed: Float32, moved: Float32) -> float:
    """Return the correlation of (N,) intensities, in [-1, 1]; 0 for none or for constant ones."""
    if not fixed.size:
        return 0.0
    f, m = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (fixed, moved))
    # Not `f @ m`: BLAS sums in as many parts as it has threads, so that the last digits would depend on the process.
    ff, mm, fm = (float((a * b).sum()) for a, b in ((f, f), (m, m), (f, m)))
    size = float(np.sqrt(ff * mm))
    return fm / size if size > 0 else 0.0


def quantile_distance(fixed: Float32, moved: Float32) -> float:
    """Return the mean difference of 19 quantiles of two samples, in their own unit; 1 for empty ones.

    It approximates the Wasserstein-1 distance.

    Example:
        >>> round(quantile_distance(np.arange(9, dtype=np.float32), np.arange(9, dtype=np.float32) + 2), 6)
        2.0
    """
    if not fixed.size:
        return 1.0
    percents = np.linspace(5, 95, 19)
    return float(np.mean(np.abs(np.percentile(fixed, percents) - np.percentile(moved, percents))))


def overlap(fixed: Mask, moved: Mask) -> float:
    """Return the Dice overlap of two masks; 0 if both are empty."""
    total = int(fixed.sum()) + int(moved.sum())
    return 2.0 * int((fixed & moved).sum()) / total if total else 0.0


def containment(fixed: Mask, moved: Mask) -> float:
    """Return the fraction of the smaller mask that lies in the larger one; 0 if one is empty."""
    smaller = min(int(fixed.sum()), int(moved.sum()))
    return int((fixed & moved).sum()) / smaller if smaller else 0.0
