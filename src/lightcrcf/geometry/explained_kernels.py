"""Kernels of the refinement across contrasts: how much of an image another one explains in each window, and the force.

In a window the moved image m is explained by 1, f and f^2 of the fixed one, so that any contrast of three tissues fits:
R^2 = c' S^-1 c / (var(m) + floor), c the covariances of m with f and f^2, S theirs with each other. A march through the
planes as in `refinement_kernels`; S is inverted once for all steps that share f and its weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.lanes import LANES, filled, larger, put_part, read, read_part, root, where_above
from lightcrcf.geometry.refinement_kernels import (
    BLOCK,
    HALF,
    MIN_SHARE,
    NO_LEVELS,
    NOTHING,
    TWO,
    along_line,
    box,
    copy_line,
    places,
    tiles_for,
    weigh,
)
from lightcrcf.geometry.sampling import ONE, ZERO

__all__ = ["explained_basis", "explained_force", "explained_terms", "locally_explained"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

BASIS, TERMS, FORCE = 0, 1, 2
RIDGE = np.float32(1e-4)  # on S, of images of unit range: more hurts
FLOOR = np.float32(1e-5)  # of a variance, so that flat windows count as unexplained


def explained_basis(fixed: Float32, weight: Float32 | None, radius: int, out: Float32) -> None:
    """What all steps share: the means of f and f^2 in each window, and one over the root of their covariance.

    Args:
        fixed: (D, H, W), zero outside.
        weight: (D, H, W) of the voxels in the statistics; all if None, and then those outside too.
        radius: voxels to each side.
        out: (5, D, H, W), overwritten: both means, and p, q, r with (p c1)^2 + (q c2 + r c1)^2 = c' S^-1 c.
    """
    w, masked = fixed if weight is None else weight, weight is not None
    _march(BASIS, out, fixed, fixed, w, masked, box(radius), NO_LEVELS, out, out, NOTHING, tiles_for(fixed))


def explained_terms(
    fixed: Float32,
    moved: Float32,
    weight: Float32 | None,
    basis: Float32,
    radius: int,
    out: Float32,
    noise: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float, float]:
    """The sums of s R^2 and of s, s(x) = var(f)^(1/2): R^2 where the fixed image has much to tell, as in correlation.

    No R^2 counts more than (1 - noise / var) of one image times that of the other, what it is where noise alone is not
    explained: windows that reach it exert no force.

    Args:
        fixed, moved: (D, H, W).
        weight, radius: as for `explained_basis`.
        basis: its result.
        out: (4, D, H, W), overwritten: for `explained_force`.
        noise: variances of the noise of the fixed and the moved image, each in its own squared units.

    Returns:
        The sum of s R^2, the sum of s, and the largest that the first one could be, as from `correlation_terms`.
    """
    sums, levels = np.zeros((3, *fixed.shape[1:]), np.float32), np.array(noise, np.float32)
    w, masked = fixed if weight is None else weight, weight is not None
    _march(TERMS, out, fixed, moved, w, masked, box(radius), levels, basis, out, sums, tiles_for(fixed))
    gained, counted, attainable = sums.sum(axis=(1, 2), dtype=np.float64)
    return float(gained), float(counted), float(attainable)


def explained_force(
    fixed: Float32, moved: Float32, weight: Float32 | None, terms: Float32, radius: int, out: Float32
) -> None:
    """out = d(sum of s R^2)/dm times the gradient of `moved`: where to pull each voxel to have more of m explained.

    Args:
        fixed, moved, weight, radius: as for `explained_terms`.
        terms: (4, D, H, W) of it.
        out: (3, D, H, W), overwritten.
    """
    w, masked = fixed if weight is None else weight, weight is not None
    _march(FORCE, terms, fixed, moved, w, masked, box(radius), NO_LEVELS, terms, out, NOTHING, tiles_for(fixed))


def locally_explained(fixed: Float32, moved: Float32, radius: int) -> Float32:
    """R^2 of `moved` by `fixed` in the cube of 2 * radius + 1 voxels about each voxel, in [0, 1].

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
def _march(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    taps: Array,
    levels: Array,
    basis: Array,
    out: Array,
    sums: Array,
    tiles: int,
) -> None:
    height = fixed.shape[1]
    for t in prange(tiles):
        first, end = np.int64(t) * height // tiles, (np.int64(t) + 1) * height // tiles
        _march_tile(mode, source, fixed, moved, weight, masked, taps, levels, basis, first, end - first, out, sums)


