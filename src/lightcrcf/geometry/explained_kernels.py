"""Kernels of the refinement across contrasts: the local coefficient of determination R^2, and its force.

In each window the moved image m is regressed on 1, f and f^2 of the fixed image, which fits any contrast of three
tissues: R^2 = c' S^-1 c / (var(m) + floor), with c the covariances of m with f and f^2, and S the covariance matrix of
f and f^2. A sliding window as in `refinement_kernels`; S is inverted once for all steps with the same f and weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.refinement_kernels import (
    BLOCK,
    HALF,
    MIN_MASK_FRACTION,
    NO_PARAMETERS,
    NO_SUMS,
    TWO,
    box,
    convolve_taps,
    copy_line,
    multiply_by_slope,
    plane_offsets,
    tile_count,
)
from lightcrcf.geometry.sampling import ONE, ZERO
from lightcrcf.geometry.simd import LANES, broadcast, load, load_masked, maximum, select_above, sqrt, store_masked

__all__ = ["explained_basis", "explained_force", "explained_terms", "locally_explained"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

BASIS, TERMS, FORCE = 0, 1, 2
RIDGE = np.float32(1e-4)  # on the diagonal of S, for images of unit range; larger values were worse
FLOOR = np.float32(1e-5)  # added to variances, so that flat windows count as unexplained


def explained_basis(fixed: Float32, weight: Float32 | None, radius: int, out: Float32) -> None:
    """Compute what all steps share: local means of f and f^2, and the inverse Cholesky factor of their covariance.

    Args:
        fixed: (D, H, W), zero outside.
        weight: (D, H, W) of the voxels in the statistics; None counts all voxels, and zeros outside.
        radius: voxels to each side.
        out: (5, D, H, W), overwritten: both means, and p, q, r with (p c1)^2 + (q c2 + r c1)^2 = c' S^-1 c.
    """
    w, masked = fixed if weight is None else weight, weight is not None
    _sliding_window(
        BASIS, out, fixed, fixed, w, masked, box(radius), NO_PARAMETERS, out, out, NO_SUMS, tile_count(fixed)
    )


def explained_terms(
    fixed: Float32,
    moved: Float32,
    weight: Float32 | None,
    basis: Float32,
    radius: int,
    out: Float32,
    noise: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float, float]:
    """Compute the sums of s R^2 and of s, with s(x) = var(f)^(1/2) as in `correlation_terms`, and gradient terms.

    R^2 is limited to (1 - noise / var) of one image times that of the other, its value if only noise is unexplained:
    windows that reach the limit exert no force.

    Args:
        fixed, moved: (D, H, W).
        weight, radius: as for `explained_basis`.
        basis: (5, D, H, W) from `explained_basis`.
        out: (4, D, H, W), overwritten: the terms for `explained_force`.
        noise: variances of the noise of the fixed and the moved image, each in its own squared units.

    Returns:
        The sum of s R^2, the sum of s, and the upper limit of the sum of s R^2, as from `correlation_terms`.
    """
    sums, parameters = np.zeros((3, *fixed.shape[1:]), np.float32), np.array(noise, np.float32)
    w, masked = fixed if weight is None else weight, weight is not None
    _sliding_window(TERMS, out, fixed, moved, w, masked, box(radius), parameters, basis, out, sums, tile_count(fixed))
    gained, counted, attainable = sums.sum(axis=(1, 2), dtype=np.float64)
    return float(gained), float(counted), float(attainable)


def explained_force(
    fixed: Float32, moved: Float32, weight: Float32 | None, terms: Float32, radius: int, out: Float32
) -> None:
    """Compute the force out = d(sum of s R^2)/dm times the gradient of `moved`, which raises R^2.

    Args:
        fixed, moved, weight, radius: as for `explained_terms`.
        terms: (4, D, H, W) from `explained_terms`.
        out: (3, D, H, W), overwritten.
    """
    w, masked = fixed if weight is None else weight, weight is not None
    _sliding_window(
        FORCE, terms, fixed, moved, w, masked, box(radius), NO_PARAMETERS, terms, out, NO_SUMS, tile_count(fixed)
    )


def locally_explained(fixed: Float32, moved: Float32, radius: int) -> Float32:
    """Return R^2 of `moved` given `fixed` in the cube of 2 * radius + 1 voxels about each voxel, in [0, 1].

    Args:
        fixed, moved: (D, H, W), zero outside.
        radius: voxels to each side.

    Returns:
        (D, H, W) float32.

    Example:
        >>> image = np.random.default_rng(0).random((5, 6, 7), dtype=np.float32)
        >>> locally_explained(image, (image - 0.5) ** 2, 1)[2, 3, 3:5].round(1).tolist()
        [1.0, 1.0]
    """
    basis = np.empty((5, *fixed.shape), np.float32)
    explained_basis(fixed, None, radius, basis)
    mean, square, p, q, r = basis
    products = fixed * moved
    m, mm, fm, ffm = window_mean(np.stack([moved, moved * moved, products, fixed * products]), radius)
    first, second = fm - m * mean, ffm - m * square
    gained = (p * first) ** 2 + (q * second + r * first) ** 2
    return np.asarray(gained / (np.maximum(mm - m * m, 0) + FLOOR), np.float32)


@kernel
def _sliding_window(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    taps: Array,
    parameters: Array,
    basis: Array,
    out: Array,
    sums: Array,
    tiles: int,
) -> None:
    height = fixed.shape[1]
    for t in prange(tiles):
        first, end = np.int64(t) * height // tiles, (np.int64(t) + 1) * height // tiles
        _sliding_window_tile(
            mode, source, fixed, moved, weight, masked, taps, parameters, basis, first, end - first, out, sums
        )


@device
def _sliding_window_tile(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    taps: Array,
    parameters: Array,
    basis: Array,
    first: Any,
    rows: Any,
    out: Array,
    sums: Array,
) -> None:
    """Compute rows first : first + rows of all planes, as in `refinement_kernels`."""
    depth, width = fixed.shape[0], fixed.shape[2]
    radius, span = taps.shape[1] // 2, width + taps.shape[1] - 1
    window, channels = 2 * radius + 1, 5 if masked and mode != FORCE else 4
    size, around = rows * span, (rows + 2 * radius) * span
    plane = size + BLOCK
    lines = np.zeros((channels, around + window + BLOCK), np.float32)
    near = np.empty_like(lines)
    ring = np.empty((channels, (window + 1) * plane), np.float32)
    ring[:, window * plane :] = ZERO
    total = np.empty((5, plane), np.float32)
    along, across = np.arange(window), np.arange(0, window * span, span)
    planes = np.empty(window, np.int64)
    for p in range(depth + radius):
        if p < depth:
            _fill_lines(mode, source, fixed[p], moved[p], weight[p], masked, p, first, rows, radius, lines)
            for c in range(channels):
                convolve_taps(lines[c], along, taps[2], around, near[c], 0)
                convolve_taps(near[c], across, taps[1], size, ring[c], p % window * plane)
        i = p - radius
        if i >= 0:
            plane_offsets(i, depth, radius, False, plane, planes)
            for c in range(channels):
                convolve_taps(ring[c], planes, taps[0], size, total[c], 0)
            for j in range(rows):
                y = first + j
                if mode == BASIS:
                    _basis_row(total, j * span, masked, radius, out[:, i, y])
                elif mode == TERMS:
                    _terms_row(total, j * span, masked, radius, parameters, basis[:, i, y], out[:, i, y], sums[:, y])
                else:
                    _force_row(total, j * span, fixed[i, y], moved, weight[i, y], masked, i, y, out[:, i, y])


@device
def _fill_lines(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    p: Any,
    first: Any,
    rows: Any,
    radius: Any,
    lines: Array,
) -> None:
    """Load rows of plane p with a margin of `radius` rows; rows outside of the image are skipped."""
    height, width = fixed.shape
    span = width + 2 * radius
    for n in range(rows + 2 * radius):
        j = first + n - radius
        if 0 <= j < height:
            start = n * span + radius
            if mode == BASIS:
                _powers(fixed[j], weight[j], masked, lines, start)
            elif mode == TERMS:
                _products(fixed[j], moved[j], weight[j], masked, lines, start)
            else:
                for c in range(lines.shape[0]):
                    copy_line(source[c, p, j], 0, width, lines[c], start)


@device
def _powers(fixed: Array, weight: Array, masked: bool, lines: Array, at: Any) -> None:
    """lines = f to f^4, each times the weight, and the weight if masked; from `at` on."""
    for k in range(0, fixed.size, LANES):
        left, here = fixed.size - k, at + k
        f = load_masked(fixed, k, left)
        w = load_masked(weight, k, left) if masked else broadcast(ONE)
        wf, square = w * f, f * f
        store_masked(wf, lines[0], here, left)
        store_masked(w * square, lines[1], here, left)
        store_masked(wf * square, lines[2], here, left)
        store_masked(w * square * square, lines[3], here, left)
        if masked:
            store_masked(w, lines[4], here, left)


@device
def _products(fixed: Array, moved: Array, weight: Array, masked: bool, lines: Array, at: Any) -> None:
    """lines = m, m m, f m, f f m, each times the weight, and the weight if masked; from `at` on."""
    for k in range(0, fixed.size, LANES):
        left, here = fixed.size - k, at + k
        f, m = load_masked(fixed, k, left), load_masked(moved, k, left)
        w = load_masked(weight, k, left) if masked else broadcast(ONE)
        wm = w * m
        wfm = f * wm
        store_masked(wm, lines[0], here, left)
        store_masked(wm * m, lines[1], here, left)
        store_masked(wfm, lines[2], here, left)
        store_masked(f * wfm, lines[3], here, left)
        if masked:
            store_masked(w, lines[4], here, left)


@device
def _basis_row(total: Array, at: Any, masked: bool, radius: Any, out: Array) -> None:
    """out = means of f and f^2, and p, q, r; the last three are 0 where the mask covers too few voxels."""
    voxels = np.float32((2 * radius + 1) ** 3)
    zero, one, ridge, least = broadcast(ZERO), broadcast(ONE), broadcast(RIDGE), broadcast(MIN_MASK_FRACTION * voxels)
    for k in range(0, out.shape[1], LANES):
        left, here = out.shape[1] - k, at + k
        n = load(total[4], here) if masked else broadcast(voxels)
        inverse_n = select_above(n, least, one / n, zero)
        mean, square = inverse_n * load(total[0], here), inverse_n * load(total[1], here)
        s11 = maximum(square - mean * mean, zero)
        s12 = inverse_n * load(total[2], here) - mean * square
        s22 = maximum(inverse_n * load(total[3], here) - square * square, zero)
        p = one / sqrt(s11 + ridge)
        lower = s12 * p
        q = one / sqrt(maximum(s22 - lower * lower, zero) + ridge)
        store_masked(mean, out[0], k, left)
        store_masked(square, out[1], k, left)
        store_masked(select_above(n, least, p, zero), out[2], k, left)
        store_masked(select_above(n, least, q, zero), out[3], k, left)
        store_masked(select_above(n, least, zero - lower * p * q, zero), out[4], k, left)


@device
def _terms_row(
    total: Array, at: Any, masked: bool, radius: Any, parameters: Array, basis: Array, out: Array, sums: Array
) -> None:
    """out = (P1, P2, Q, C): d(sum of s R^2)/dm(y) = w(y) (f sum P1 + f f sum P2 - m sum Q - sum C), windows with y."""
    voxels = np.float32((2 * radius + 1) ** 3)
    zero, one, two, least = broadcast(ZERO), broadcast(ONE), broadcast(TWO), broadcast(MIN_MASK_FRACTION * voxels)
    floor, of_fixed, of_moved = broadcast(FLOOR), broadcast(parameters[0]), broadcast(parameters[1])
    for k in range(0, out.shape[1], LANES):
        left, here = out.shape[1] - k, at + k
        n = load(total[4], here) if masked else broadcast(voxels)
        inverse_n = select_above(n, least, one / n, zero)
        mean, square = load_masked(basis[0], k, left), load_masked(basis[1], k, left)
        p, q, r = load_masked(basis[2], k, left), load_masked(basis[3], k, left), load_masked(basis[4], k, left)
        m = inverse_n * load(total[0], here)
        variance = maximum(inverse_n * load(total[1], here) - m * m, zero)
        v = variance + floor
        c1, c2 = inverse_n * load(total[2], here) - m * mean, inverse_n * load(total[3], here) - m * square
        e1, e2 = p * c1, q * c2 + r * c1
        explained = (e1 * e1 + e2 * e2) / v
        spread = select_above(p, zero, maximum(one / (p * p) - broadcast(RIDGE), zero), zero)
        s, limit = sqrt(spread), maximum(variance - of_moved, zero) / v
        limit = select_above(spread, of_fixed, limit * (spread - of_fixed) / spread, zero)
        pull = select_above(limit, explained, two * s * inverse_n / v, zero)
        gain = select_above(limit, explained, explained, limit)
        a1, a2 = p * e1 + r * e2, q * e2
        store_masked(pull * a1, out[0], k, left)
        store_masked(pull * a2, out[1], k, left)
        store_masked(pull * explained, out[2], k, left)
        store_masked(pull * (a1 * mean + a2 * square - explained * m), out[3], k, left)
        store_masked(load_masked(sums[0], k, left) + s * gain, sums[0], k, left)
        store_masked(load_masked(sums[1], k, left) + s, sums[1], k, left)
        store_masked(load_masked(sums[2], k, left) + s * limit, sums[2], k, left)


@device
def _force_row(
    total: Array, at: Any, fixed: Array, moved: Array, weight: Array, masked: bool, i: Any, j: Any, out: Array
) -> None:
    depth, height, width = moved.shape
    up, down = moved[max(i - 1, 0), j], moved[min(i + 1, depth - 1), j]
    before, after, line = moved[i, max(j - 1, 0)], moved[i, min(j + 1, height - 1)], moved[i, j]
    half = broadcast(HALF)
    for k in range(0, width, LANES):
        left, here = width - k, at + k
        f, m = load_masked(fixed, k, left), load_masked(line, k, left)
        g = f * (load(total[0], here) + f * load(total[1], here)) - m * load(total[2], here) - load(total[3], here)
        g = half * g
        if masked:
            g = g * load_masked(weight, k, left)
        store_masked(g * (load_masked(down, k, left) - load_masked(up, k, left)), out[0], k, left)
        store_masked(g * (load_masked(after, k, left) - load_masked(before, k, left)), out[1], k, left)
        store_masked(g, out[2], k, left)
    multiply_by_slope(line, out[2])
