"""Kernels for mutual information: joint histograms under an affine, table interpolation, and sums for Fisher scoring.

As in `alignment_kernels`, sums are float64 per slab of planes and added in order, so that results do not depend on the
number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.alignment_kernels import images, threads_for
from lightcrcf.geometry.arrays import contiguous

__all__ = ["fisher_sums", "interpolate_table", "joint_histogram"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def joint_histogram(
    fixed: Float32,
    weight: Float32,
    moving: Float32,
    valid: Float32,
    matrix: Float64,
    blank_outside: bool,
    *,
    bins: int,
    top: float,
) -> Float64:
    """Return the joint histogram of fixed and moving under an affine, with linear (partial volume) binning.

    Args:
        fixed, weight, moving, valid, matrix, blank_outside: as for `alignment_kernels.normal_equations`.
        bins: number along each axis, 2 to 128; centres are evenly spaced from 0 to `top`, and values are clamped to
            that range.
        top: centre of the last bin.

    Returns:
        (bins, bins) float64, rows for fixed; its sum is that of the weights.

    Example:
        >>> one = np.ones((1, 1, 1), np.float32)
        >>> joint_histogram(one / 2, one, one, one, np.eye(3, 4), True, bins=2, top=1.0).tolist()
        [[0.0, 0.5], [0.0, 0.5]]
    """
    out = np.empty((bins, bins))
    volumes = images(fixed, weight, moving, valid)
    with threads_for(fixed.size):
        _core.joint_histogram(*volumes, contiguous(matrix, np.float64), blank_outside, top, out)
    return out


def fisher_sums(
    fixed: Float32,
    weight: Float32,
    moving: Float32,
    valid: Float32,
    matrix: Float64,
    blank_outside: bool,
    slopes: Float64,
    top: float,
) -> tuple[Float64, Float64]:
    """Return the sums of s G x and of their products for Fisher scoring; s is from a table, G x is dm/dmatrix.

    Args:
        fixed, weight, moving, valid, matrix, blank_outside: as for `alignment_kernels.normal_equations`.
        slopes: (bins, bins) float64, s at the bins of `joint_histogram`, linear between them.
        top: centre of the last bin.

    Returns:
        (12,) weighted sum of s G x, row-major over (3, 4), and (12, 12) weighted sum of s^2 G x (G x)^T.
    """
    sums = np.empty((15, 15))
    volumes, table = images(fixed, weight, moving, valid), contiguous(slopes, np.float64)
    with threads_for(fixed.size):
        _core.fisher_sums(*volumes, contiguous(matrix, np.float64), blank_outside, table, top, sums)
    return sums[:12, 13], sums[:12, :12]


def interpolate_table(image: Float32, table: Float64, top: float) -> Float32:
    """Return `table`, with entries evenly spaced from 0 to `top`, interpolated linearly at the values of an image.

    Example:
        >>> interpolate_table(np.array([[[-1, 0.25, 3]]], np.float32), np.array([4.0, 8.0]), 1.0).tolist()
        [[[4.0, 5.0, 8.0]]]
    """
    out = np.empty(image.shape, np.float32)
    with threads_for(image.size):
        _core.interpolate_table(contiguous(image).ravel(), contiguous(table, np.float64), top, out.reshape(-1))
    return out
