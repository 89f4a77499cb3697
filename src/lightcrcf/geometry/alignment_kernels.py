"""Kernels of the affine alignment: block means, normal equations and correlation sums, each in one pass.

Sums are float64 per plane (or per affine), and planes are added in order, so that results do not depend on the number
of threads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

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
from lightcrcf.geometry.threads import use_threads

__all__ = [
    "add_sample",
    "apply_validity",
    "block_mean",
    "correlation_sums",
    "downsample",
    "expand_row",
    "nonzero_range",
    "normal_equations",
    "threads_for",
]

Array = Any  # Numba's functions take its own array types
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

HALF = np.float32(0.5)
# Waking a thread takes as long as some ten thousand samples.
_VOXELS_PER_THREAD = 100_000


def block_mean(data: NDArray[Any], factors: tuple[int, int, int]) -> Float32:
    """Return means over blocks of `factors` voxels; incomplete blocks at the end average the voxels they have.

    Voxel c of the result lies at voxel c * factor + (factor - 1) / 2 of `data`.

    Args:
        data: (D, H, W) of any real type, in any memory order. Non-finite values count as zero.
        factors: voxels of a block along each axis, at least 1.

    Returns:
        (ceil(D / f0), ceil(H / f1), ceil(W / f2)) float32.

    Example:
        >>> block_mean(np.arange(8).reshape(1, 2, 4), (1, 2, 2)).tolist()
        [[[2.5, 4.5]]]
    """
    # The pass follows the memory order; float32 only needs one compiled kernel.
    copy = data.astype(np.float32, order="K", copy=False)
    order = np.argsort([-abs(s) for s in copy.strides], kind="stable")
    lines = np.ascontiguousarray(copy.transpose(order))
    with threads_for(data.size):
        means = _block_mean(lines, np.array(factors, dtype=np.int64)[order])
    return np.ascontiguousarray(means.transpose(np.argsort(order)))


def downsample(displacement: Float32, factors: tuple[int, int, int] = (2, 2, 2)) -> Float32:
    """Return a displacement on the grid of half the resolution: block means, in voxels of that grid.

    Args:
        displacement: (3, D, H, W) voxels of its grid.
        factors: 2, or 1 for an axis that keeps its voxels, as for `kernels.upsample`.

    Returns:
        (3, ceil(D / 2), ceil(H / 2), ceil(W / 2)) float32; an axis with factor 1 keeps its size.

    Example:
        >>> fine = np.zeros((3, 1, 1, 4), np.float32)
        >>> fine[2, 0, 0] = [2, 3, 5, 6]
        >>> downsample(fine, (1, 1, 2))[2].ravel().tolist()
        [1.25, 2.75]
    """
    return np.stack([block_mean(u, factors) / np.float32(f) for u, f in zip(displacement, factors, strict=True)])


def normal_equations(
    fixed: Float32, weight: Float32, moving: Float32, valid: Float32, matrix: Float64, blank_outside: bool
) -> Float64:
    """Return the Gram matrix (normal equations) for a Gauss-Newton step on an affine.

    Its columns are [dm/dmatrix (12, row-major), m, 1, f]. Its rows are the fixed voxels x, with q = matrix @ [x, 1],
    f = fixed(x), m = moving(q) (trilinear), and the weight weight(x) * valid(q) (nearest voxel).

    Args:
        fixed, weight: (D, H, W) float32.
        moving, valid: (d, h, w) float32.
        matrix: (3, 4) float64, fixed voxels to moving voxels.
        blank_outside: whether voxels outside the moving grid count as zero, or are excluded.

    Returns:
        (15, 15) float64, symmetric.
    """
    with threads_for(fixed.size):
        planes = _normal_equation_planes(fixed, weight, moving, valid, np.ascontiguousarray(matrix), blank_outside)
    upper = np.triu(planes.sum(axis=0))
    return np.asarray(upper + np.triu(upper, 1).T)


def correlation_sums(
    fixed: Float32, weight: Float32, moving: Float32, valid: Float32, matrices: Float64, blank_outside: bool
) -> Float64:
    """Return the sums for the correlation of fixed and moving under each of many affines.

    Args:
        fixed, weight, moving, valid, blank_outside: as for `normal_equations`.
        matrices: (n, 3, 4) float64, fixed voxels to moving voxels.

    Returns:
        (n, 6) float64: weighted sums of m m, m, m f, 1, f and f f.
    """
    with threads_for(fixed.size * len(matrices)):
        return np.asarray(
            _correlation_sums(fixed, weight, moving, valid, np.ascontiguousarray(matrices), blank_outside)
        )


def threads_for(voxels: int) -> AbstractContextManager[int]:
    """Limit threads by the amount of work: on a busy machine each one adds latency."""
    return use_threads(min(numba.get_num_threads(), max(1, voxels // _VOXELS_PER_THREAD)))


@kernel
def _block_mean(data: Array, factors: Array) -> Array:
    d, h, w = data.shape
    f0, f1, f2 = factors[0], factors[1], factors[2]
    out = np.empty(((d + f0 - 1) // f0, (h + f1 - 1) // f1, (w + f2 - 1) // f2), np.float32)
    for a in prange(out.shape[0]):
        sums = np.zeros((out.shape[1], out.shape[2]))
        last = min(a * f0 + f0, d)
        for i in range(a * f0, last):
            for j in range(h):
                add_blocks(data[i, j], f2, sums[j // f1])
        for b in range(out.shape[1]):
            rows = (last - a * f0) * (min(b * f1 + f1, h) - b * f1)
            for c in range(out.shape[2]):
                out[a, b, c] = sums[b, c] / (rows * (min(c * f2 + f2, w) - c * f2))
    return out


@device
def add_blocks(line: Array, factor: Any, sums: Array) -> None:
    """Add the finite values of each `factor` voxels of a line to the sum of their block."""
    for c in range(sums.size):
        total = sums[c]
        for k in range(c * factor, min(c * factor + factor, line.size)):
            total += line[k] if np.isfinite(line[k]) else ZERO
        sums[c] = total


@device
def apply_validity(valid: Array, points: Array, blank_outside: bool, weight: Array) -> None:
    """Multiply weight[k] by valid (D, H, W) at the voxel nearest to points[:, k]; outside by 0.

    With `blank_outside`, weights outside are unchanged.
    """
    d, h, w = valid.shape
    for k in range(weight.size):
        x, y, z = points[0, k], points[1, k], points[2, k]
        if is_inside(valid.shape, x, y, z):
            weight[k] *= valid[min(int(x + HALF), d - 1), min(int(y + HALF), h - 1), min(int(z + HALF), w - 1)]
        elif not blank_outside:
            weight[k] = ZERO


@device
def nonzero_range(weight: Array) -> Any:
    """Return the first and one past the last index of nonzero weight."""
    first, last = 0, weight.size
    while first < last and weight[first] == ZERO:
        first += 1
    while last > first and weight[last - 1] == ZERO:
        last -= 1
    return first, last


@kernel
def _normal_equation_planes(
    fixed: Array, weight: Array, moving: Array, valid: Array, matrix: Array, blank_outside: bool
) -> Array:
    d, h, w = fixed.shape
    stack = moving.reshape(1, moving.shape[0], moving.shape[1], moving.shape[2])
    out = np.zeros((d, 15, 15))
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
                if weights[k] > ZERO:
                    x, y, z = points[0, k], points[1, k], points[2, k]
                    sample[:] = 0.0
                    if is_inside(moving.shape, x, y, z):
                        trilinear_cell(stack, float(x), float(y), float(z), sample)
                    add_sample(float(weights[k]), float(fixed[i, j, k]), sample[0], float(k), row)
            expand_row(row, float(i), float(j), out[i])
    return out


@device
def add_sample(weight: float, f: float, sample: Array, k: float, row: Array) -> None:
    """Add products of m, 1 and f (6), of G with m, 1, f and k^(0, 1) (18), and of G with G and k^(0, 1, 2) (18)."""
    m = sample[0]
    row[0] += weight * m * m
    row[1] += weight * m
    row[2] += weight * m * f
    row[3] += weight
    row[4] += weight * f
    row[5] += weight * f * f
    at = 24
    for a in range(3):
        g = weight * sample[a + 1]
        row[6 + 6 * a] += g * m
        row[7 + 6 * a] += g * m * k
        row[8 + 6 * a] += g
        row[9 + 6 * a] += g * k
        row[10 + 6 * a] += g * f
        row[11 + 6 * a] += g * f * k
        for b in range(a, 3):
            gg = g * sample[b + 1]
            row[at] += gg
            row[at + 1] += gg * k
            row[at + 2] += gg * k * k
            at += 3


@device
def expand_row(row: Array, i: float, j: float, out: Array) -> None:
    """Expand the sums of a row into the upper triangle of the Gram matrix: dm/dmatrix[a, p] = G[a] * x[p]."""
    at = 0
    for p in range(12, 15):
        for q in range(p, 15):
            out[p, q] += row[at]
            at += 1
    for a in range(3):
        for column in range(12, 15):
            out[4 * a, column] += row[at] * i
            out[4 * a + 1, column] += row[at] * j
            out[4 * a + 2, column] += row[at + 1]
            out[4 * a + 3, column] += row[at]
            at += 2
    for a in range(3):
        for b in range(a, 3):
            s0, s1, s2 = row[at], row[at + 1], row[at + 2]
            at += 3
            x = (i * s0, j * s0, s1, s0)
            for p in range(4):
                out[4 * a, 4 * b + p] += i * x[p]
                out[4 * a + 1, 4 * b + p] += j * x[p]
                out[4 * a + 3, 4 * b + p] += x[p]
            out[4 * a + 2, 4 * b] += i * s1
            out[4 * a + 2, 4 * b + 1] += j * s1
            out[4 * a + 2, 4 * b + 2] += s2
            out[4 * a + 2, 4 * b + 3] += s1


@kernel
def _correlation_sums(
    fixed: Array, weight: Array, moving: Array, valid: Array, matrices: Array, blank_outside: bool
) -> Array:
    d, h, w = fixed.shape
    out = np.zeros((matrices.shape[0], 6))
    for n in prange(matrices.shape[0]):
        points, fraction = np.empty((3, w), np.float32), np.empty((3, w), np.float32)
        corner, values, weights = np.empty(w, np.int64), np.empty(w, np.float32), np.empty(w, np.float32)
        for i in range(d):
            for j in range(h):
                first, last = nonzero_range(weight[i, j])
                if first == last:
                    continue
                weights[:] = weight[i, j]
                affine_row(matrices[n], i, j, points)
                apply_validity(valid, points, blank_outside, weights)
                cell_row(moving.shape, points, corner, fraction)
                trilinear_row(moving, corner, fraction, values)
                fill_outside(moving.shape, points, ZERO, values)
                for k in range(first, last):
                    s, m, f = float(weights[k]), float(values[k]), float(fixed[i, j, k])
                    out[n, 0] += s * m * m
                    out[n, 1] += s * m
                    out[n, 2] += s * m * f
                    out[n, 3] += s
                    out[n, 4] += s * f
                    out[n, 5] += s * f * f
    return out
