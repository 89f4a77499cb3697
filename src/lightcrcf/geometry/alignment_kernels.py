"""Kernels of the affine alignment: block means and the sums that least squares needs, each in one parallel pass.

Everything is accumulated in float64 for one plane of the fixed grid at a time, and the planes are added in order, so
that the result does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

__all__ = ["block_mean", "box_mean", "gram", "scores"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def block_mean(data: NDArray, factors: tuple[int, int, int]) -> Float32:
    """Means over blocks of `factors` voxels; blocks cut by the end of the array average what they have.

    Voxel c of the result lies at voxel c * factor + (factor - 1) / 2 of `data`.

    Args:
        data: (D, H, W) of any integer or float dtype, in any memory order. Values that are not finite count as zero.
        factors: voxels to a block along each axis, at least 1.

    Returns:
        (ceil(D / f0), ceil(H / f1), ceil(W / f2)) float32.

    Example:
        >>> block_mean(np.arange(8).reshape(1, 2, 4), (1, 2, 2)).tolist()
        [[[2.5, 4.5]]]
    """
    if data.dtype == np.bool_:
        data = data.view(np.uint8)
    if not data.dtype.isnative or data.dtype.kind not in "iuf" or data.dtype.itemsize == 2 and data.dtype.kind == "f":
        data = data.astype(np.float32)
    # The kernel runs fastest along the memory's own order, and compiles only one layout for each dtype.
    order = np.argsort([-abs(s) for s in data.strides], kind="stable")
    result = _block_mean(data.transpose(order), factors[order[0]], factors[order[1]], factors[order[2]])
    return np.ascontiguousarray(result.transpose(np.argsort(order)))


def box_mean(data: Float32, radius: tuple[int, int, int]) -> Float32:
    """Sums over boxes of 2 * radius + 1 voxels, divided by the full box (zeros outside the array).

    Args:
        data: (D, H, W) float32.
        radius: voxels to each side along each axis.

    Returns:
        (D, H, W) float32.

    Example:
        >>> box_mean(np.array([[[0, 3, 6, 9]]], np.float32), (0, 0, 1)).tolist()
        [[[1.0, 3.0, 6.0, 5.0]]]
    """
    out = data
    for axis in range(3):
        if radius[axis] > 0:
            lines = np.ascontiguousarray(np.moveaxis(out, axis, 0))
            out = np.moveaxis(_box_lines(lines, radius[axis]), 0, axis)
    return np.ascontiguousarray(out, dtype=np.float32)


def gram(
    fixed: Float32, weight: Float32, moving: Float32, moving_weight: Float32, matrix: Float64, keep: bool
) -> Float64:
    """Gram matrix of everything that a Gauss-Newton step on an affine needs.

    The columns are [dm/dmatrix (12, row-major), m, 1, f], the rows are the fixed voxels x, and the weight of a row is
    weight(x) * moving_weight(q), where q = matrix @ [x, 1], f = fixed(x) and m = moving(q), trilinear.

    Args:
        fixed, weight: (D, H, W) float32; voxels of weight 0 are skipped.
        moving, moving_weight: (d, h, w) float32; moving_weight is read at the nearest voxel.
        matrix: (3, 4) float64, fixed voxels to moving voxels.
        keep: whether voxels that fall outside the moving grid count, as zero, or are left out.

    Returns:
        (15, 15) float64, symmetric.
    """
    planes = _gram_planes(fixed, weight, moving, moving_weight, np.ascontiguousarray(matrix, dtype=np.float64), keep)
    upper = np.triu(planes.sum(axis=0))
    return np.asarray(upper + np.triu(upper, 1).T)


def scores(
    fixed: Float32, weight: Float32, moving: Float32, moving_weight: Float32, matrices: Float64, keep: bool
) -> Float64:
    """The sums behind the correlation of fixed and moving under each of many affines.

    Args:
        fixed, weight, moving, moving_weight, keep: as for `gram`.
        matrices: (n, 3, 4) float64, fixed voxels to moving voxels.

    Returns:
        (n, 6) float64: the sums of weight times 1, f, m, f f, m m and f m.
    """
    return _scores(fixed, weight, moving, moving_weight, np.ascontiguousarray(matrices, dtype=np.float64), keep)


@njit(parallel=True, cache=True)
def _block_mean(data, f0, f1, f2):  # type: ignore[no-untyped-def]
    d, h, w = data.shape
    out = np.empty(((d + f0 - 1) // f0, (h + f1 - 1) // f1, (w + f2 - 1) // f2), np.float32)
    for a in prange(out.shape[0]):
        sums = np.zeros((out.shape[1], out.shape[2]))
        i1 = min(a * f0 + f0, d)
        for i in range(a * f0, i1):
            for j in range(h):
                for c in range(out.shape[2]):
                    total = 0.0
                    for k in range(c * f2, min(c * f2 + f2, w)):
                        value = float(data[i, j, k])
                        if np.isfinite(value):
                            total += value
                    sums[j // f1, c] += total
        for b in range(out.shape[1]):
            n01 = (i1 - a * f0) * (min(b * f1 + f1, h) - b * f1)
            for c in range(out.shape[2]):
                out[a, b, c] = sums[b, c] / (n01 * (min(c * f2 + f2, w) - c * f2))
    return out


@njit(parallel=True, cache=True)
def _box_lines(data, radius):  # type: ignore[no-untyped-def]
    n, h, w = data.shape
    out = np.empty_like(data)
    width = 2 * radius + 1
    for j in prange(h):
        total = np.zeros(w)
        for i in range(min(radius, n)):
            for k in range(w):
                total[k] += data[i, j, k]
        for i in range(n):
            for k in range(w):
                if i + radius < n:
                    total[k] += data[i + radius, j, k]
                if i - radius - 1 >= 0:
                    total[k] -= data[i - radius - 1, j, k]
                out[i, j, k] = total[k] / width
    return out


@njit(inline="always")
def _cell(q, n):  # type: ignore[no-untyped-def]
    """Lower corner and fraction for a coordinate inside [-0.5, n - 0.5), clamped to the edge as ITK does."""
    q = min(max(q, 0.0), n - 1.0)
    low = min(int(q), max(n - 2, 0))
    return low, q - low


@njit(inline="always")
def _inside(q0, q1, q2, shape):  # type: ignore[no-untyped-def]
    return (
        q0 >= -0.5 and q1 >= -0.5 and q2 >= -0.5 and q0 < shape[0] - 0.5 and q1 < shape[1] - 0.5 and q2 < shape[2] - 0.5
    )


@njit(inline="always")
def _value_and_gradient(image, q0, q1, q2):  # type: ignore[no-untyped-def]
    d, h, w = image.shape
    i, x = _cell(q0, d)
    j, y = _cell(q1, h)
    k, z = _cell(q2, w)
    i1, j1, k1 = min(i + 1, d - 1), min(j + 1, h - 1), min(k + 1, w - 1)
    a000, a001 = image[i, j, k], image[i, j, k1]
    a010, a011 = image[i, j1, k], image[i, j1, k1]
    a100, a101 = image[i1, j, k], image[i1, j, k1]
    a110, a111 = image[i1, j1, k], image[i1, j1, k1]
    b00, b01 = a000 + z * (a001 - a000), a010 + z * (a011 - a010)
    b10, b11 = a100 + z * (a101 - a100), a110 + z * (a111 - a110)
    c0, c1 = b00 + y * (b01 - b00), b10 + y * (b11 - b10)
    g1 = (1.0 - x) * (b01 - b00) + x * (b11 - b10)
    low = (1.0 - y) * (a001 - a000) + y * (a011 - a010)
    high = (1.0 - y) * (a101 - a100) + y * (a111 - a110)
    return c0 + x * (c1 - c0), c1 - c0, g1, (1.0 - x) * low + x * high


@njit(parallel=True, cache=True)
def _gram_planes(fixed, weight, moving, moving_weight, matrix, keep):  # type: ignore[no-untyped-def]
    d, h, w = fixed.shape
    out = np.zeros((d, 15, 15))
    for i in prange(d):
        row = np.zeros(42)
        for j in range(h):
            row[:] = 0.0
            if _row_sums(fixed[i, j], weight[i, j], moving, moving_weight, matrix, keep, i, j, row):
                _add_row(row, float(i), float(j), out[i])
    return out


@njit(inline="always")
def _row_sums(fixed, weight, moving, moving_weight, matrix, keep, i, j, row):  # type: ignore[no-untyped-def]
    """Sums over one row of voxels k. row: products of m, 1, f (6); G * (m, 1, f) * k^(0, 1) (18); G G * k^(0, 1, 2) (18)."""
    start0 = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 3]
    start1 = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 3]
    start2 = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 3]
    any_voxel = False
    for k in range(fixed.shape[0]):
        s = float(weight[k])
        if s == 0.0:
            continue
        q0, q1, q2 = start0 + matrix[0, 2] * k, start1 + matrix[1, 2] * k, start2 + matrix[2, 2] * k
        m, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        if _inside(q0, q1, q2, moving.shape):
            s *= moving_weight[int(q0 + 0.5), int(q1 + 0.5), int(q2 + 0.5)]
            m, g0, g1, g2 = _value_and_gradient(moving, q0, q1, q2)
        elif not keep:
            s = 0.0
        if s == 0.0:
            continue
        any_voxel = True
        f = float(fixed[k])
        row[0] += s * m * m
        row[1] += s * m
        row[2] += s * m * f
        row[3] += s
        row[4] += s * f
        row[5] += s * f * f
        sk = s * k
        for c, g in enumerate((g0, g1, g2)):
            row[6 + 6 * c] += s * g * m
            row[7 + 6 * c] += sk * g * m
            row[8 + 6 * c] += s * g
            row[9 + 6 * c] += sk * g
            row[10 + 6 * c] += s * g * f
            row[11 + 6 * c] += sk * g * f
        for c, gg in enumerate((g0 * g0, g0 * g1, g0 * g2, g1 * g1, g1 * g2, g2 * g2)):
            row[24 + 3 * c] += s * gg
            row[25 + 3 * c] += sk * gg
            row[26 + 3 * c] += sk * k * gg
    return any_voxel


@njit(inline="always")
def _add_row(row, i, j, out):  # type: ignore[no-untyped-def]
    """Expand one row's sums into the upper triangle of the plane's Gram matrix; x = (i, j, k, 1)."""
    out[12, 12] += row[0]
    out[12, 13] += row[1]
    out[12, 14] += row[2]
    out[13, 13] += row[3]
    out[13, 14] += row[4]
    out[14, 14] += row[5]
    for a in range(3):
        for column in range(3):
            s0, s1 = row[6 + 6 * a + 2 * column], row[7 + 6 * a + 2 * column]
            out[4 * a, 12 + column] += s0 * i
            out[4 * a + 1, 12 + column] += s0 * j
            out[4 * a + 2, 12 + column] += s1
            out[4 * a + 3, 12 + column] += s0
    c = 24
    for a in range(3):
        for b in range(a, 3):
            s0, s1, s2 = row[c], row[c + 1], row[c + 2]
            c += 3
            moments = (
                (i * i * s0, i * j * s0, i * s1, i * s0),
                (i * j * s0, j * j * s0, j * s1, j * s0),
                (i * s1, j * s1, s2, s1),
                (i * s0, j * s0, s1, s0),
            )
            for p in range(4):
                for q in range(4):
                    out[4 * a + p, 4 * b + q] += moments[p][q]


@njit(parallel=True, cache=True)
def _scores(fixed, weight, moving, moving_weight, matrices, keep):  # type: ignore[no-untyped-def]
    d, h, w = fixed.shape
    out = np.zeros((matrices.shape[0], 6))
    for n in prange(matrices.shape[0]):
        mat = matrices[n]
        s1, sf, sm, sff, smm, sfm = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(d):
            for j in range(h):
                for k in range(w):
                    s = float(weight[i, j, k])
                    if s == 0.0:
                        continue
                    q0 = mat[0, 0] * i + mat[0, 1] * j + mat[0, 2] * k + mat[0, 3]
                    q1 = mat[1, 0] * i + mat[1, 1] * j + mat[1, 2] * k + mat[1, 3]
                    q2 = mat[2, 0] * i + mat[2, 1] * j + mat[2, 2] * k + mat[2, 3]
                    m = 0.0
                    if _inside(q0, q1, q2, moving.shape):
                        s *= moving_weight[int(q0 + 0.5), int(q1 + 0.5), int(q2 + 0.5)]
                        m = _value_and_gradient(moving, q0, q1, q2)[0]
                    elif not keep:
                        continue
                    f = float(fixed[i, j, k])
                    s1 += s
                    sf += s * f
                    sm += s * m
                    sff += s * f * f
                    smm += s * m * m
                    sfm += s * f * m
        out[n] = (s1, sf, sm, sff, smm, sfm)
    return out
