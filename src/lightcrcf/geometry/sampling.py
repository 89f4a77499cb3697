"""Interpolation: Numba functions that kernels call for one row of voxels (the last axis).

Inner loops are free of branches. Coordinates are float32 voxel indices. Clamping maps NaN to index 0, so that no
coordinate reads out of bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lightcrcf.geometry.compiled import device

__all__ = [
    "HALF",
    "ONE",
    "ZERO",
    "affine_row",
    "cell_row",
    "clamp",
    "coordinates_row",
    "cubic_row",
    "displaced_row",
    "fill_outside",
    "is_inside",
    "nearest_row",
    "neighbours",
    "trilinear_cell",
    "trilinear_row",
    "upsampled_row",
]

Array = Any  # Numba's functions take its own array types

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
NEAR, FAR = np.float32(0.75), np.float32(0.25)  # weights of the two nearest coarse voxels, half-voxel alignment
NEAR_NEAR, NEAR_FAR, FAR_FAR = np.float32(2 * 0.5625), np.float32(2 * 0.1875), np.float32(2 * 0.0625)


@device
def clamp(x: Any, last: Any) -> Any:
    """Return x clamped to [0, last]; NaN becomes 0."""
    x = x if x > ZERO else ZERO
    return x if x < last else last


@device
def coordinates_row(i: int, j: int, displacement: Array, points: Array) -> None:
    """points[:, k] = (i, j, k) + displacement[:, k], both (3, W)."""
    for k in range(points.shape[1]):
        points[0, k] = np.float32(i) + displacement[0, k]
        points[1, k] = np.float32(j) + displacement[1, k]
        points[2, k] = np.float32(k) + displacement[2, k]


@device
def cell_row(shape: Any, points: Array, corner: Array, fraction: Array) -> None:
    """Find the cells of points[:, k], clamped at the borders, for `trilinear_row`.

    corner[k] becomes the flat index of the cell's first voxel, int64, and fraction[:, k] the position in the cell,
    in [0, 1] along each axis.
    """
    depth, height, width = shape
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    top_z, top_y, top_x = max(depth - 2, 0), max(height - 2, 0), max(width - 2, 0)
    for k in range(corner.size):
        a, b, c = clamp(points[0, k], last_z), clamp(points[1, k], last_y), clamp(points[2, k], last_x)
        i, j, l = min(np.int32(a), top_z), min(np.int32(b), top_y), min(np.int32(c), top_x)  # noqa: E741
        fraction[0, k], fraction[1, k], fraction[2, k] = a - np.float32(i), b - np.float32(j), c - np.float32(l)
        corner[k] = (i * height + j) * width + l


@device
def trilinear_row(volume: Array, corner: Array, fraction: Array, out: Array) -> None:
    """out[k] = trilinear interpolation of a volume (D, H, W) in the cells of `cell_row`; exact at voxels."""
    depth, height, width = volume.shape
    flat = volume.reshape(-1)
    # Unsigned: Numba then omits the test for negative indices.
    right, down = np.uint64(1 if width > 1 else 0), np.uint64(width if height > 1 else 0)
    back = np.uint64(height * width if depth > 1 else 0)
    for k in range(out.size):
        a, b, c = fraction[0, k], fraction[1, k], fraction[2, k]
        a0, b0, c0 = ONE - a, ONE - b, ONE - c
        p = np.uint64(corner[k])
        q, r, s = p + down, p + back, p + down + back
        near = b0 * (c0 * flat[p] + c * flat[p + right]) + b * (c0 * flat[q] + c * flat[q + right])
        far = b0 * (c0 * flat[r] + c * flat[r + right]) + b * (c0 * flat[s] + c * flat[s + right])
        out[k] = a0 * near + a * far


@device
def neighbours(i: int, n: int) -> Any:
    """Return the voxels before and after i, clamped to n, and the float32 inverse of their distance (0 if n is 1)."""
    before, after = max(i - 1, 0), min(i + 1, n - 1)
    return before, after, ONE / np.float32(after - before) if n > 1 else ZERO


@device
def cell(x: float, n: int) -> Any:
    """Return the voxels below and above x, the fraction between them, and 1 if x is not clamped (else 0); float64."""
    free = 1.0 if x > 0.0 and x < n - 1 else 0.0
    inside = clamp(x, np.float64(n - 1))
    low: Any = min(np.int64(inside), max(n - 2, 0))
    return low, min(low + 1, n - 1), inside - low, free


@device
def trilinear_cell(field: Array, z: float, y: float, x: float, out: Array) -> None:
    """out[c] = field (C, D, H, W)[c] at (z, y, x) and its three derivatives, float64, clamped; out is (C, 4)."""
    i0, i1, a, free_z = cell(z, field.shape[1])
    j0, j1, b, free_y = cell(y, field.shape[2])
    k0, k1, c, free_x = cell(x, field.shape[3])
    for n in range(field.shape[0]):
        image = field[n]
        v000, v001, v010, v011 = image[i0, j0, k0], image[i0, j0, k1], image[i0, j1, k0], image[i0, j1, k1]
        v100, v101, v110, v111 = image[i1, j0, k0], image[i1, j0, k1], image[i1, j1, k0], image[i1, j1, k1]
        v00, v01 = v000 + c * (v001 - v000), v010 + c * (v011 - v010)
        v10, v11 = v100 + c * (v101 - v100), v110 + c * (v111 - v110)
        d0 = (v001 - v000) + b * ((v011 - v010) - (v001 - v000))
        d1 = (v101 - v100) + b * ((v111 - v110) - (v101 - v100))
        v0, v1 = v00 + b * (v01 - v00), v10 + b * (v11 - v10)
        out[n, 0] = v0 + a * (v1 - v0)
        out[n, 1] = free_z * (v1 - v0)
        out[n, 2] = free_y * ((v01 - v00) + a * ((v11 - v10) - (v01 - v00)))
        out[n, 3] = free_x * (d0 + a * (d1 - d0))


@device
def catmull_rom_weights(t: Any) -> Any:
    """Return the weights of the four voxels around fraction t: Keys' cubic with a = -0.5 (Catmull-Rom)."""
    half, two = np.float32(0.5), np.float32(2.0)
    three, four, five = np.float32(3.0), np.float32(4.0), np.float32(5.0)
    return (
        half * t * (t * (two - t) - ONE),
        half * (t * t * (three * t - five) + two),
        half * t * (t * (four - three * t) + ONE),
        half * t * t * (t - ONE),
    )


