"""Kernels of the refinement: local correlation, its force, and Gaussian smoothing of vectors.

All three are separable windows, so they are one compiled kernel: it takes tiles of some rows, marches through the
planes, and keeps what the window needs of earlier planes in a ring that fits the processor's cache. Products and
divisions happen on the way in and out; nothing of full size is written in between. Every voxel is computed on its
own, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.sampling import ONE, ZERO

__all__ = ["accumulate", "correlation_force", "correlation_terms", "gaussian_taps", "shorten", "smooth"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

LEAST_ROWS, MOST_ROWS = 4, 16  # of a tile; with a window of 9 planes the ring of 16 takes about half a megabyte
TILES = 8  # at least, where each has enough rows
TERMS, FORCE, SMOOTH = 0, 1, 2
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
    fixed: Float32, moved: Float32, weight: Float32 | None, radius: int, floor: float, out: Float32
) -> tuple[float, float]:
    """The sum of s cc, squared local correlations where the fixed image has much to tell, and what its gradient needs.

    cc(x) = cov(f, m)^2 / (var(f) var(m) + floor) over the cube of 2 * radius + 1 voxels about x, s(x) = var(f)^(1/2);
    the images are zero outside, or have no voxels there if there is a weight. Without s, noise in flat tissue would
    count as much as the edges of a structure.

    Args:
        fixed, moved: (D, H, W).
        weight: (D, H, W) of the voxels in the statistics; all if None.
        radius: voxels to each side.
        floor: so that flat windows count as uncorrelated.
        out: (3, D, H, W), overwritten: for `correlation_force`.

    Returns:
        The sum of s cc, and the sum of s: their quotient is a weighted mean of cc.
    """
    sums, masked = _sums(fixed), weight is not None
    w = fixed if weight is None else weight
    _march(
        TERMS,
        out,
        fixed,
        moved,
        w,
        masked,
        _box(radius),
        np.float32(floor),
        out,
        sums,
    )
    gained, counted = sums.sum(axis=0, dtype=np.float64)
    return float(gained), float(counted)


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
    _march(FORCE, terms, fixed, moved, w, masked, _box(radius), ZERO, out, _sums(fixed))


def smooth(field: Float32, taps: Float32, out: Float32) -> None:
    """out = field (3, D, H, W) weighed by `gaussian_taps`; beyond a border it repeats."""
    _march(SMOOTH, field, field[0], field[0], field[0], False, taps, ZERO, out, _sums(field[0]))


def accumulate(total: Float32, keep: float, addend: Float32, scale: float) -> None:
    """total = keep * total + scale * addend, both (3, D, H, W); with keep 0, `total` may hold anything before.

    Example:
        >>> total, addend = (np.full((3, 1, 1, 1), value, np.float32) for value in (2, 8))
        >>> accumulate(total, 0.5, addend, 0.25)
        >>> total.ravel().tolist()
        [3.0, 3.0, 3.0]
    """
    _accumulate(total, np.float32(keep), addend, np.float32(scale))


def shorten(field: Float32, scale: float, longest: float, out: Float32) -> None:
    """out = the vectors of field (3, D, H, W) times `scale`, those longer than `longest` shortened to it.

    Example:
        >>> field = np.array([3, 0.5], np.float32).reshape(1, 1, 1, 2) * np.ones((3, 1, 1, 1), np.float32)
        >>> shorten(field, 2.0, 3**0.5, field)
        >>> field[0].ravel().tolist()
        [1.0, 1.0]
    """
    _shorten(field, np.float32(scale), np.float32(longest), out)


def _sums(image: Float32) -> Float32:
    """Two sums for each tile; there are as many as the image asks for, so that they do not depend on the threads."""
    height = image.shape[1]
    rows = min(max(-(-height // TILES), LEAST_ROWS), MOST_ROWS)
    return np.zeros((-(-height // rows), 2), np.float32)


def _box(radius: int) -> Float32:
    return np.ones((3, radius + 1), np.float32)


@kernel
def _march(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    taps: Array,
    floor: Any,
    out: Array,
    sums: Array,
) -> None:
    rows = -(-fixed.shape[1] // sums.shape[0])
    for t in prange(sums.shape[0]):
        _march_tile(mode, source, fixed, moved, weight, masked, taps, floor, np.int64(t) * rows, rows, out, sums[t])


@device
def _march_tile(
    mode: int,
    source: Array,
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    taps: Array,
    floor: Any,
    first: Any,
    most: Any,
    out: Array,
    sums: Array,
) -> None:
    """Rows first : first + most of all planes.

    Lines are padded by the radius on both sides and lie one after the other, so that each pass is one long loop. What
    it computes between the lines is never looked at.
    """
    depth, height, width = fixed.shape
    radius = taps.shape[1] - 1
    window, channels, repeat = 2 * radius + 1, 3 if mode != TERMS else 6 if masked else 5, mode == SMOOTH
    rows, span = min(most, height - first), width + 2 * radius
    lines = np.zeros((channels, (rows + 2 * radius) * span), np.float32)
    near = np.zeros((channels, (rows + 2 * radius) * span), np.float32)
    ring = np.zeros((channels, window + 1, rows * span), np.float32)  # the last plane stays zero
    total = np.zeros((6, rows * span), np.float32)
    at = np.zeros(window, np.int64)
    for p in range(depth + radius):
        if p < depth:
            fill_lines(mode, source, fixed[p], moved[p], weight[p], masked, p, first, radius, lines)
            for c in range(channels):
                weigh(lines[c], 1, taps[2], near[c])
                weigh(near[c], span, taps[1], ring[c, p % window])
        i = p - radius
        if i >= 0:
            places(i, depth, radius, repeat, at)
            for c in range(channels):
                weigh_planes(ring[c], at, taps[0], total[c])
            for j in range(rows):
                y, sums_here = first + j, total[:, j * span : j * span + width]
                if mode == TERMS:
                    terms_row(sums_here, masked, taps.shape[1], floor, out[:, i, y], sums)
                elif mode == FORCE:
                    force_row(sums_here, fixed[i, y], moved, weight[i, y], masked, i, y, out[:, i, y])
                else:
                    for c in range(channels):
                        for k in range(width):
                            out[c, i, y, k] = sums_here[c, k]


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
    radius: Any,
    lines: Array,
) -> None:
    """Rows of plane p from first - radius on, as many as there is room for; those outside are left, or repeat."""
    height, width = fixed.shape
    span = width + 2 * radius
    for n in range(lines.shape[1] // span):
        j = min(max(first + n - radius, 0), height - 1)
        if mode == SMOOTH or j == first + n - radius:
            begin = n * span
            if mode == TERMS:
                product_lines(fixed[j], moved[j], weight[j], masked, lines[:, begin + radius :])
            else:
                for c in range(lines.shape[0]):
                    copy_line(source[c, p, j], mode == SMOOTH, radius, lines[c, begin:])


@device
def places(centre: Any, size: Any, radius: Any, repeat: bool, at: Array) -> None:
    """Where the planes about `centre` lie in the ring; those outside at the border or, unless `repeat`, in the zeros.

    The ring holds plane p at p % at.size; zeros follow.
    """
    for n in range(at.size):
        x = centre + n - radius
        inside = min(max(x, 0), size - 1)
        at[n] = at.size if x != inside and not repeat else inside % at.size


@device
def weigh(source: Array, step: Any, taps: Array, out: Array) -> None:
    """out[k] = taps[0] source[k + r step] + the sum of taps[n] (source[k + (r - n) step] + source[k + (r + n) step]).

    As far as both arrays reach; r is the radius.
    """
    radius = taps.size - 1
    count, centre = min(out.size, source.size - 2 * radius * step), radius * step
    begin(
        source[centre:], source[centre - radius % 2 * step :], source[centre + radius % 2 * step :], taps, out[:count]
    )
    for n in range(1 + radius % 2, radius, 2):
        a, b = source[centre - n * step :], source[centre + n * step :]
        add_two(a, b, source[centre - (n + 1) * step :], source[centre + (n + 1) * step :], taps, n, out[:count])


@device
def weigh_planes(planes: Array, at: Array, taps: Array, out: Array) -> None:
    """out = the planes at `at`, weighed by the taps."""
    radius = taps.size - 1
    begin(planes[at[radius]], planes[at[radius - radius % 2]], planes[at[radius + radius % 2]], taps, out)
    for n in range(1 + radius % 2, radius, 2):
        a, b = planes[at[radius - n]], planes[at[radius + n]]
        add_two(a, b, planes[at[radius - n - 1]], planes[at[radius + n + 1]], taps, n, out)


@device
def begin(middle: Array, before: Array, after: Array, taps: Array, out: Array) -> None:
    """The middle one and, of an odd number to each side, the next ones."""
    if taps.size % 2:
        for k in range(out.size):
            out[k] = taps[0] * middle[k]
    else:
        for k in range(out.size):
            out[k] = taps[0] * middle[k] + taps[1] * (before[k] + after[k])


@device
def add_two(before: Array, after: Array, first: Array, last: Array, taps: Array, n: Any, out: Array) -> None:
    """Add what lies n and n + 1 from the middle in one pass: `out` is read and written half as often."""
    near, far = taps[n], taps[n + 1]
    for k in range(out.size):
        out[k] += near * (before[k] + after[k]) + far * (first[k] + last[k])


@device
def copy_line(source: Array, repeat: bool, radius: int, padded: Array) -> None:
    for k in range(source.size):
        padded[radius + k] = source[k]
    if repeat:
        for n in range(radius):
            padded[n] = source[0]
            padded[radius + source.size + n] = source[source.size - 1]


@device
def product_lines(fixed: Array, moved: Array, weight: Array, masked: bool, lines: Array) -> None:
    """lines = f, m, f f, m m, f m, each times the weight, and, if there is one, the weight."""
    for k in range(fixed.size):
        w = weight[k] if masked else ONE
        f, m = fixed[k], moved[k]
        wf, wm = w * f, w * m
        lines[0, k], lines[1, k], lines[2, k] = wf, wm, wf * f
        lines[3, k], lines[4, k] = wm * m, wf * m
        if masked:
            lines[5, k] = w


@device
def terms_row(total: Array, masked: bool, half: Any, floor: Any, out: Array, sums: Array) -> None:
    """out = (P, Q, R) with d(sum of s cc)/dm(y) = w(y) (f(y) sum P + m(y) sum Q - sum R), sums over windows with y."""
    gained, counted, window = ZERO, ZERO, np.float32((2 * half - 1) ** 3)
    for k in range(out.shape[1]):
        n = total[5, k] if masked else window
        by = ONE / n if n > MIN_SHARE * window else ZERO
        f, m = by * total[0, k], by * total[1, k]
        vf, vm = max(by * total[2, k] - f * f, ZERO), max(by * total[3, k] - m * m, ZERO)
        c, v, worth = by * total[4, k] - f * m, vf * vm + floor, np.sqrt(vf)
        r = worth * c / v
        p, q = TWO * r * by, -TWO * r * c / v * vf * by
        out[0, k], out[1, k], out[2, k] = p, q, p * f + q * m
        gained += c * r
        counted += worth
    sums[0] += gained
    sums[1] += counted


@device
def force_row(
    total: Array, fixed: Array, moved: Array, weight: Array, masked: bool, i: Any, j: Any, out: Array
) -> None:
    depth, height, width = moved.shape
    up, down = moved[max(i - 1, 0), j], moved[min(i + 1, depth - 1), j]
    left, right, line = moved[i, max(j - 1, 0)], moved[i, min(j + 1, height - 1)], moved[i, j]
    for k in range(width):
        g = HALF * (fixed[k] * total[0, k] + line[k] * total[1, k] - total[2, k])
        g = g * weight[k] if masked else g
        out[0, k], out[1, k] = g * (down[k] - up[k]), g * (right[k] - left[k])
        out[2, k] = g * (line[min(k + 1, width - 1)] - line[max(k - 1, 0)])


@kernel
def _shorten(field: Array, scale: Any, longest: Any, out: Array) -> None:
    _, depth, height, width = field.shape
    for i in prange(depth):
        for j in range(height):
            for k in range(width):
                a, b, c = scale * field[0, i, j, k], scale * field[1, i, j, k], scale * field[2, i, j, k]
                by = longest / max(longest, np.sqrt(a * a + b * b + c * c))
                out[0, i, j, k], out[1, i, j, k], out[2, i, j, k] = by * a, by * b, by * c


@kernel
def _accumulate(total: Array, keep: Any, addend: Array, scale: Any) -> None:
    channels, depth, height, width = total.shape
    for i in prange(depth):
        for c in range(channels):
            for j in range(height):
                if keep == ZERO:
                    for k in range(width):
                        total[c, i, j, k] = scale * addend[c, i, j, k]
                else:
                    for k in range(width):
                        total[c, i, j, k] = keep * total[c, i, j, k] + scale * addend[c, i, j, k]
