"""Kernels of the refinement: local correlation, its force, and Gaussian smoothing of vectors.

All three are separable windows, and share one compiled kernel: each tile of rows is a sliding window along the first
axis, with a ring buffer of earlier planes that fits the cache. Products and divisions are fused with its input and
output, without intermediate volumes. Results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_num_threads, prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.sampling import ONE, ZERO
from lightcrcf.geometry.simd import LANES, broadcast, load, load_masked, maximum, select_above, sqrt, store_masked
from lightcrcf.geometry.tiles import Tile, initialize, multiply_add, store_floats

__all__ = [
    "BLOCK",
    "HALF",
    "MIN_MASK_FRACTION",
    "NO_PARAMETERS",
    "NO_SUMS",
    "TWO",
    "box",
    "convolve_taps",
    "copy_line",
    "correlation_force",
    "correlation_terms",
    "gaussian_taps",
    "multiply_by_slope",
    "plane_offsets",
    "smooth",
    "tile_count",
]  # fmt: skip

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

MAX_ROWS = 96  # of a tile, so that its ring of planes fits the cache
TERMS, FORCE, SMOOTH = 0, 1, 2
NO_PARAMETERS = np.zeros(2, np.float32)
START, NO_SUMS = np.zeros(1, np.float32), np.zeros((3, 0, 0), np.float32)
TILE: Tile = (1, 4)  # enough independent sums to hide the latency
BLOCK = TILE[1] * LANES
_initialize, _multiply_add, _store = initialize(TILE), multiply_add(TILE), store_floats(TILE, 1)
HALF, TWO = np.float32(0.5), np.float32(2.0)
MIN_MASK_FRACTION = np.float32(0.2)  # of the voxels of a window that the mask must cover


def gaussian_taps(sigma_voxels: tuple[float, float, float]) -> Float32:
    """Return one half of sampled Gaussians along three axes, from the centre outwards; each whole one sums to 1.

    Returns:
        (3, R + 1) float32; cut at 2.6 of the largest sigma.

    Example:
        >>> gaussian_taps((0.5, 0.5, 0.0)).astype(float).round(3).tolist()
        [[0.787, 0.106, 0.0], [0.787, 0.106, 0.0], [1.0, 0.0, 0.0]]
    """
    sigma = np.maximum(np.asarray(sigma_voxels, dtype=np.float64), 1e-3)[:, None]
    taps = np.exp(-0.5 * (np.arange(int(np.ceil(2.6 * sigma.max())) + 1) / sigma) ** 2)
    return np.asarray(taps / (2 * taps.sum(axis=1) - taps[:, 0])[:, None], dtype=np.float32)


def correlation_terms(
    fixed: Float32,
    moved: Float32,
    weight: Float32 | None,
    radius: int,
    floor: float,
    out: Float32,
    noise: float = 0.0,
) -> tuple[float, float, float]:
    """Compute the weighted sum of s cc, squared local correlations, and the terms of its gradient.

    cc(x) = cov(f, m)^2 / (var(f) var(m) + floor) over the cube of 2 * radius + 1 voxels about x, s(x) = var(f)^(1/2);
    the images are zero outside, or missing there if there is a weight. Without s, noise in flat tissue would count as
    much as the edges of a structure.

    cc is limited to (var(f) - noise) var(m) / (var(f) var(m) + floor), its value for images that differ by noise only:
    windows that reach the limit exert no force.

    Args:
        fixed, moved: (D, H, W).
        weight: (D, H, W) of the voxels in the statistics; all if None.
        radius: voxels to each side.
        floor: makes flat windows uncorrelated.
        out: (3, D, H, W), overwritten: the terms for `correlation_force`.
        noise: variance of the difference of both images that is due to noise, in squared units of the fixed image.

    Returns:
        The sum of s cc, the sum of s, and the upper limit of the sum of s cc. The first divided by the second is a
        weighted mean of cc; the first divided by the third is 1 for images that differ by noise only.
    """
    sums, masked = np.zeros((3, *fixed.shape[1:]), np.float32), weight is not None
    w = fixed if weight is None else weight
    _sliding_window(
        TERMS,
        out,
        fixed,
        moved,
        w,
        masked,
        box(radius),
        np.array([floor, noise], np.float32),
        out,
        sums,
        tile_count(fixed),
    )
    gained, counted, attainable = sums.sum(axis=(1, 2), dtype=np.float64)
    return float(gained), float(counted), float(attainable)


def correlation_force(
    fixed: Float32, moved: Float32, weight: Float32 | None, terms: Float32, radius: int, out: Float32
) -> None:
    """Compute the force out = d(sum of s cc)/dm times the gradient of `moved`, which raises the local correlation.

    Args:
        fixed, moved, weight, radius: as for `correlation_terms`.
        terms: (3, D, H, W) from `correlation_terms`. With radius 0 and terms 1, -1, 0 the force is that of the mean
            squared error.
        out: (3, D, H, W), overwritten.
    """
    w, masked = fixed if weight is None else weight, weight is not None
    _sliding_window(FORCE, terms, fixed, moved, w, masked, box(radius), NO_PARAMETERS, out, NO_SUMS, tile_count(fixed))


def smooth(field: Float32, taps: Float32, out: Float32) -> None:
    """out = field (3, D, H, W) convolved with `gaussian_taps`; borders are replicated."""
    one = field[0]
    _sliding_window(
        SMOOTH, field, one, one, one, False, _mirror_taps(taps), NO_PARAMETERS, out, NO_SUMS, tile_count(one)
    )


def tile_count(image: Float32) -> int:
    """Return the number of tiles: one per thread, or more if they would exceed `MAX_ROWS` rows."""
    height = image.shape[1]
    return int(min(height, max(get_num_threads(), -(-height // MAX_ROWS))))


def box(radius: int) -> Float32:
    """Return the taps of a box window."""
    return np.ones((3, 2 * radius + 1), np.float32)


def _mirror_taps(taps: Float32) -> Float32:
    """Return both halves of `gaussian_taps`."""
    return np.concatenate([taps[:, :0:-1], taps], axis=1)


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
    out: Array,
    sums: Array,
    tiles: int,
) -> None:
    height = fixed.shape[1]
    for t in prange(tiles):
        first, end = np.int64(t) * height // tiles, (np.int64(t) + 1) * height // tiles
        _sliding_window_tile(
            mode, source, fixed, moved, weight, masked, taps, parameters, first, end - first, out, sums
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
    first: Any,
    rows: Any,
    out: Array,
    sums: Array,
) -> None:
    """Compute rows first : first + rows of all planes.

    Lines are padded by the radius on both sides and stored consecutively, so that each pass is one long loop. Its
    results between lines, and in the last block after them, are not used.
    """
    depth, width = fixed.shape[0], fixed.shape[2]
    radius, span = taps.shape[1] // 2, width + taps.shape[1] - 1
    window, channels, repeat = 2 * radius + 1, 3 if mode != TERMS else 6 if masked else 5, mode == SMOOTH
    size, around = rows * span, (rows + 2 * radius) * span
    plane = size + BLOCK
    lines = np.zeros((channels, around + window + BLOCK), np.float32)
    near = np.empty_like(lines)
    ring = np.empty((channels, (window + 1) * plane), np.float32)
    ring[:, window * plane :] = ZERO
    total = np.empty((6, plane), np.float32)
    along, across = np.arange(window), np.arange(0, window * span, span)
    planes = np.empty(window, np.int64)
    for p in range(depth + radius):
        if p < depth:
            fill_lines(mode, source, fixed[p], moved[p], weight[p], masked, p, first, rows, radius, lines)
            for c in range(channels):
                convolve_taps(lines[c], along, taps[2], around, near[c], 0)
                convolve_taps(near[c], across, taps[1], size, ring[c], p % window * plane)
        i = p - radius
        if i >= 0:
            plane_offsets(i, depth, radius, repeat, plane, planes)
            for c in range(channels):
                convolve_taps(ring[c], planes, taps[0], size, total[c], 0)
            for j in range(rows):
                y = first + j
                if mode == TERMS:
                    terms_row(total, j * span, masked, radius, parameters, out[:, i, y], sums[:, y])
                elif mode == FORCE:
                    force_row(total, j * span, fixed[i, y], moved, weight[i, y], masked, i, y, out[:, i, y])
                else:
                    for c in range(channels):
                        copy_line(total[c], j * span, width, out[c, i, y], 0)


@device
def fill_lines(
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
    """Load rows of plane p with a margin of `radius` rows; rows outside of the image are skipped, or replicated."""
    height, width = fixed.shape
    span = width + 2 * radius
    for n in range(rows + 2 * radius):
        j = min(max(first + n - radius, 0), height - 1)
        if mode == SMOOTH or j == first + n - radius:
            start = n * span + radius
            if mode == TERMS:
                moment_lines(fixed[j], moved[j], weight[j], masked, lines, start)
            else:
                for c in range(lines.shape[0]):
                    copy_line(source[c, p, j], 0, width, lines[c], start)
                    if mode == SMOOTH:
                        replicate_ends(lines[c], start, width, radius)


@device
def plane_offsets(centre: Any, size: Any, radius: Any, repeat: bool, plane: Any, at: Array) -> None:
    """Compute the ring offsets of the planes about `centre`; outside, of the border or, unless `repeat`, of the zeros.

    The ring stores plane p at index p % at.size; a plane of zeros follows.
    """
    for n in range(at.size):
        x = centre + n - radius
        inside = min(max(x, 0), size - 1)
        at[n] = plane * (at.size if x != inside and not repeat else inside % at.size)


@device
def convolve_taps(source: Array, at: Array, taps: Array, count: Any, out: Array, start: Any) -> None:
    """out[start + k] = sum of taps[n] source[at[n] + k], for `count` k and the rest of the last block."""
    for k in range(0, count, BLOCK):
        total = _initialize(START, 0)
        for n in range(at.size):
            total = _multiply_add(total, source, at[n] + k, taps, n)
        _store(total, out, start + k, 0)


@device
def copy_line(source: Array, at: Any, count: Any, out: Array, start: Any) -> None:
    """out[start : start + count] = source[at : at + count]."""
    for k in range(0, count, LANES):
        store_masked(load_masked(source, at + k, count - k), out, start + k, count - k)


@device
def replicate_ends(line: Array, at: Any, count: Any, radius: Any) -> None:
    """Replicate the ends of at : at + count to `radius` voxels on each side."""
    for n in range(radius):
        line[at - 1 - n] = line[at]
        line[at + count + n] = line[at + count - 1]


@device
def moment_lines(fixed: Array, moved: Array, weight: Array, masked: bool, lines: Array, at: Any) -> None:
    """lines = f, m, f f, m m, f m, each times the weight, and the weight if masked; from `at` on."""
    for k in range(0, fixed.size, LANES):
        left, here = fixed.size - k, at + k
        f, m = load_masked(fixed, k, left), load_masked(moved, k, left)
        w = load_masked(weight, k, left) if masked else broadcast(ONE)
        wf, wm = w * f, w * m
        store_masked(wf, lines[0], here, left)
        store_masked(wm, lines[1], here, left)
        store_masked(wf * f, lines[2], here, left)
        store_masked(wm * m, lines[3], here, left)
        store_masked(wf * m, lines[4], here, left)
        if masked:
            store_masked(w, lines[5], here, left)


@device
def terms_row(total: Array, at: Any, masked: bool, radius: Any, parameters: Array, out: Array, sums: Array) -> None:
    """out = (P, Q, R): d(sum of s cc)/dm(y) = w(y) (f(y) sum P + m(y) sum Q - sum R), sums over windows with y."""
    voxels = np.float32((2 * radius + 1) ** 3)
    zero, one, two, least = broadcast(ZERO), broadcast(ONE), broadcast(TWO), broadcast(MIN_MASK_FRACTION * voxels)
    floor, noise = broadcast(parameters[0]), broadcast(parameters[1])
    for k in range(0, out.shape[1], LANES):
        left, here = out.shape[1] - k, at + k
        n = load(total[5], here) if masked else broadcast(voxels)
        inverse_n = select_above(n, least, one / n, zero)
        f, m = inverse_n * load(total[0], here), inverse_n * load(total[1], here)
        vf = maximum(inverse_n * load(total[2], here) - f * f, zero)
        vm = maximum(inverse_n * load(total[3], here) - m * m, zero)
        c, v, s = inverse_n * load(total[4], here) - f * m, vf * vm + floor, sqrt(vf)
        r, limit = s * c / v, maximum(vf - noise, zero) * vm
        below, attainable = limit - c * c, s * limit / v
        p = select_above(below, zero, two * r * inverse_n, zero)
        q = select_above(below, zero, zero - two * r * c / v * vf * inverse_n, zero)
        gain = select_above(below, zero, c * r, attainable)
        store_masked(p, out[0], k, left)
        store_masked(q, out[1], k, left)
        store_masked(p * f + q * m, out[2], k, left)
        store_masked(load_masked(sums[0], k, left) + gain, sums[0], k, left)
        store_masked(load_masked(sums[1], k, left) + s, sums[1], k, left)
        store_masked(load_masked(sums[2], k, left) + attainable, sums[2], k, left)


@device
def force_row(
    total: Array, at: Any, fixed: Array, moved: Array, weight: Array, masked: bool, i: Any, j: Any, out: Array
) -> None:
    depth, height, width = moved.shape
    up, down = moved[max(i - 1, 0), j], moved[min(i + 1, depth - 1), j]
    before, after, line = moved[i, max(j - 1, 0)], moved[i, min(j + 1, height - 1)], moved[i, j]
    half = broadcast(HALF)
    for k in range(0, width, LANES):
        left, here = width - k, at + k
        f, m = load_masked(fixed, k, left), load_masked(line, k, left)
        g = half * (f * load(total[0], here) + m * load(total[1], here) - load(total[2], here))
        if masked:
            g = g * load_masked(weight, k, left)
        store_masked(g * (load_masked(down, k, left) - load_masked(up, k, left)), out[0], k, left)
        store_masked(g * (load_masked(after, k, left) - load_masked(before, k, left)), out[1], k, left)
        store_masked(g, out[2], k, left)
    multiply_by_slope(line, out[2])


@device
def multiply_by_slope(line: Array, out: Array) -> None:
    """Multiply out by the difference of the neighbours in `line`; by the one-sided difference at its ends."""
    last = line.size - 1
    out[0] *= line[min(1, last)] - line[0]
    for k in range(1, last, LANES):
        left = last - k
        slope = load_masked(line[2:], k - 1, left) - load_masked(line, k - 1, left)
        store_masked(load_masked(out, k, left) * slope, out, k, left)
    if last > 0:
        out[last] *= line[last] - line[last - 1]