@device
def cubic_row(volume: Array, points: Array, out: Array) -> None:
    """out[k] = volume (D, H, W) at points[:, k], 4x4x4 Catmull-Rom weights; voxels beyond a border repeat it."""
    depth, height, width = volume.shape
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    for k in range(out.size):
        a, b, c = clamp(points[0, k], last_z), clamp(points[1, k], last_y), clamp(points[2, k], last_x)
        i, j, l = np.int64(a), np.int64(b), np.int64(c)  # noqa: E741
        wz, wy, wx = (
            catmull_rom_weights(a - np.float32(i)),
            catmull_rom_weights(b - np.float32(j)),
            catmull_rom_weights(c - np.float32(l)),
        )
        l0, l1 = max(l - 1, 0), l
        l2, l3 = min(l + 1, width - 1), min(l + 2, width - 1)
        total = ZERO
        for m in range(4):
            slab = volume[min(max(i + m - 1, 0), depth - 1)]
            plane = ZERO
            for n in range(4):
                line = slab[min(max(j + n - 1, 0), height - 1)]
                plane += wy[n] * (wx[0] * line[l0] + wx[1] * line[l1] + wx[2] * line[l2] + wx[3] * line[l3])
            total += wz[m] * plane
        out[k] = total


@device
def nearest_row(shape: Any, points: Array, out: Array) -> None:
    """out[k] = flat index of the voxel nearest to points[:, k], ties upwards as in ITK; -1 outside."""
    depth, height, width = shape
    end_z, end_y, end_x = np.float32(depth), np.float32(height), np.float32(width)
    for k in range(out.size):
        a, b, c = points[0, k] + HALF, points[1, k] + HALF, points[2, k] + HALF
        inside = a >= ZERO and a < end_z and b >= ZERO and b < end_y and c >= ZERO and c < end_x
        out[k] = (np.int64(a) * height + np.int64(b)) * width + np.int64(c) if inside else -1


