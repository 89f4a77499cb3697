"""Kernels for mutual information: joint histograms under an affine, table interpolation, and sums for Fisher scoring.

As in `alignment_kernels`, sums are float64 per plane and added in order, so that results do not depend on the number of
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import add_sample, apply_validity, expand_row, nonzero_range, threads_for
from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.sampling import (
    ZERO,
    affine_row,
    cell_row,
    fill_outside,
    is_inside,
    trilinear_cell,
    trilinear_row,
)

__all__ = ["fisher_sums", "interpolate_table", "joint_histogram"]

Array = Any  # Numba's functions take its own array types
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
        bins: number along each axis; centres are evenly spaced from 0 to `top`, and values are clamped to that range.
        top: centre of the last bin.

    Returns:
        (bins, bins) float64, rows for fixed; its sum is that of the weights.

    Example:
        >>> one = np.ones((1, 1, 1), np.float32)
        >>> joint_histogram(one / 2, one, one, one, np.eye(3, 4), True, bins=2, top=1.0).tolist()
        [[0.0, 0.5], [0.0, 0.5]]
    """
    with threads_for(fixed.size):
        matrix = np.ascontiguousarray(matrix)
        planes = _histogram_planes(fixed, weight, moving, valid, matrix, blank_outside, bins, float(top))
    return np.asarray(planes.sum(axis=0))


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
    with threads_for(fixed.size):
        matrix = np.ascontiguousarray(matrix)
        planes = _slope_planes(fixed, weight, moving, valid, matrix, blank_outside, slopes, float(top))
    upper = np.triu(planes.sum(axis=0))
    sums = upper + np.triu(upper, 1).T
    return sums[:12, 13], sums[:12, :12]


def interpolate_table(image: Float32, table: Float64, top: float) -> Float32:
    """Return `table`, with entries evenly spaced from 0 to `top`, interpolated linearly at the values of an image.

    Example:
        >>> interpolate_table(np.array([[[-1, 0.25, 3]]], np.float32), np.array([4.0, 8.0]), 1.0).tolist()
        [[[4.0, 5.0, 8.0]]]
    """
    with threads_for(image.size):
        return np.asarray(_interpolate_table(image.ravel(), table, float(top))).reshape(image.shape)


@device
def bin_of(value: float, scale: float, bins: int) -> Any:
    """Return the bin below a value, and the fraction to the next one."""
    at = min(max(value * scale, 0.0), bins - 1.0)
    below = min(int(at), bins - 2)
    return below, at - below


@kernel
def _interpolate_table(values: Array, table: Array, top: float) -> Array:
    out = np.empty(values.size, np.float32)
    scale = (table.size - 1) / top
    for n in prange(values.size):
        below, part = bin_of(float(values[n]), scale, table.size)
        out[n] = (1 - part) * table[below] + part * table[below + 1]
    return out


@kernel
def _histogram_planes(
    fixed: Array, weight: Array, moving: Array, valid: Array, matrix: Array, blank_outside: bool, bins: int, top: float
) -> Array:
    d, h, w = fixed.shape
    out = np.zeros((d, bins, bins))
    scale = (bins - 1) / top
    for i in prange(d):
        points, fraction = np.empty((3, w), np.float32), np.empty((3, w), np.float32)
        corner, values, weights = np.empty(w, np.int64), np.empty(w, np.float32), np.empty(w, np.float32)
        for j in range(h):
            first, last = nonzero_range(weight[i, j])
            if first == last:
                continue
            weights[:] = weight[i, j]
            affine_row(matrix, i, j, points)
            apply_validity(valid, points, blank_outside, weights)
            cell_row(moving.shape, points, corner, fraction)
            trilinear_row(moving, corner, fraction, values)
            fill_outside(moving.shape, points, ZERO, values)
            for k in range(first, last):
                if weights[k] > ZERO:
                    add_to_bins(float(weights[k]), float(fixed[i, j, k]), float(values[k]), scale, out[i])
    return out


@device
def add_to_bins(weight: float, f: float, m: float, scale: float, table: Array) -> None:
    """Add a sample to the four bins around it."""
    a, s = bin_of(f, scale, table.shape[0])
    b, t = bin_of(m, scale, table.shape[1])
    table[a, b] += weight * (1 - s) * (1 - t)
    table[a, b + 1] += weight * (1 - s) * t
    table[a + 1, b] += weight * s * (1 - t)
    table[a + 1, b + 1] += weight * s * t


@device
def interpolate_bins(table: Array, f: float, m: float, scale: float) -> Any:
    """Return the table interpolated between the four bins around a sample."""
    a, s = bin_of(f, scale, table.shape[0])
    b, t = bin_of(m, scale, table.shape[1])
    near = (1 - t) * table[a, b] + t * table[a, b + 1]
    far = (1 - t) * table[a + 1, b] + t * table[a + 1, b + 1]
    return (1 - s) * near + s * far


@kernel
def _slope_planes(
    fixed: Array,
    weight: Array,
    moving: Array,
    valid: Array,
    matrix: Array,
    blank_outside: bool,
    slopes: Array,
    top: float,
) -> Array:
    d, h, w = fixed.shape
    stack = moving.reshape(1, moving.shape[0], moving.shape[1], moving.shape[2])
    out = np.zeros((d, 15, 15))
    scale = (slopes.shape[0] - 1) / top
    for i in prange(d):
        points, weights = np.empty((3, w), np.float32), np.empty(w, np.float32)
        row, sample = np.empty(42), np.zeros((1, 4))
        for j in range(h):
            first, last = nonzero_range(weight[i, j])
            if first == last:
                continue
            weights[:] = weight[i, j]
            row[:] = 0.0
            affine_row(matrix, i, j, points)
            apply_validity(valid, points, blank_outside, weights)
            for k in range(first, last):
                x, y, z = points[0, k], points[1, k], points[2, k]
                if weights[k] > ZERO and is_inside(moving.shape, x, y, z):
                    sample[:] = 0.0
                    trilinear_cell(stack, float(x), float(y), float(z), sample)
                    slope = interpolate_bins(slopes, float(fixed[i, j, k]), sample[0, 0], scale)
                    for a in range(1, 4):
                        sample[0, a] *= slope
                    add_sample(float(weights[k]), 0.0, sample[0], float(k), row)
            expand_row(row, float(i), float(j), out[i])
    return out
