"""The refinement's similarity measure across contrasts: the local coefficient of determination R^2, and its force.

In each window the moved image m is regressed on 1, f and f^2 of the fixed image, which fits any contrast of three
tissues: R^2 = c' S^-1 c / (var(m) + floor), with c the covariances of m with f and f^2, and S the covariance matrix of
f and f^2. Windows are those of `refinement_kernels`; S is inverted once for all steps with the same f and weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["explained_basis", "explained_force", "explained_terms", "locally_explained"]

Float32 = NDArray[np.float32]

RIDGE = 1e-4  # on the diagonal of S, for images of unit range; larger values were worse
FLOOR = 1e-5  # added to variances, so that flat windows count as unexplained


def explained_basis(fixed: Float32, weight: Float32 | None, radius: int, out: Float32) -> None:
    """Compute what all steps share: local means of f and f^2, and the inverse Cholesky factor of their covariance.

    Args:
        fixed: (D, H, W), zero outside.
        weight: (D, H, W) of the voxels in the statistics; None counts all voxels, and zeros outside.
        radius: voxels to each side.
        out: (5, D, H, W), overwritten: both means, and p, q, r with (p c1)^2 + (q c2 + r c1)^2 = c' S^-1 c.
    """
    _core.explained_basis(contiguous(fixed), None if weight is None else contiguous(weight), radius, RIDGE, out)


def explained_terms(
    fixed: Float32,
    moved: Float32,
    weight: Float32 | None,
    basis: Float32,
    radius: int,
    out: Float32,
    noise: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float, float]:
    """Compute the sums of s R^2 and of s, with s(x) = var(f)^(1/2) as in `correlation_terms`, and gradient terms.

    R^2 is limited to (1 - noise / var) of one image times that of the other, its value if only noise is unexplained:
    windows that reach the limit exert no force.

    Args:
        fixed, moved: (D, H, W).
        weight, radius: as for `explained_basis`.
        basis: (5, D, H, W) from `explained_basis`.
        out: (4, D, H, W), overwritten: the terms for `explained_force`.
        noise: variances of the noise of the fixed and the moved image, each in its own squared units.

    Returns:
        The sum of s R^2, the sum of s, and the upper limit of the sum of s R^2, as from `correlation_terms`.
    """
    sums = np.empty((3, fixed.shape[1]))
    fixed, moved, weight = contiguous(fixed), contiguous(moved), None if weight is None else contiguous(weight)
    _core.explained_terms(fixed, moved, weight, radius, (RIDGE, FLOOR, *noise), basis, out, sums)
    gained, counted, attainable = sums.sum(axis=1)
    return float(gained), float(counted), float(attainable)


def explained_force(
    fixed: Float32, moved: Float32, weight: Float32 | None, terms: Float32, radius: int, out: Float32
) -> None:
    """Compute the force out = d(sum of s R^2)/dm times the gradient of `moved`, which raises R^2.

    Args:
        fixed, moved, weight, radius: as for `explained_terms`.
        terms: (4, D, H, W) from `explained_terms`.
        out: (3, D, H, W), overwritten.
    """
    fixed, moved, weight = contiguous(fixed), contiguous(moved), None if weight is None else contiguous(weight)
    _core.explained_force(fixed, moved, weight, radius, terms, out)


def locally_explained(fixed: Float32, moved: Float32, radius: int) -> Float32:
    """Return R^2 of `moved` given `fixed` in the cube of 2 * radius + 1 voxels about each voxel, in [0, 1].

    Args:
        fixed, moved: (D, H, W), zero outside.
        radius: voxels to each side.

    Returns:
        (D, H, W) float32.

    Example:
        >>> image = np.random.default_rng(0).random((5, 6, 7), dtype=np.float32)
        >>> locally_explained(image, (image - 0.5) ** 2, 1)[2, 3, 3:5].round(1).tolist()
        [1.0, 1.0]
    """
    out = np.empty(fixed.shape, np.float32)
    _core.locally_explained(contiguous(fixed), contiguous(moved), radius, out)
    return out