@device
def is_inside(shape: Any, z: Any, y: Any, x: Any) -> Any:
    """Return whether a voxel index is inside by the convention of ITK: [-0.5, n - 0.5) along each axis."""
    end_z, end_y = np.float32(shape[0]) - HALF, np.float32(shape[1]) - HALF
    end_x = np.float32(shape[2]) - HALF
    return (z >= -HALF) & (z < end_z) & (y >= -HALF) & (y < end_y) & (x >= -HALF) & (x < end_x)


@device
def fill_outside(shape: Any, points: Array, fill: Any, out: Array) -> None:
    """Set out[k] to `fill` where points[:, k] is outside."""
    for k in range(out.size):
        out[k] = out[k] if is_inside(shape, points[0, k], points[1, k], points[2, k]) else fill


@device
def affine_row(matrix: Array, i: int, j: int, out: Array) -> None:
    """out[a, k] = (matrix (3, 4) @ [i, j, k, 1])[a]: starts in float64, steps in float32."""
    for a in range(3):
        start = np.float32(matrix[a, 0] * i + matrix[a, 1] * j + matrix[a, 3])
        step = np.float32(matrix[a, 2])
        for k in range(out.shape[1]):
            out[a, k] = start + np.float32(k) * step


@device
def displaced_row(
    matrix: Array,
    field_matrix: Array,
    vector_matrix: Array,
    field: Array,
    displaced: bool,
    i: int,
    j: int,
    out: Array,
    corner: Array,
    fraction: Array,
    scratch: Array,
    line: Array,
) -> None:
    """out[:, k] = matrix @ [x, 1] + vector_matrix @ field(field_matrix @ [x, 1]) at x = (i, j, k).

    `field` (3, d, h, w) is zero outside and left out unless `displaced`. out is (3, W); corner (W) int64,
    fraction (3, W), scratch (4, W) and line (w + 2) are overwritten.
    """
    affine_row(matrix, i, j, out)
    if displaced:
        points, vector = scratch[:3], scratch[3]
        affine_row(field_matrix, i, j, points)
        # A row runs along one line of the field, for instance between grids of full and half resolution.
        aside = abs(field_matrix[0, 2]) + abs(field_matrix[1, 2])
        straight = aside * out.shape[1] < 1e-6  # voxels
        if not straight:
            cell_row(field.shape[1:], points, corner, fraction)
            for c in range(3):
                trilinear_row(field[c], corner, fraction, vector)
                fill_outside(field.shape[1:], points, ZERO, vector)
                _add_vectors(vector_matrix, c, vector, out)
        elif is_inside(field.shape[1:], points[0, 0], points[1, 0], ZERO):
            # Two voxels of the row are a quarter of a voxel left and right of each voxel of the line.
            doubled = field_matrix[2, 2] == 0.5 and points[2, 0] == -FAR and out.shape[1] <= 2 * field.shape[3]
            if not doubled:
                _cell_line(field.shape[3], points[2], corner, fraction[0])
            for c in range(3):
                _bilinear_line(field[c], points[0, 0], points[1, 0], line[1:-1])
                if doubled:
                    _double_line(line, vector)
                else:
                    _linear_line(line[1:-1], corner, fraction[0], vector)
                    _fill_line(field.shape[3], points[2], vector)
                _add_vectors(vector_matrix, c, vector, out)


