"""Kernels of the refinement: local correlation and its gradient, Gaussian smoothing, and pulls into given buffers.

Each kernel goes over its images once. It takes tiles of some rows, marches through all planes, and keeps what the
window or the Gaussian needs of earlier planes in a ring that fits the processor's cache; nothing of full size is
written in between. Every voxel is computed on its own, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.sampling import ONE, ZERO, blend_row, locate_row

__all__ = ["correlation_force", "local_correlation_terms", "pull", "smooth", "tiles"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

TILE = 16
HALF, TWO = np.float32(0.5), np.float32(2.0)


def tiles(shape: tuple[int, ...]) -> int:
    return -(-shape[1] // TILE)


@kernel
def _pull(image: Array, field: Array, scale: Any, add: bool, out: Array) -> None:
    for i in prange(out.shape[1]):
        _pull_plane(image, field, scale, add, np.int64(i), out)


@device
def _pull_plane(image: Array, field: Array, scale: Any, add: bool, i: Any, out: Array) -> None:
    channels, _, height, width = out.shape
    corner, fraction = np.empty(width, np.int64), np.empty((3, width), np.float32)
    place = np.empty((3, width), np.float32)
    for j in range(height):
        for k in range(width):
            place[0, k] = np.float32(i) + scale * field[0, i, j, k]
            place[1, k] = np.float32(j) + scale * field[1, i, j, k]
            place[2, k] = np.float32(k) + scale * field[2, i, j, k]
        locate_row(image.shape[1:], place, corner, fraction)
        for c in range(channels):
            blend_row(image[c], corner, fraction, out[c, i, j])
            if add:
                for k in range(width):
                    out[c, i, j, k] += scale * field[c, i, j, k]


@device
def box_line(line: Array, radius: int, out: Array) -> None:
    """out[k] = sum of line[k : k + 2 * radius + 1]."""
    for k in range(out.size):
        out[k] = line[k]
    for n in range(1, 2 * radius + 1):
        for k in range(out.size):
            out[k] += line[k + n]


@kernel
def _terms(
    fixed: Array, moved: Array, weight: Array, masked: bool, radius: int, floor: Any, out: Array, sums: Array
) -> None:
    for t in prange(sums.shape[0]):
        _terms_tile(fixed, moved, weight, masked, radius, floor, np.int64(t), out, sums[t])


@device
def _product_lines(fixed: Array, moved: Array, weight: Array, masked: bool, radius: int, lines: Array) -> None:
    """lines[:, radius + k]: f, m, f f, m m, f m, all times the weight, and the weight."""
    for k in range(fixed.size):
        f, m = fixed[k], moved[k]
        w = ONE
        if masked:
            w = weight[k]
            lines[5, radius + k] = w
        lines[0, radius + k], lines[1, radius + k] = w * f, w * m
        lines[2, radius + k], lines[3, radius + k], lines[4, radius + k] = w * f * f, w * m * m, w * f * m


@device
def _terms_tile(
    fixed: Array, moved: Array, weight: Array, masked: bool, radius: int, floor: Any, t: Any, out: Array, sums: Array
) -> None:
    depth, height, width = fixed.shape
    window, channels = 2 * radius + 1, 6 if masked else 5
    first = t * TILE
    rows = min(TILE, height - first)
    lines = np.zeros((6, width + 2 * radius), np.float32)
    near = np.zeros((channels, rows + 2 * radius, width), np.float32)
    ring = np.zeros((channels, window, rows, width), np.float32)
    total = np.zeros((6, width), np.float32)
    count = np.float32(window * window * window)
    for k in range(width):
        total[5, k] = count
    for p in range(depth + radius):
        slot = p % window
        if p < depth:
            for j in range(max(first - radius, 0), min(first + rows + radius, height)):
                w = weight[p, j] if masked else fixed[p, j]
                _product_lines(fixed[p, j], moved[p, j], w, masked, radius, lines)
                for c in range(channels):
                    box_line(lines[c], radius, near[c, j - first + radius])
        for c in range(channels):
            for j in range(rows):
                line = ring[c, slot, j]
                for k in range(width):
                    line[k] = ZERO
                if p < depth:
                    for n in range(window):
                        other = near[c, j + n]
                        for k in range(width):
                            line[k] += other[k]
        i = p - radius
        if i >= 0:
            for j in range(rows):
                for c in range(channels):
                    line = total[c]
                    for k in range(width):
                        line[k] = ring[c, 0, j, k]
                    for n in range(1, window):
                        other = ring[c, n, j]
                        for k in range(width):
                            line[k] += other[k]
                _terms_row(total, floor, out[:, i, first + j], sums)


@device
def _terms_row(total: Array, floor: Any, out: Array, sums: Array) -> None:
    gained, counted = ZERO, ZERO
    for k in range(out.shape[1]):
        n = total[5, k]
        by = ONE / max(n, ONE)
        f, m = by * total[0, k], by * total[1, k]
        vf = max(by * total[2, k] - f * f, ZERO)
        vm = max(by * total[3, k] - m * m, ZERO)
        c = by * total[4, k] - f * m
        inverse = ONE / (vf * vm + floor)
        a = TWO * c * inverse * by
        b = -TWO * c * c * vf * inverse * inverse * by
        out[0, k], out[1, k], out[2, k] = a, b, a * f + b * m
        gained += c * c * inverse
        counted += ONE if vf > np.float32(1e-6) else ZERO
    sums[0] += gained
    sums[1] += counted


@kernel
def _force(
    fixed: Array,
    moved: Array,
    weight: Array,
    masked: bool,
    terms: Array,
    radius: int,
    share: Any,
    count: int,
    out: Array,
) -> None:
    for t in prange(count):
        _force_tile(fixed, moved, weight, masked, terms, radius, share, np.int64(t), out)


@device
def _force_tile(
    fixed: Array, moved: Array, weight: Array, masked: bool, terms: Array, radius: int, share: Any, t: Any, out: Array
) -> None:
    depth, height, width = fixed.shape
    window = 2 * radius + 1
    first = t * TILE
    rows = min(TILE, height - first)
    padded = np.zeros(width + 2 * radius, np.float32)
    near = np.zeros((3, rows + 2 * radius, width), np.float32)
    ring = np.zeros((3, window, rows, width), np.float32)
    total = np.zeros((3, width), np.float32)
    slope = np.zeros((3, width), np.float32)
    for p in range(depth + radius):
        slot = p % window
        if p < depth:
            for j in range(max(first - radius, 0), min(first + rows + radius, height)):
                for c in range(3):
                    for k in range(width):
                        padded[radius + k] = terms[c, p, j, k]
                    box_line(padded, radius, near[c, j - first + radius])
        for c in range(3):
            for j in range(rows):
                line = ring[c, slot, j]
                for k in range(width):
                    line[k] = ZERO
                if p < depth:
                    for n in range(window):
                        other = near[c, j + n]
                        for k in range(width):
                            line[k] += other[k]
        i = p - radius
        if i >= 0:
            for j in range(rows):
                for c in range(3):
                    line = total[c]
                    for k in range(width):
                        line[k] = ring[c, 0, j, k]
                    for n in range(1, window):
                        other = ring[c, n, j]
                        for k in range(width):
                            line[k] += other[k]
                y = first + j
                slope_row(moved, i, y, ONE - share, slope, False)
                if share > ZERO:
                    slope_row(fixed, i, y, share, slope, True)
                for k in range(width):
                    g = fixed[i, y, k] * total[0, k] + moved[i, y, k] * total[1, k] - total[2, k]
                    if masked:
                        g *= weight[i, y, k]
                    out[0, i, y, k] = g * slope[0, k]
                    out[1, i, y, k] = g * slope[1, k]
                    out[2, i, y, k] = g * slope[2, k]


@device
def slope_row(image: Array, i: Any, j: Any, share: Any, out: Array, add: bool) -> None:
    depth, height, width = image.shape
    up, down = image[max(i - 1, 0), j], image[min(i + 1, depth - 1), j]
    left, right = image[i, max(j - 1, 0)], image[i, min(j + 1, height - 1)]
    line = image[i, j]
    by = HALF * share
    if not add:
        for c in range(3):
            for k in range(width):
                out[c, k] = ZERO
    for k in range(width):
        out[0, k] += by * (down[k] - up[k])
        out[1, k] += by * (right[k] - left[k])
    for k in range(1, width - 1):
        out[2, k] += by * (line[k + 1] - line[k - 1])
    out[2, 0] += by * (line[min(1, width - 1)] - line[0])
    out[2, width - 1] += by * (line[width - 1] - line[max(width - 2, 0)])


@kernel
def _smooth(field: Array, taps: Array, out: Array, peaks: Array) -> None:
    for t in prange(peaks.size):
        peaks[t] = _smooth_tile(field, taps, np.int64(t), out)


@device
def _smooth_tile(field: Array, taps: Array, t: Any, out: Array) -> Any:
    """Returns the largest squared length of a vector of the tile."""
    _, depth, height, width = field.shape
    radius = taps.shape[1] - 1
    window, first = 2 * radius + 1, t * TILE
    rows = min(TILE, height - first)
    padded = np.zeros(width + 2 * radius, np.float32)
    near = np.zeros((rows + 2 * radius, width), np.float32)
    ring = np.zeros((3, window, rows, width), np.float32)
    length = np.zeros(width, np.float32)
    peak = ZERO
    for p in range(depth + radius):
        if p < depth:
            for c in range(3):
                for j in range(rows + 2 * radius):
                    source = field[c, p, min(max(first + j - radius, 0), height - 1)]
                    smooth_line(source, taps[2], padded, near[j])
                for j in range(rows):
                    line = ring[c, p % window, j]
                    centre = near[j + radius]
                    tap = taps[1, 0]
                    for k in range(width):
                        line[k] = tap * centre[k]
                    for n in range(1, radius + 1):
                        before, after, tap = near[j + radius - n], near[j + radius + n], taps[1, n]
                        for k in range(width):
                            line[k] += tap * (before[k] + after[k])
        i = p - radius
        if i >= 0:
            for j in range(rows):
                for k in range(width):
                    length[k] = ZERO
                for c in range(3):
                    line, centre, tap = out[c, i, first + j], ring[c, i % window, j], taps[0, 0]
                    for k in range(width):
                        line[k] = tap * centre[k]
                    for n in range(1, radius + 1):
                        before, after = ring[c, max(i - n, 0) % window, j], ring[c, min(i + n, depth - 1) % window, j]
                        tap = taps[0, n]
                        for k in range(width):
                            line[k] += tap * (before[k] + after[k])
                    for k in range(width):
                        length[k] += line[k] * line[k]
                for k in range(width):
                    peak = max(peak, length[k])
    return peak


@device
def smooth_line(source: Array, taps: Array, padded: Array, out: Array) -> None:
    """out = source weighed by the taps about each voxel; the ends are repeated. `padded` is scratch."""
    radius, width = taps.size - 1, out.size
    for k in range(width):
        padded[radius + k] = source[k]
    for n in range(radius):
        padded[n], padded[radius + width + n] = source[0], source[width - 1]
    for k in range(width):
        out[k] = taps[0] * padded[radius + k]
    for n in range(1, radius + 1):
        tap, low, high = taps[n], radius - n, radius + n
        for k in range(width):
            out[k] += tap * (padded[low + k] + padded[high + k])
