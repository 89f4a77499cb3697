"""Kernels of the refinement: local correlation, its force, and Gaussian smoothing of vectors.

All three are separable windows, so they are one compiled kernel: it takes tiles of some rows, marches through the
planes, and keeps what the window needs of earlier planes in a ring that fits the processor's cache. Products and
divisions happen on the way in and out; nothing of full size is written in between. Every voxel is computed on its
own, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_num_threads, prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.lanes import LANES, filled, larger, put_part, read, read_part, root, where_above
from lightcrcf.geometry.sampling import ONE, ZERO
from lightcrcf.geometry.tiles import Tile, add, begin, put_floats

__all__ = [
    "BLOCK", "HALF", "MIN_SHARE", "NOTHING", "NO_LEVELS", "TWO", "along_line", "box", "copy_line", "correlation_force",
    "correlation_terms", "gaussian_taps", "places", "smooth", "tiles_for", "weigh",
]  # fmt: skip

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

MOST_ROWS = 96  # of a tile, so that the planes it keeps stay in cache
TERMS, FORCE, SMOOTH = 0, 1, 2
NO_LEVELS = np.zeros(2, np.float32)
START, NOTHING = np.zeros(1, np.float32), np.zeros((3, 0, 0), np.float32)
TILE: Tile = (1, 4)  # as many sums at once as hide how long one takes
BLOCK = TILE[1] * LANES
_begin, _add, _put = begin(TILE), add(TILE), put_floats(TILE, 1)
HALF, TWO = np.float32(0.5), np.float32(2.0)
MIN_SHARE = np.float32(0.2)  # of a window's voxels that must count


def gaussian_taps(sigma_voxels: tuple[float, float, float]) -> Float32:
    """One half of the sampled Gaussians along the three axes, from the centre outwards; each whole one sums to 1.

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
    """The sum of s cc, squared local correlations where the fixed image has much to tell, and what its gradient needs.

    cc(x) = cov(f, m)^2 / (var(f) var(m) + floor) over the cube of 2 * radius + 1 voxels about x, s(x) = var(f)^(1/2);
    the images are zero outside, or have no voxels there if there is a weight. Without s, noise in flat tissue would
    count as much as the edges of a structure.

    No cc counts more than (var(f) - noise) var(m) / (var(f) var(m) + floor), what it is where the images differ by
    noise alone: windows that reach it exert no force.

    Args:
        fixed, moved: (D, H, W).
        weight: (D, H, W) of the voxels in the statistics; all if None.
        radius: voxels to each side.
        floor: so that flat windows count as uncorrelated.
        out: (3, D, H, W), overwritten: for `correlation_force`.
        noise: variance of what noise makes of the difference of both images, in the fixed image's squared units.

    Returns:
        The sum of s cc, the sum of s, and the largest that the first one could be: the first by the second is a
        weighted mean of cc, by the third 1 where nothing but noise differs.
    """
    sums, masked = np.zeros((3, *fixed.shape[1:]), np.float32), weight is not None
    w = fixed if weight is None else weight
    _march(
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
        tiles_for(fixed),
    )
    gained, counted, attainable = sums.sum(axis=(1, 2), dtype=np.float64)
    return float(gained), float(counted), float(attainable)


def correlation_force(
    fixed: Float32, moved: Float32, weight: Float32 | None, terms: Float32, radius: int, out: Float32
) -> None:
    """out = d(sum of s cc)/dm times the gradient of `moved`: where to pull each voxel to raise the local correlation.

    Args:
        fixed, moved, weight, radius: as for `correlation_terms`.
        terms: (3, D, H, W) of `correlation_terms`. With radius 0 and terms 1, -1, 0 the force is that of the
            mean squared error instead.
        out: (3, D, H, W), overwritten.
    """
    w, masked = fixed if weight is None else weight, weight is not None
    _march(FORCE, terms, fixed, moved, w, masked, box(radius), NO_LEVELS, out, NOTHING, tiles_for(fixed))


