"""Kernels of a step of the refinement: momentum, and composition with a short step.

No step is longer than a voxel, so that interpolation needs only the 27 neighbours of each voxel. They are loaded as
vectors of 16 voxels and weighted; there are no gathers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, inlined, kernel
from lightcrcf.geometry.sampling import ONE, ZERO
from lightcrcf.geometry.simd import (
    LANES,
    broadcast,
    iota,
    load,
    load_bounded,
    load_masked,
    maximum,
    sqrt,
    store,
    store_masked,
)

__all__ = ["accumulate", "compose_step"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]


def accumulate(total: Float32, keep: float, addend: Float32, scale: float) -> None:
    """total = keep * total + scale * addend, both (3, D, H, W); with keep 0, `total` may be uninitialised.

    Example:
        >>> total, addend = (np.full((3, 1, 1, 1), value, np.float32) for value in (2, 8))
        >>> accumulate(total, 0.5, addend, 0.25)
        >>> total.ravel().tolist()
        [3.0, 3.0, 3.0]
    """
    _accumulate(total, np.float32(keep), addend, np.float32(scale))


def compose_step(field: Float32, step: Float32, scale: float, longest: float, out: Float32) -> None:
    """Compute out = field o (id + v), with v = `step` times `scale`, limited to the length `longest`.

    As `kernels.compose`: (u o v)(x) = v(x) + u(x + v(x)), trilinear, clamped at the borders.

    Args:
        field, step: (3, D, H, W) voxels.
        scale: of the step.
        longest: voxels, at most 1.
        out: (3, D, H, W), overwritten; neither of the two.

    Raises:
        ValueError: if `longest` is above one voxel.

    Example:
        >>> field = np.zeros((3, 1, 1, 4), np.float32)
        >>> field[2] = [0, 1, 2, 3]
        >>> step, out = np.array([0, 0, 3], np.float32).reshape(3, 1, 1, 1) * np.ones_like(field), np.empty_like(field)
        >>> compose_step(field, step, 1.0, 0.5, out)
        >>> out[2].ravel().tolist()
        [1.0, 2.0, 3.0, 3.5]
    """
    if longest > 1:
        raise ValueError(f"steps of at most one voxel, not {longest}")
    _compose_step(field, field.reshape(-1), step, np.float32(scale), np.float32(longest), out)


@kernel
def _compose_step(field: Array, flat: Array, step: Array, scale: Any, longest: Any, out: Array) -> None:
    for i in prange(out.shape[1]):
        _plane(field, flat, step, scale, longest, np.int64(i), out)


@device
def _plane(field: Array, flat: Array, step: Array, scale: Any, longest: Any, i: Any, out: Array) -> None:
    _, depth, height, width = field.shape
    rows, size = np.empty(9, np.int64), depth * height * width
    for j in range(height):
        for n in range(9):  # offsets of the neighbouring rows, in the first channel
            z, y = min(max(i + n // 3 - 1, 0), depth - 1), min(max(j + n % 3 - 1, 0), height - 1)
            rows[n] = (z * height + y) * width
        z_step, y_step, x_step = step[0, i, j], step[1, i, j], step[2, i, j]
        z_out, y_out, x_out = out[0, i, j], out[1, i, j], out[2, i, j]
        for k in range(0, width, LANES):
            left, by, limit = width - k, broadcast(scale), broadcast(longest)
            z, y = by * load_masked(z_step, k, left), by * load_masked(y_step, k, left)
            x = by * load_masked(x_step, k, left)
            by = limit / maximum(limit, sqrt(z * z + y * y + x * x))
            z, y, x = by * z, by * y, by * x
            zs, ys = linear_weights(z), linear_weights(y)
            if k > 0 and left > LANES:
                xs = linear_weights(x)
                store(z + _interior(flat, rows, 0, k, width, zs, ys, xs), z_out, k)
                store(y + _interior(flat, rows, size, k, width, zs, ys, xs), y_out, k)
                store(x + _interior(flat, rows, 2 * size, k, width, zs, ys, xs), x_out, k)
            else:
                xs = linear_weights(clamp_to_row(x, k, width))
                store_masked(z + _at_border(flat, rows, 0, k, width, zs, ys, xs), z_out, k, left)
                store_masked(y + _at_border(flat, rows, size, k, width, zs, ys, xs), y_out, k, left)
                store_masked(x + _at_border(flat, rows, 2 * size, k, width, zs, ys, xs), x_out, k, left)


@inlined
def linear_weights(x: Any) -> Any:
    """Return linear weights of the voxels before, at and after the current one, for an offset x in [-1, 1]."""
    zero = broadcast(ZERO)
    before, after = maximum(zero - x, zero), maximum(x, zero)
    return before, broadcast(ONE) - before - after, after


@inlined
def clamp_to_row(x: Any, k: Any, width: Any) -> Any:
    """Return steps along a row from voxels k, k + 1, ..., clamped to the row."""
    zero, here = broadcast(ZERO), iota(np.float32(k))
    x = maximum(x, zero - here)
    return zero - maximum(zero - x, here - broadcast(np.float32(width - 1)))


def _neighbourhood_sum(load_row: Any) -> Any:
    """Return a function for weighted sums of the 27 neighbours of voxels k, k + 1, ...; `load_row` loads from a row."""

    @inlined
    def along(flat: Array, begins: Any, k: Any, width: Any, xs: Any) -> Any:
        at, end = begins + k, begins + width
        total = xs[0] * load_row(flat, at - 1, begins, end)
        total += xs[1] * load_row(flat, at, begins, end)
        total += xs[2] * load_row(flat, at + 1, begins, end)
        return total

    @inlined
    def in_plane(flat: Array, rows: Array, n: Any, channel: Any, k: Any, width: Any, ys: Any, xs: Any) -> Any:
        total = ys[0] * along(flat, channel + rows[n], k, width, xs)
        total += ys[1] * along(flat, channel + rows[n + 1], k, width, xs)
        total += ys[2] * along(flat, channel + rows[n + 2], k, width, xs)
        return total

    @inlined
    def around(flat: Array, rows: Array, channel: Any, k: Any, width: Any, zs: Any, ys: Any, xs: Any) -> Any:
        total = zs[0] * in_plane(flat, rows, 0, channel, k, width, ys, xs)
        total += zs[1] * in_plane(flat, rows, 3, channel, k, width, ys, xs)
        total += zs[2] * in_plane(flat, rows, 6, channel, k, width, ys, xs)
        return total

    return around


@inlined
def _load(flat: Array, at: Any, begins: Any, end: Any) -> Any:
    return load(flat, at)


_interior, _at_border = _neighbourhood_sum(_load), _neighbourhood_sum(load_bounded)


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
