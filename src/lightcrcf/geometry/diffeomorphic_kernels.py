"""Kernels that detect and repair folds in the cells between voxels.

The map is y = x + u(x), trilinear in each cell between eight voxels. Cell (i, j, k) lies between the voxels
(i - 1, j - 1, k - 1) and (i, j, k): a field of D x H x W voxels has (D + 1) x (H + 1) x (W + 1) cells, those at the
border with u repeated beyond it. In a cell the Jacobian determinant is a polynomial of second degree along each axis;
it lies between the minimum and the maximum of its 27 Bernstein coefficients. Each of these is a weighted sum of
determinants of three of the cell's edges, and so is the volume of its two inner tetrahedra: 29 numbers to a cell.

Voxels of a cell are numbered 4 i + 2 j + k, its edges 4 axis + 2 p + q at positions p and q along the two other axes.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel
from lightcrcf.geometry.sampling import ONE, ZERO

__all__ = ["lowest_determinants", "mark_around", "smooth_at", "unfold"]

Array = NDArray[Any]

_HALF, _QUARTER, _SIXTY_FOURTH = np.float32(0.5), np.float32(0.25), np.float32(1 / 64)
_SMALL, _HUGE = np.float32(1e-4), np.float32(1e8)


def _terms() -> list[tuple[int, float, int, int, int]]:
    """Return (number, weight, edge, edge, edge): number = sum of weight * det(edge, edge, edge) over its terms."""
    terms = []
    # d/di is a polynomial in j and k with the edges along i as coefficients, and so on; degrees add up in products.
    for j, k, i1, k1, i2, j2 in product((0, 1), repeat=6):
        degrees = i1 + i2, j + j2, k + k1
        weight = 0.5 ** degrees.count(1)
        number = 9 * degrees[0] + 3 * degrees[1] + degrees[2]
        terms.append((number, weight, 2 * j + k, 4 + 2 * i1 + k1, 8 + 2 * i2 + j2))
    for s, o in ((0, 1), (1, 0)):
        # From voxel (s, s, s) to the three across its faces: left-handed, and twice as large as one at a corner.
        to_ij = (3 * s, 4 + 2 * o + s)
        to_ik = (3 * s, 8 + 2 * o + s)
        to_jk = (4 + 3 * s, 8 + 2 * s + o)
        for edges in product(to_ij, to_ik, to_jk):
            if len(set(edges)) == 3:
                terms.append((27 + s, -0.5, *edges))
    return sorted(terms)


_NUMBER = np.array([term[0] for term in _terms()])
_WEIGHT = np.array([term[1] for term in _terms()], np.float32)
_EDGES = np.array([term[2:] for term in _terms()])
_FROM = np.array([0, 1, 2, 3, 0, 1, 4, 5, 0, 2, 4, 6])
"""Voxel where each edge starts; it ends 4, 2 or 1 further on."""


@device
def _voxels(cell: Any, shape: Any, out: Array) -> Any:
    """out (8): flat indices of the voxels of a cell. Returns a mask: n & mask is the first that is the same as n."""
    height, width = shape[1] + 1, shape[2] + 1
    i, j, k = cell // (height * width), cell // width % height, cell % width
    i0, i1, j0, j1 = max(i - 1, 0), min(i, shape[0] - 1), max(j - 1, 0), min(j, shape[1] - 1)
    k0, k1 = max(k - 1, 0), min(k, shape[2] - 1)
    for n in range(8):
        a, b, c = i1 if n & 4 else i0, j1 if n & 2 else j0, k1 if n & 1 else k0
        out[n] = (a * shape[1] + b) * shape[2] + c
    return (4 if i1 > i0 else 0) + (2 if j1 > j0 else 0) + (1 if k1 > k0 else 0)


@device
def _edge_vectors(flat: Array, voxels: Array, out: Array) -> None:
    """out (12, 3) = the edges of a cell after x + u(x); flat is u as (3, voxels)."""
    for n in range(12):
        start, axis = _FROM[n], n >> 2
        for c in range(3):
            unit = ONE if c == axis else ZERO
            out[n, c] = unit + (flat[c, voxels[start + (4 >> axis)]] - flat[c, voxels[start]])


@device
def _lowest(edges: Array, numbers: Array) -> Any:
    """Return the minimum of the numbers of a cell and its index; NaN counts as minimum. Overwrites numbers (29)."""
    for n in range(29):
        numbers[n] = ZERO
    for t in range(_NUMBER.size):
        a, b, c = edges[_EDGES[t, 0]], edges[_EDGES[t, 1]], edges[_EDGES[t, 2]]
        numbers[_NUMBER[t]] += _WEIGHT[t] * _determinant(a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2])
    least, which = _HUGE, 0
    for n in range(29):
        if not numbers[n] >= least:
            least, which = numbers[n], n
    return least, which


@device
def _gradient(edges: Array, which: int, mask: int, out: Array) -> Any:
    """out (8, 3) = derivative of number `which` of a cell by the displacements of its voxels.

    Voxels that are one and the same, at a border, add up in the first of them. Returns the squared length.
    """
    out[:] = ZERO
    for t in range(_NUMBER.size):
        if _NUMBER[t] == which:
            for turn in range(3):
                n = _EDGES[t, turn]
                a, b = edges[_EDGES[t, (turn + 1) % 3]], edges[_EDGES[t, (turn + 2) % 3]]
                start, end = _FROM[n] & mask, (_FROM[n] + (4 >> (n >> 2))) & mask
                for c in range(3):
                    p, q = (c + 1) % 3, (c + 2) % 3
                    by_edge = _WEIGHT[t] * (a[p] * b[q] - a[q] * b[p])
                    out[start, c] -= by_edge
                    out[end, c] += by_edge
    squared = ZERO
    for n in range(8):
        for c in range(3):
            squared += out[n, c] * out[n, c]
    return squared


@kernel
def unfold(u: Array, cells: Array, floor: Any, target: Any, factor: Any, moved: Array) -> None:
    """Move the voxels of cells with a minimum below `floor` along its gradient, by `factor` times the gap to `target`.

    Each move is a Newton step on the linearised number, limited to half a voxel, and repeated once if needed. moved[n]
    becomes 1 if cell n changed. No two cells may share a voxel.

    Args:
        u: (3, D, H, W), changed in place.
        cells: (N) flat indices of cells.
        floor, target, factor: float32.
        moved: (N) uint8.
    """
    for n in prange(cells.size):
        moved[n] = _unfold_one(u, np.int64(cells[n]), floor, target, factor)


@device
def _unfold_one(u: Array, cell: Any, floor: Any, target: Any, factor: Any) -> Any:
    edges, numbers, gradient = np.empty((12, 3), np.float32), np.empty(29, np.float32), np.empty((8, 3), np.float32)
    voxels, flat = np.empty(8, np.int64), u.reshape(3, -1)
    mask = _voxels(cell, u.shape[1:], voxels)
    for turn in range(2):
        _edge_vectors(flat, voxels, edges)
        least, which = _lowest(edges, numbers)
        if least >= floor:
            return turn
        squared = _gradient(edges, which, mask, gradient)
        if not (squared > _SMALL and squared < _HUGE):
            return turn
        step = min(factor * (target - least) / squared, _HALF / np.sqrt(squared))
        for n in range(8):
            for c in range(3):
                # Duplicates of voxels at a border have no gradient.
                flat[c, voxels[n]] += step * gradient[n, c]
    return 1


@device
def _modes(u: Array, i0: int, i1: int, j0: int, j1: int, k: int) -> Any:
    """Of the cell that ends at voxel k: its mean edges along the three axes, and how its edges differ from those.

    With the voxels at -1 and 1, u is a sum of products of coordinates; these are twice the factors of i, j, k, ij, ik,
    jk and ijk.
    """
    a, b, c, d = u[i0, j0, k - 1], u[i0, j1, k - 1], u[i1, j0, k - 1], u[i1, j1, k - 1]
    e, f, g, h = u[i0, j0, k], u[i0, j1, k], u[i1, j0, k], u[i1, j1, k]
    near_i, far_i, near_j, far_j = (c + d) - (a + b), (g + h) - (e + f), (b + d) - (a + c), (f + h) - (e + g)
    near_ij, far_ij = (d - c) - (b - a), (h - g) - (f - e)
    return (
        _QUARTER * (near_i + far_i), _QUARTER * (near_j + far_j),
        _QUARTER * (((e + f) + (g + h)) - ((a + b) + (c + d))),
        _QUARTER * (near_ij + far_ij), _QUARTER * (far_i - near_i), _QUARTER * (far_j - near_j),
        _QUARTER * (far_ij - near_ij),
    )  # fmt: skip


@device
def _determinant(a0: Any, a1: Any, a2: Any, b0: Any, b1: Any, b2: Any, c0: Any, c1: Any, c2: Any) -> Any:
    return a0 * (b1 * c2 - b2 * c1) + a1 * (b2 * c0 - b0 * c2) + a2 * (b0 * c1 - b1 * c0)


@device
def _length(x: Any, y: Any, z: Any) -> Any:
    return np.sqrt(x * x + y * y + z * z)


@device
def _bound_row(u: Array, i: int, j: int, out: Array) -> None:
    """out[k] = at most the least number of cell (i, j, k), 0 < k < W.

    The coefficients are at least the determinant of the mean edges less what edges of such a spread can take away
    (Hadamard's inequality, edge by edge); the tetrahedra come out exactly. Free of branches, for vector instructions.
    """
    i0, i1 = max(i - 1, 0), min(i, u.shape[1] - 1)
    j0, j1 = max(j - 1, 0), min(j, u.shape[2] - 1)
    for k in range(1, out.size - 1):
        a0, b0, c0, d0, e0, f0, g0 = _modes(u[0], i0, i1, j0, j1, k)
        a1, b1, c1, d1, e1, f1, g1 = _modes(u[1], i0, i1, j0, j1, k)
        a2, b2, c2, d2, e2, f2, g2 = _modes(u[2], i0, i1, j0, j1, k)
        a0, b1, c2 = a0 + ONE, b1 + ONE, c2 + ONE
        p = _length(abs(d0) + abs(e0) + abs(g0), abs(d1) + abs(e1) + abs(g1), abs(d2) + abs(e2) + abs(g2))
        q = _length(abs(d0) + abs(f0) + abs(g0), abs(d1) + abs(f1) + abs(g1), abs(d2) + abs(f2) + abs(g2))
        r = _length(abs(e0) + abs(f0) + abs(g0), abs(e1) + abs(f1) + abs(g1), abs(e2) + abs(f2) + abs(g2))
        loss = p * _length(b1 * c2 - b2 * c1, b2 * c0 - b0 * c2, b0 * c1 - b1 * c0) + p * q * r
        loss += q * _length(c1 * a2 - c2 * a1, c2 * a0 - c0 * a2, c0 * a1 - c1 * a0) + q * r * _length(a0, a1, a2)
        loss += r * _length(a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0) + p * r * _length(b0, b1, b2)
        loss += p * q * _length(c0, c1, c2)
        x0, y0, z0, x1, y1, z1 = a0 + b0, a0 + c0, b0 + c0, a1 + b1, a1 + c1, b1 + c1
        x2, y2, z2 = a2 + b2, a2 + c2, b2 + c2
        p0, q0, r0, p1, q1, r1 = e0 + f0, d0 + f0, d0 + e0, e1 + f1, d1 + f1, d1 + e1
        p2, q2, r2 = e2 + f2, d2 + f2, d2 + e2
        one = _determinant(x0 + p0, x1 + p1, x2 + p2, y0 + q0, y1 + q1, y2 + q2, z0 + r0, z1 + r1, z2 + r2)
        two = _determinant(x0 - p0, x1 - p1, x2 - p2, y0 - q0, y1 - q1, y2 - q2, z0 - r0, z1 - r1, z2 - r2)
        coefficient = _determinant(a0, a1, a2, b0, b1, b2, c0, c1, c2) - loss
        out[k] = min(coefficient, -_HALF * max(one, two))


@kernel
def lowest_determinants(u: Array, enough: Any, out: Array) -> None:
    """out (D + 1, H + 1, W + 1) = the minimum of each cell, or a lower bound if that is at least `enough`.

    Args:
        u: (3, D, H, W) float32 voxels.
        enough: float32; infinity for exact minima everywhere.
        out: float32.
    """
    for i in prange(out.shape[0]):
        _lowest_plane(u, enough, np.int64(i), out)


@device
def _lowest_plane(u: Array, enough: Any, i: Any, out: Array) -> None:
    edges, numbers = np.empty((12, 3), np.float32), np.empty(29, np.float32)
    voxels, flat = np.empty(8, np.int64), u.reshape(3, -1)
    for j in range(out.shape[1]):
        row = out[i, j]
        row[0] = row[row.size - 1] = -_HUGE
        _bound_row(u, i, j, row)
        for k in range(row.size):
            if not row[k] >= enough:
                _voxels((i * out.shape[1] + j) * row.size + k, u.shape[1:], voxels)
                _edge_vectors(flat, voxels, edges)
                row[k], _ = _lowest(edges, numbers)


@kernel
def mark_around(cells: Array, out: Array) -> None:
    """out (D, H, W) uint8 = 1 at each flat index of `cells` and its 26 neighbours."""
    for n in prange(cells.size):
        _mark_one(np.int64(cells[n]), out)


@device
def _mark_one(cell: Any, out: Array) -> None:
    depth, height, width = out.shape
    i, j, k = cell // (height * width), cell // width % height, cell % width
    for a in range(max(i - 1, 0), min(i + 2, depth)):
        for b in range(max(j - 1, 0), min(j + 2, height)):
            for c in range(max(k - 1, 0), min(k + 2, width)):
                out[a, b, c] = 1


@kernel
def smooth_at(u: Array, voxels: Array, out: Array) -> None:
    """out (3, N) = u (3, D, H, W) averaged with the weights 1, 2, 1 along each axis at flat indices (N)."""
    for n in prange(voxels.size):
        _smooth_one(u, np.int64(voxels[n]), out[:, n])


@device
def _smooth_one(u: Array, voxel: Any, out: Array) -> None:
    _, depth, height, width = u.shape
    i, j, k = voxel // (height * width), voxel // width % height, voxel % width
    for axis in range(3):
        total = ZERO
        for a in range(-1, 2):
            for b in range(-1, 2):
                row = u[axis, min(max(i + a, 0), depth - 1), min(max(j + b, 0), height - 1)]
                weight = np.float32((2 - abs(a)) * (2 - abs(b)))
                total += weight * (row[max(k - 1, 0)] + row[k] + row[k] + row[min(k + 1, width - 1)])
        out[axis] = total * _SIXTY_FOURTH