@device
def _add_vectors(vector_matrix: Array, c: int, vector: Array, out: Array) -> None:
    """Add the contribution of component c of a field to each coordinate."""
    for a in range(3):
        weight = vector_matrix[a, c]
        if weight != ZERO:
            for k in range(out.shape[1]):
                out[a, k] += weight * vector[k]


@device
def _fill_line(width: int, points: Array, out: Array) -> None:
    """`fill_outside` along one axis."""
    end = np.float32(width) - HALF
    for k in range(out.size):
        out[k] = out[k] if (points[k] >= -HALF) & (points[k] < end) else ZERO


@device
def _double_line(line: Array, out: Array) -> None:
    """out[k] = line at (k - 0.5) / 2 + 1, its first and last voxel repeated; they are overwritten."""
    line[0], line[line.size - 1] = line[1], line[line.size - 2]
    for m in range(out.size // 2):
        out[2 * m] = FAR * line[m] + NEAR * line[m + 1]
        out[2 * m + 1] = NEAR * line[m + 1] + FAR * line[m + 2]
    if out.size & 1:
        m = out.size // 2
        out[2 * m] = FAR * line[m] + NEAR * line[m + 1]


@device
def _cell_line(width: int, points: Array, corner: Array, fraction: Array) -> None:
    """`cell_row` along one axis."""
    last, top = np.float32(width - 1), max(width - 2, 0)
    for k in range(corner.size):
        x = clamp(points[k], last)
        n: Any = min(np.int32(x), top)
        corner[k], fraction[k] = n, x - np.float32(n)


@device
def _bilinear_line(volume: Array, z: Any, y: Any, line: Array) -> None:
    """line[k] = volume (d, h, w) at (z, y, k), clamped."""
    depth, height, width = volume.shape
    a, b = clamp(z, np.float32(depth - 1)), clamp(y, np.float32(height - 1))
    i, j = min(np.int64(a), max(depth - 2, 0)), min(np.int64(b), max(height - 2, 0))
    i1, j1 = min(i + 1, depth - 1), min(j + 1, height - 1)
    a, b = a - np.float32(i), b - np.float32(j)
    near, down, back, both = (ONE - a) * (ONE - b), (ONE - a) * b, a * (ONE - b), a * b
    v00, v01, v10, v11 = volume[i, j], volume[i, j1], volume[i1, j], volume[i1, j1]
    for k in range(width):
        line[k] = near * v00[k] + down * v01[k] + (back * v10[k] + both * v11[k])


@device
def _linear_line(line: Array, corner: Array, fraction: Array, out: Array) -> None:
    """`trilinear_row` along one axis."""
    right = np.uint64(1 if line.size > 1 else 0)
    for k in range(out.size):
        p, c = np.uint64(corner[k]), fraction[k]
        out[k] = (ONE - c) * line[p] + c * line[p + right]


@device
def upsampled_row(coarse: Array, i: int, j: int, line: Array, out: Array) -> None:
    """out[k] = 2 * coarse (d, h, w) at ((i, j, k) - 0.5) / 2, clamped; `line` is scratch of w + 2 voxels."""
    d, h, w = coarse.shape
    i0, j0 = i >> 1, j >> 1
    i1 = min(max(i0 + (1 if i & 1 else -1), 0), d - 1)
    j1 = min(max(j0 + (1 if j & 1 else -1), 0), h - 1)
    nn, nf, fn, ff = coarse[i0, j0], coarse[i0, j1], coarse[i1, j0], coarse[i1, j1]
    for m in range(w):
        line[m + 1] = NEAR_NEAR * nn[m] + NEAR_FAR * (nf[m] + fn[m]) + FAR_FAR * ff[m]
    _double_line(line, out)