@device
def _march_tile(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    taps: Array,
    levels: Array,
    basis: Array,
    first: Any,
    rows: Any,
    out: Array,
    sums: Array,
) -> None:
    """Rows first : first + rows of all planes, as in `refinement_kernels`."""
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
                weigh(lines[c], along, taps[2], around, near[c], 0)
                weigh(near[c], across, taps[1], size, ring[c], p % window * plane)
        i = p - radius
        if i >= 0:
            places(i, depth, radius, False, plane, planes)
            for c in range(channels):
                weigh(ring[c], planes, taps[0], size, total[c], 0)
            for j in range(rows):
                y = first + j
                if mode == BASIS:
                    _basis_row(total, j * span, masked, radius, out[:, i, y])
                elif mode == TERMS:
                    _terms_row(total, j * span, masked, radius, levels, basis[:, i, y], out[:, i, y], sums[:, y])
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
    """Rows of plane p, and a radius more of them to each side; those outside of the image are left."""
    height, width = fixed.shape
    span = width + 2 * radius
    for n in range(rows + 2 * radius):
        j = first + n - radius
        if 0 <= j < height:
            begins = n * span + radius
            if mode == BASIS:
                _powers(fixed[j], weight[j], masked, lines, begins)
            elif mode == TERMS:
                _products(fixed[j], moved[j], weight[j], masked, lines, begins)
            else:
                for c in range(lines.shape[0]):
                    copy_line(source[c, p, j], 0, width, lines[c], begins)


@device
def _powers(fixed: Array, weight: Array, masked: bool, lines: Array, at: Any) -> None:
    """lines = f to f^4, each times the weight, and, if there is one, the weight; from `at` on."""
    for k in range(0, fixed.size, LANES):
        left, here = fixed.size - k, at + k
        f = read_part(fixed, k, left)
        w = read_part(weight, k, left) if masked else filled(ONE)
        wf, square = w * f, f * f
        put_part(wf, lines[0], here, left)
        put_part(w * square, lines[1], here, left)
        put_part(wf * square, lines[2], here, left)
        put_part(w * square * square, lines[3], here, left)
        if masked:
            put_part(w, lines[4], here, left)


@device
def _products(fixed: Array, moved: Array, weight: Array, masked: bool, lines: Array, at: Any) -> None:
    """lines = m, m m, f m, f f m, each times the weight, and, if there is one, the weight; from `at` on."""
    for k in range(0, fixed.size, LANES):
        left, here = fixed.size - k, at + k
        f, m = read_part(fixed, k, left), read_part(moved, k, left)
        w = read_part(weight, k, left) if masked else filled(ONE)
        wm = w * m
        wfm = f * wm
        put_part(wm, lines[0], here, left)
        put_part(wm * m, lines[1], here, left)
        put_part(wfm, lines[2], here, left)
        put_part(f * wfm, lines[3], here, left)
        if masked:
            put_part(w, lines[4], here, left)


