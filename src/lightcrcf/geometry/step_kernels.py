"""What a step of the refinement does to vectors: gather them, and go along them.

No step is longer than a voxel, so all that it can reach are the 27 voxels around each one: they are read as they lie,
16 neighbours at once, and weighed; nothing has to be looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, inlined, kernel
from lightcrcf.geometry.lanes import LANES, filled, larger, numbered, put, put_part, read, read_part, read_within, root
from lightcrcf.geometry.sampling import ONE, ZERO

__all__ = ["accumulate", "compose_step"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]


def accumulate(total: Float32, keep: float, addend: Float32, scale: float) -> None:
    """total = keep * total + scale * addend, both (3, D, H, W); with keep 0, `total` may hold anything before.

    Example:
        >>> total, addend = (np.full((3, 1, 1, 1), value, np.float32) for value in (2, 8))
        >>> accumulate(total, 0.5, addend, 0.25)
        >>> total.ravel().tolist()
        [3.0, 3.0, 3.0]
    """
    _accumulate(total, np.float32(keep), addend, np.float32(scale))


def compose_step(field: Float32, step: Float32, scale: float, longest: float, out: Float32) -> None:
    """out = field o (id + v), v the vectors of `step` times `scale`, those longer than `longest` shortened to it.

    As `kernels.compose` does it: (u o v)(x) = v(x) + u(x + v(x)), trilinear, clamped at the borders.

    Args:
        field, step: (3, D, H, W) voxels.
        scale: of the step.
        longest: voxels, at most 1.
        out: (3, D, H, W), overwritten; neither of the two.

    Raises:
        ValueError: if a step may be longer than a voxel.

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
        for n in range(9):  # where the rows around begin, in the first channel
            z, y = min(max(i + n // 3 - 1, 0), depth - 1), min(max(j + n % 3 - 1, 0), height - 1)
            rows[n] = (z * height + y) * width
        z_step, y_step, x_step = step[0, i, j], step[1, i, j], step[2, i, j]
        z_out, y_out, x_out = out[0, i, j], out[1, i, j], out[2, i, j]
        for k in range(0, width, LANES):
            left, by, limit = width - k, filled(scale), filled(longest)
            z, y = by * read_part(z_step, k, left), by * read_part(y_step, k, left)
            x = by * read_part(x_step, k, left)
            by = limit / larger(limit, root(z * z + y * y + x * x))
            z, y, x = by * z, by * y, by * x
            zs, ys = shares(z), shares(y)
            if k > 0 and left > LANES:
                xs = shares(x)
                put(z + _inside(flat, rows, 0, k, width, zs, ys, xs), z_out, k)
                put(y + _inside(flat, rows, size, k, width, zs, ys, xs), y_out, k)
                put(x + _inside(flat, rows, 2 * size, k, width, zs, ys, xs), x_out, k)
            else:
                xs = shares(between_ends(x, k, width))
                put_part(z + _at_ends(flat, rows, 0, k, width, zs, ys, xs), z_out, k, left)
                put_part(y + _at_ends(flat, rows, size, k, width, zs, ys, xs), y_out, k, left)
                put_part(x + _at_ends(flat, rows, 2 * size, k, width, zs, ys, xs), x_out, k, left)


@inlined
def shares(x: Any) -> Any:
    """Of the voxel before, the one here and the next one, at x in [-1, 1] from here."""
    zero = filled(ZERO)
    before, after = larger(zero - x, zero), larger(x, zero)
    return before, filled(ONE) - before - after, after


@inlined
def between_ends(x: Any, k: Any, width: Any) -> Any:
    """Steps along a row from voxels k, k + 1, ..., clamped to the row."""
    zero, here = filled(ZERO), numbered(np.float32(k))
    x = larger(x, zero - here)
    return zero - larger(zero - x, here - filled(np.float32(width - 1)))


def _weighing(reading: Any) -> Any:
    """A function: the 27 voxels around voxels k, k + 1, ... of a row, weighed; `reading` reads some of a row."""

    @inlined
    def along(flat: Array, begins: Any, k: Any, width: Any, xs: Any) -> Any:
        at, end = begins + k, begins + width
        total = xs[0] * reading(flat, at - 1, begins, end)
        total += xs[1] * reading(flat, at, begins, end)
        total += xs[2] * reading(flat, at + 1, begins, end)
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
def _read(flat: Array, at: Any, begins: Any, end: Any) -> Any:
    return read(flat, at)


_inside, _at_ends = _weighing(_read), _weighing(read_within)


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
