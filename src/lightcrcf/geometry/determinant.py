"""The Jacobian determinant of displacement fields, and a gradient step on its penalty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["determinants_at", "even_out", "jacobian_determinant", "voxels_around"]

Float32 = NDArray[np.float32]


def jacobian_determinant(displacement: Float32, out: Float32 | None = None) -> Float32:
    """Return det(I + du/dx) at every voxel: local volume change, negative where the map folds.

    Args:
        displacement: u, (3, D, H, W) voxels.
        out: (D, H, W) float32, C-contiguous, overwritten and returned; must not share memory with u.

    Returns:
        (D, H, W) float32. Derivatives are central differences, one-sided at the borders.

    Example:
        >>> u = np.zeros((3, 4, 5, 6), np.float32)
        >>> u[1] = 0.5 * np.arange(5, dtype=np.float32)[:, None]
        >>> np.unique(jacobian_determinant(u)).tolist()
        [1.5]
    """
    out = np.empty(displacement.shape[1:], np.float32) if out is None else out
    _core.jacobian_determinant(contiguous(displacement), out)
    return out


def even_out(displacement: Float32, determinants: Float32, rate: float) -> None:
    """Take a gradient step, in place, on the penalty of volume change (J + 1 / J) / 2, J the Jacobian determinant.

    Near J = 1 the penalty is 1 + log(J)^2 / 2, symmetric in shrinking and growing. The step is u += rate * grad p, with
    p = (J - 1 / J) / 2, the derivative by log J. The derivative of J is taken at the identity.

    Args:
        displacement: u, (3, D, H, W) float32, C-contiguous, voxels.
        determinants: (D, H, W) float32 of u; those beyond [1/5, 5] count as these.
        rate: squared voxels; stable up to 2/3, where one step removes all but the longest waves.

    Source:
        A. D. Leow et al., "Statistical properties of Jacobian maps and the realization of unbiased large-deformation
        nonlinear image registration", IEEE Trans. Medical Imaging 2007 (why log J, and why symmetric). This penalty
        needs no logarithm.

    Example:
        >>> x = np.arange(40, dtype=np.float32)
        >>> u = np.zeros((3, 40, 40, 40), np.float32)
        >>> u[2] = np.sin(x / 3)
        >>> before = jacobian_determinant(u)
        >>> even_out(u, before, 0.5)
        >>> bool(np.log(jacobian_determinant(u)).std() < 0.97 * np.log(before).std())
        True
    """
    _core.even_out(displacement, determinants, rate)


def determinants_at(displacement: Float32, voxels: NDArray[np.intp]) -> Float32:
    """Return `jacobian_determinant` at some voxels.

    Args:
        displacement: u, (3, D, H, W) voxels.
        voxels: (n,) indices into the flattened (D, H, W).

    Returns:
        (n,) float32.

    Example:
        >>> u = np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype(np.float32)
        >>> everywhere = jacobian_determinant(u).ravel()
        >>> bool(np.allclose(determinants_at(u, np.array([0, 77])), everywhere[[0, 77]], atol=1e-5))
        True
    """
    out = np.empty(len(voxels), np.float32)
    _core.determinants_at(contiguous(displacement), contiguous(voxels, np.int64), out)
    return out


def voxels_around(voxels: NDArray[np.intp], radius: int, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return all voxels in cubes around some voxels, each once.

    Args:
        voxels: (n,) indices into the flattened array.
        radius: voxels to each side.
        shape: (D, H, W) of the array.

    Returns:
        (m,) indices, in order.

    Example:
        >>> voxels_around(np.array([0, 5]), 1, (1, 2, 5)).tolist()
        [0, 1, 5, 6]
    """
    marked = np.zeros(shape, np.uint8)
    _core.mark_cubes(contiguous(voxels, np.int64), radius, marked)
    return np.flatnonzero(marked.view(np.bool_))
