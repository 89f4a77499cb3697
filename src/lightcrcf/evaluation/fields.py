"""Conversion of a transform to a dense displacement on a grid, for the measures of regularity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.determinant import jacobian_determinant
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample

if TYPE_CHECKING:
    from lightcrcf.transforms.chain import Chain

__all__ = ["deformation", "deformation_determinant", "total_displacement"]

Field = NDArray[np.float32]

_SLAB = 16


def deformation(chain: Chain, onto: Grid) -> Field:
    """Compute the deformation without the affines: v with before^-1(before(x) + u(before(x))) = x + v(x).

    The Jacobian determinant of x + v(x) is that of the whole chain, up to the constant factor of the affines.

    Args:
        chain: fixed points to moving points.
        onto: the fixed grid.

    Returns:
        (3, D, H, W) displacement in voxels of `onto`; zeros if the chain has no field.
    """
    if chain.field is None:
        return np.zeros((3, *onto.shape), dtype=np.float32)
    lattice = chain.field.grid
    before = chain.before.matrix
    where = (lattice.inverse @ before @ onto.affine)[:3]
    vectors = np.linalg.inv((before @ onto.affine)[:3, :3]) @ lattice.affine[:3, :3]
    sampled = np.stack([resample(component, onto.shape, where) for component in chain.field.displacement])
    return _transform_vectors(vectors, sampled)


def deformation_determinant(chain: Chain, onto: Grid) -> Field:
    """Compute the Jacobian determinant of the deformation without the affines at the voxels of a grid.

    The field is sampled at the voxels of `onto` and then differentiated, so that a field of another resolution is
    differentiated as it is interpolated. The determinant depends neither on spacing nor on the order of axes.

    Args:
        chain: fixed points to moving points.
        onto: the fixed grid.

    Returns:
        (D, H, W) float32, volume after to volume before; 1 everywhere if the chain has no field.
    """
    out = np.ones(onto.shape, dtype=np.float32)
    if chain.field is None:
        return out
    depth, height, width = onto.shape
    for start in range(0, depth, _SLAB):  # all vectors at once would take three times the memory of the result
        stop = min(start + _SLAB, depth)
        first, last = max(start - 1, 0), min(stop + 1, depth)
        sampled = deformation(chain, onto.crop((first, 0, 0), (last - first, height, width)))
        out[start:stop] = jacobian_determinant(sampled)[start - first : stop - first]
    return out


def total_displacement(chain: Chain, fixed: Grid, moving: Grid) -> Field:
    """Compute the displacement between voxel indices, affines included: w with T(x) = x + w(x).

    Args:
        chain: fixed points to moving points.
        fixed: grid of the fixed image; x are its voxel indices.
        moving: grid of the moving image; T(x) are its voxel indices.

    Returns:
        (3, D, H, W) float32.
    """
    matrix = moving.inverse @ chain.after.matrix @ chain.before.matrix @ fixed.affine
    # T(x) = M (x + v(x)) + t, so w(x) = (M - 1) x + t + M v(x).
    indices = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in fixed.shape), indexing="ij", sparse=True)
    linear, shift = matrix[:3, :3].astype(np.float32), matrix[:3, 3].astype(np.float32)
    total = _transform_vectors(linear, deformation(chain, fixed))
    for row in range(3):
        total[row] += shift[row]
        for column in range(3):
            total[row] += (linear[row, column] - np.float32(row == column)) * indices[column]
    return total


def _transform_vectors(linear: NDArray[np.floating], vectors: Field) -> Field:
    """Apply a (3, 3) matrix to each vector of a (3, D, H, W) field."""
    return np.tensordot(linear.astype(np.float32), vectors, axes=1)