@device
def _basis_row(total: Array, at: Any, masked: bool, radius: Any, out: Array) -> None:
    """out = the means of f and f^2, and p, q, r; the last three are 0 where too few voxels count."""
    voxels = np.float32((2 * radius + 1) ** 3)
    zero, one, ridge, least = filled(ZERO), filled(ONE), filled(RIDGE), filled(MIN_SHARE * voxels)
    for k in range(0, out.shape[1], LANES):
        left, here = out.shape[1] - k, at + k
        n = read(total[4], here) if masked else filled(voxels)
        by = where_above(n, least, one / n, zero)
        mean, square = by * read(total[0], here), by * read(total[1], here)
        s11 = larger(square - mean * mean, zero)
        s12 = by * read(total[2], here) - mean * square
        s22 = larger(by * read(total[3], here) - square * square, zero)
        p = one / root(s11 + ridge)
        lower = s12 * p
        q = one / root(larger(s22 - lower * lower, zero) + ridge)
        put_part(mean, out[0], k, left)
        put_part(square, out[1], k, left)
        put_part(where_above(n, least, p, zero), out[2], k, left)
        put_part(where_above(n, least, q, zero), out[3], k, left)
        put_part(where_above(n, least, zero - lower * p * q, zero), out[4], k, left)


@device
def _terms_row(
    total: Array, at: Any, masked: bool, radius: Any, levels: Array, basis: Array, out: Array, sums: Array
) -> None:
    """out = (P1, P2, Q, C): d(sum of s R^2)/dm(y) = w(y) (f sum P1 + f f sum P2 - m sum Q - sum C), windows with y."""
    voxels = np.float32((2 * radius + 1) ** 3)
    zero, one, two, least = filled(ZERO), filled(ONE), filled(TWO), filled(MIN_SHARE * voxels)
    floor, of_fixed, of_moved = filled(FLOOR), filled(levels[0]), filled(levels[1])
    for k in range(0, out.shape[1], LANES):
        left, here = out.shape[1] - k, at + k
        n = read(total[4], here) if masked else filled(voxels)
        by = where_above(n, least, one / n, zero)
        mean, square = read_part(basis[0], k, left), read_part(basis[1], k, left)
        p, q, r = read_part(basis[2], k, left), read_part(basis[3], k, left), read_part(basis[4], k, left)
        m = by * read(total[0], here)
        variance = larger(by * read(total[1], here) - m * m, zero)
        v = variance + floor
        c1, c2 = by * read(total[2], here) - m * mean, by * read(total[3], here) - m * square
        e1, e2 = p * c1, q * c2 + r * c1
        explained = (e1 * e1 + e2 * e2) / v
        spread = where_above(p, zero, larger(one / (p * p) - filled(RIDGE), zero), zero)
        worth, most = root(spread), larger(variance - of_moved, zero) / v
        most = where_above(spread, of_fixed, most * (spread - of_fixed) / spread, zero)
        pull = where_above(most, explained, two * worth * by / v, zero)
        gain = where_above(most, explained, explained, most)
        a1, a2 = p * e1 + r * e2, q * e2
        put_part(pull * a1, out[0], k, left)
        put_part(pull * a2, out[1], k, left)
        put_part(pull * explained, out[2], k, left)
        put_part(pull * (a1 * mean + a2 * square - explained * m), out[3], k, left)
        put_part(read_part(sums[0], k, left) + worth * gain, sums[0], k, left)
        put_part(read_part(sums[1], k, left) + worth, sums[1], k, left)
        put_part(read_part(sums[2], k, left) + worth * most, sums[2], k, left)


@device
def _force_row(
    total: Array, at: Any, fixed: Array, moved: Array, weight: Array, masked: bool, i: Any, j: Any, out: Array
) -> None:
    depth, height, width = moved.shape
    up, down = moved[max(i - 1, 0), j], moved[min(i + 1, depth - 1), j]
    before, after, line = moved[i, max(j - 1, 0)], moved[i, min(j + 1, height - 1)], moved[i, j]
    half = filled(HALF)
    for k in range(0, width, LANES):
        left, here = width - k, at + k
        f, m = read_part(fixed, k, left), read_part(line, k, left)
        g = f * (read(total[0], here) + f * read(total[1], here)) - m * read(total[2], here) - read(total[3], here)
        g = half * g
        if masked:
            g = g * read_part(weight, k, left)
        put_part(g * (read_part(down, k, left) - read_part(up, k, left)), out[0], k, left)
        put_part(g * (read_part(after, k, left) - read_part(before, k, left)), out[1], k, left)
        put_part(g, out[2], k, left)
    along_line(line, out[2])