def smooth(field: Float32, taps: Float32, out: Float32) -> None:
    """out = field (3, D, H, W) weighed by `gaussian_taps`; beyond a border it repeats."""
    one = field[0]
    _march(SMOOTH, field, one, one, one, False, _both_sides(taps), NO_LEVELS, out, NOTHING, tiles_for(one))


def tiles_for(image: Float32) -> int:
    """One for each thread, or more where they would be too long."""
    height = image.shape[1]
    return int(min(height, max(get_num_threads(), -(-height // MOST_ROWS))))


def box(radius: int) -> Float32:
    """The taps of a window whose voxels all count the same."""
    return np.ones((3, 2 * radius + 1), np.float32)


def _both_sides(taps: Float32) -> Float32:
    """The whole of what `gaussian_taps` gives a half of."""
    return np.concatenate([taps[:, :0:-1], taps], axis=1)


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
    out: Array,
    sums: Array,
    tiles: int,
) -> None:
    height = fixed.shape[1]
    for t in prange(tiles):
        first, end = np.int64(t) * height // tiles, (np.int64(t) + 1) * height // tiles
        _march_tile(mode, source, fixed, moved, weight, masked, taps, levels, first, end - first, out, sums)


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
    first: Any,
    rows: Any,
    out: Array,
    sums: Array,
) -> None:
    """Rows first : first + rows of all planes.

    Lines are padded by the radius on both sides and lie one after the other, so that each pass is one long loop. What
    it computes between the lines, and in the last block behind them, is never looked at.
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
                weigh(lines[c], along, taps[2], around, near[c], 0)
                weigh(near[c], across, taps[1], size, ring[c], p % window * plane)
        i = p - radius
        if i >= 0:
            places(i, depth, radius, repeat, plane, planes)
            for c in range(channels):
                weigh(ring[c], planes, taps[0], size, total[c], 0)
            for j in range(rows):
                y = first + j
                if mode == TERMS:
                    terms_row(total, j * span, masked, radius, levels, out[:, i, y], sums[:, y])
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
    """Rows of plane p, and a radius more of them to each side; those outside of the image are left, or repeat."""
    height, width = fixed.shape
    span = width + 2 * radius
    for n in range(rows + 2 * radius):
        j = min(max(first + n - radius, 0), height - 1)
        if mode == SMOOTH or j == first + n - radius:
            begins = n * span + radius
            if mode == TERMS:
                product_lines(fixed[j], moved[j], weight[j], masked, lines, begins)
            else:
                for c in range(lines.shape[0]):
                    copy_line(source[c, p, j], 0, width, lines[c], begins)
                    if mode == SMOOTH:
                        repeat_ends(lines[c], begins, width, radius)


@device
def places(centre: Any, size: Any, radius: Any, repeat: bool, plane: Any, at: Array) -> None:
    """Where the planes about `centre` begin in the ring; those outside at the border or, unless `repeat`, in the zeros.

    The ring holds plane p as its p % at.size-th; zeros follow.
    """
    for n in range(at.size):
        x = centre + n - radius
        inside = min(max(x, 0), size - 1)
        at[n] = plane * (at.size if x != inside and not repeat else inside % at.size)


@device
def weigh(source: Array, at: Array, taps: Array, count: Any, out: Array, start: Any) -> None:
    """out[start + k] = the sum of taps[n] source[at[n] + k], for `count` k and what is left of the last block."""
    for k in range(0, count, BLOCK):
        total = _begin(START, 0)
        for n in range(at.size):
            total = _add(total, source, at[n] + k, taps, n)
        _put(total, out, start + k, 0)


@device
def copy_line(source: Array, at: Any, count: Any, out: Array, start: Any) -> None:
    """out[start : start + count] = source[at : at + count]."""
    for k in range(0, count, LANES):
        put_part(read_part(source, at + k, count - k), out, start + k, count - k)


@device
def repeat_ends(line: Array, at: Any, count: Any, radius: Any) -> None:
    """What lies beyond at : at + count, `radius` to each side, becomes what is at the ends."""
    for n in range(radius):
        line[at - 1 - n] = line[at]
        line[at + count + n] = line[at + count - 1]


@device
def product_lines(fixed: Array, moved: Array, weight: Array, masked: bool, lines: Array, at: Any) -> None:
    """lines = f, m, f f, m m, f m, each times the weight, and, if there is one, the weight; from `at` on."""
    for k in range(0, fixed.size, LANES):
        left, here = fixed.size - k, at + k
        f, m = read_part(fixed, k, left), read_part(moved, k, left)
        w = read_part(weight, k, left) if masked else filled(ONE)
        wf, wm = w * f, w * m
        put_part(wf, lines[0], here, left)
        put_part(wm, lines[1], here, left)
        put_part(wf * f, lines[2], here, left)
        put_part(wm * m, lines[3], here, left)
        put_part(wf * m, lines[4], here, left)
        if masked:
            put_part(w, lines[5], here, left)


@device
def terms_row(total: Array, at: Any, masked: bool, radius: Any, levels: Array, out: Array, sums: Array) -> None:
    """out = (P, Q, R) with d(sum of s cc)/dm(y) = w(y) (f(y) sum P + m(y) sum Q - sum R), sums over windows with y."""
    voxels = np.float32((2 * radius + 1) ** 3)
    zero, one, two, least = filled(ZERO), filled(ONE), filled(TWO), filled(MIN_SHARE * voxels)
    floor, noise = filled(levels[0]), filled(levels[1])
    for k in range(0, out.shape[1], LANES):
        left, here = out.shape[1] - k, at + k
        n = read(total[5], here) if masked else filled(voxels)
        by = where_above(n, least, one / n, zero)
        f, m = by * read(total[0], here), by * read(total[1], here)
        vf = larger(by * read(total[2], here) - f * f, zero)
        vm = larger(by * read(total[3], here) - m * m, zero)
        c, v, worth = by * read(total[4], here) - f * m, vf * vm + floor, root(vf)
        r, most = worth * c / v, larger(vf - noise, zero) * vm
        below, attainable = most - c * c, worth * most / v
        p = where_above(below, zero, two * r * by, zero)
        q = where_above(below, zero, zero - two * r * c / v * vf * by, zero)
        gain = where_above(below, zero, c * r, attainable)
        put_part(p, out[0], k, left)
        put_part(q, out[1], k, left)
        put_part(p * f + q * m, out[2], k, left)
        put_part(read_part(sums[0], k, left) + gain, sums[0], k, left)
        put_part(read_part(sums[1], k, left) + worth, sums[1], k, left)
        put_part(read_part(sums[2], k, left) + attainable, sums[2], k, left)


@device
def force_row(
    total: Array, at: Any, fixed: Array, moved: Array, weight: Array, masked: bool, i: Any, j: Any, out: Array
) -> None:
    depth, height, width = moved.shape
    up, down = moved[max(i - 1, 0), j], moved[min(i + 1, depth - 1), j]
    before, after, line = moved[i, max(j - 1, 0)], moved[i, min(j + 1, height - 1)], moved[i, j]
    half = filled(HALF)
    for k in range(0, width, LANES):
        left, here = width - k, at + k
        f, m = read_part(fixed, k, left), read_part(line, k, left)
        g = half * (f * read(total[0], here) + m * read(total[1], here) - read(total[2], here))
        if masked:
            g = g * read_part(weight, k, left)
        put_part(g * (read_part(down, k, left) - read_part(up, k, left)), out[0], k, left)
        put_part(g * (read_part(after, k, left) - read_part(before, k, left)), out[1], k, left)
        put_part(g, out[2], k, left)
    along_line(line, out[2])


@device
def along_line(line: Array, out: Array) -> None:
    """out times twice the slope of `line`; half of that at its ends."""
    last = line.size - 1
    out[0] *= line[min(1, last)] - line[0]
    for k in range(1, last, LANES):
        left = last - k
        slope = read_part(line[2:], k - 1, left) - read_part(line, k - 1, left)
        put_part(read_part(out, k, left) * slope, out, k, left)
    if last > 0:
        out[last] *= line[last] - line[last - 1]
