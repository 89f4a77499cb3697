"""Regularity of a displacement field: folding, non-diffeomorphic volume, and the standard deviation of log J.

Fields are (3, D, H, W) displacements in voxels of their own grid, channel c along axis c. With u the field, J(x) is the
determinant of the derivative of x + u(x). Applying an affine before or after the field multiplies J by a constant, so
folding and `sdlogj` are the same with and without it (as long as the affine itself does not mirror).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import check_same_shape
from lightcrcf.geometry.determinant import jacobian_determinant

__all__ = ["folding_percent", "ndv_percent", "sdlogj", "sdlogj_l2r"]

Field = NDArray[np.float32]
_FLOOR, _CEILING = 1e-9, 1e9
_SLAB = 16


def folding_percent(displacement: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Compute the percentage of voxels with J <= 0, without clipping, offset or exclusion of the border.

    J is computed by central differences inside and one-sided differences at the border.

    Args:
        displacement: (3, D, H, W) in voxels, each size at least 2.
        mask: (D, H, W); only its non-zero voxels count.

    Raises:
        InputError: if the field is no (3, D, H, W), or the mask is empty or of another shape.

    Example:
        >>> import numpy as np
        >>> mirrored = np.zeros((3, 4, 5, 6), dtype=np.float32)
        >>> mirrored[1] = -2 * np.arange(5)[:, None]
        >>> folding_percent(mirrored)
        100.0
    """
    return 100.0 * float(np.mean(_determinants(displacement, mask) <= 0))


def sdlogj(displacement: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Standard deviation of log(clip(J, 1e-9, 1e9)): the true one wherever nothing folds.

    Clipping sets a folded voxel to log(1e-9) = -20.7, so that one fold in a thousand voxels adds about 0.65 in
    quadrature. Report it with `folding_percent`. It is not comparable with published results of Learn2Reg: see
    `sdlogj_l2r`.

    Args:
        displacement: (3, D, H, W) in voxels, each size at least 2.
        mask: (D, H, W); only its non-zero voxels count.

    Raises:
        InputError: as `folding_percent`.
    """
    inside = _determinants(displacement, mask).astype(np.float64)
    return float(np.std(np.log(np.clip(inside, _FLOOR, _CEILING))))


def sdlogj_l2r(displacement: ArrayLike) -> float:
    """Compute SDlogJ as Learn2Reg does: std of log(clip(J + 3, 1e-9, 1e9)), without two voxels at the border.

    The + 3 makes it about four times smaller than `sdlogj` and insensitive to folding. Use it only for comparison with
    published results of Learn2Reg.

    Args:
        displacement: (3, D, H, W) in voxels, each size at least 5.

    Raises:
        InputError: if the field is no (3, D, H, W) or too small.

    Source: MDL-UzL/L2R, evaluation code.
    """
    determinants = jacobian_determinant(_validate(displacement, smallest=5))[2:-2, 2:-2, 2:-2].astype(np.float64)
    return float(np.std(np.log(np.clip(determinants + 3.0, _FLOOR, _CEILING))))


def ndv_percent(displacement: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Compute the non-diffeomorphic volume in percent of the scored voxels.

    Every cube of eight voxels is split into five tetrahedra in both possible ways; the volumes of inverted tetrahedra
    are added and halved. Unlike J by central differences, this detects a single voxel that jumps over its neighbour.
    The outermost voxels are not scored, as in the reference implementation. That one masks with the moving image;
    pass the fixed brain here, and report it.

    Args:
        displacement: (3, D, H, W) in voxels, each size at least 3.
        mask: (D, H, W); only its non-zero voxels count.

    Raises:
        InputError: as `folding_percent`.

    Source: Liu et al., "On finite difference Jacobian computation in deformable image registration", IJCV 2024
        (arXiv:2212.06060).
    """
    field = _validate(displacement, smallest=3)
    shape = field.shape[1:]
    scored = np.ones(shape, dtype=bool) if mask is None else _validate_mask(mask, shape)
    scored = scored[1:-1, 1:-1, 1:-1]
    if not scored.any():
        raise InputError("mask", expected="a voxel off the border", got="none", remedy="check the mask")
    volume = 0.0
    # Slabs along the first axis keep the ten determinants of a voxel in cache.
    for start in range(0, shape[0] - 2, _SLAB):
        slab = field[:, start : start + _SLAB + 2]
        volume += float(_inverted_volume(slab)[scored[start : start + _SLAB]].sum(dtype=np.float64))
    return 100.0 * volume / int(scored.sum())


def _inverted_volume(field: Field) -> Field:
    """Return the (d, h, w) inverted volume at each inner voxel of (3, d + 2, h + 2, w + 2), mean of both partitions."""
    total: Field = np.zeros(tuple(n - 2 for n in field.shape[1:]), dtype=np.float32)
    for edges in _tetrahedra():
        vectors = [_edge(field, edge) for edge in edges]
        # Some of these triples are left-handed in the undeformed grid.
        upright = np.float32(np.sign(np.linalg.det(np.array(edges))))
        total -= np.minimum(upright * _triple_product(*vectors), 0.0)
    return np.asarray(total / np.float32(12.0))  # 1/6 for a tetrahedron, 1/2 for two partitions


def _tetrahedra() -> list[tuple[tuple[int, int, int], ...]]:
    """Return the edges from a voxel that span its eight corner tetrahedra and two of the central ones."""
    corners = [((a, 0, 0), (0, b, 0), (0, 0, c)) for a, b, c in product((1, -1), repeat=3)]
    return [*corners, *(((s, s, 0), (s, 0, s), (0, s, s)) for s in (1, -1))]


def _edge(field: Field, step: tuple[int, int, int]) -> list[Field]:
    """Return the transformed edge from x to x + step at every inner voxel, as three component arrays."""
    there = tuple(slice(1 + s, n - 1 + s) for s, n in zip(step, field.shape[1:], strict=True))
    return [field[c][there] - field[c, 1:-1, 1:-1, 1:-1] + np.float32(step[c]) for c in range(3)]


def _triple_product(a: list[Field], b: list[Field], c: list[Field]) -> Field:
    return np.asarray(
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


def _determinants(displacement: ArrayLike, mask: ArrayLike | None) -> NDArray[np.float32]:
    determinants: Field = jacobian_determinant(_validate(displacement, smallest=2))
    return determinants if mask is None else determinants[_validate_mask(mask, determinants.shape)]


def _validate(displacement: ArrayLike, *, smallest: int) -> Field:
    field = np.ascontiguousarray(displacement, dtype=np.float32)
    if field.ndim != 4 or field.shape[0] != 3 or min(field.shape[1:]) < smallest:
        raise InputError(
            "displacement",
            expected=f"(3, D, H, W) with sizes of at least {smallest}",
            got=str(field.shape),
            remedy="put the channel first",
        )
    return field


def _validate_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.asarray(mask) != 0
    check_same_shape(np.empty(shape, dtype=bool), inside, "mask")
    if not inside.any():
        raise InputError("mask", expected="at least one voxel inside", got="none", remedy="check the mask")
    return inside
