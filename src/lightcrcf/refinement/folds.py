"""Repair folds of a displacement field: voxels at which the determinant of its Jacobian is not positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.determinant import determinants_at, jacobian_determinant, voxels_around
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth

__all__ = ["count_folds", "repair_folds", "smooth_folds"]

Float32 = NDArray[np.float32]

_PASSES, _FEW_FOLDS = 6, 10_000  # of smoothing, and the most folded voxels that it is tried on
_MIN_DETERMINANT = 0.05
# Shares by which a step is taken back, and how many voxels around a fold; after three tries for folds alone.
_TRIES, _STEP_BACK = 3, ((0.5, 2), (0.5, 2), (0.5, 2), (1.0, 2), (1.0, 3), (1.0, 4))


def count_folds(field: Float32) -> int:
    """Count the voxels at which a field folds.

    Args:
        field: (3, D, H, W) voxels.
    """
    return int(np.count_nonzero(jacobian_determinant(field) <= 0))


def smooth_folds(field: Float32, allowed: int) -> tuple[Float32, int]:
    """Smooth a field around its folds, in a growing neighbourhood, until no more than `allowed` voxels fold.

    Upsampling can fold a voxel; so few must not cost the whole refinement.

    Args:
        field: (3, D, H, W) voxels.
        allowed: number of folded voxels.

    Returns:
        the field, a copy if it was changed, and how many voxels fold.
    """
    taps, smoothed = gaussian_taps((1.0, 1.0, 1.0)), np.empty_like(field, order="C")
    for radius in range(1, _PASSES + 1):
        folded = np.flatnonzero(jacobian_determinant(field) <= 0)
        if len(folded) <= allowed or len(folded) > _FEW_FOLDS:
            return field, len(folded)
        smooth(field, taps, smoothed)
        near = voxels_around(folded, radius + 1, field.shape[1:])
        field = field.copy() if radius == 1 else field
        field.reshape(3, -1)[:, near] = smoothed.reshape(3, -1)[:, near]
    return field, count_folds(field)


def repair_folds(candidate: Float32, field: Float32, determinants: Float32) -> Float32 | None:
    """Take a step back wherever it is about to fold: halfway at first, then all the way and further around.

    Where `field` is no better the step stays: smoothing undoes the folds of a start.

    Args:
        candidate: (3, D, H, W) voxels, the field after the step; changed in place.
        field: before the step.
        determinants: (D, H, W), overwritten.

    Returns:
        `candidate`, or None if it folds in more voxels than `field`.
    """
    if jacobian_determinant(candidate, determinants).min() > _MIN_DETERMINANT:
        return candidate
    vectors, before, flat = candidate.reshape(3, -1), field.reshape(3, -1), determinants.reshape(-1)
    for number, (share, radius) in enumerate(_STEP_BACK):
        low = np.flatnonzero(flat <= _MIN_DETERMINANT)
        worse = low[flat[low] < determinants_at(field, low)]
        if not len(worse) or (number >= _TRIES and not (flat[low] <= 0).any()):
            return candidate
        near = voxels_around(worse, radius, field.shape[1:])
        vectors[:, near] += np.float32(share) * (before[:, near] - vectors[:, near])
        changed = voxels_around(worse, radius + 1, field.shape[1:])
        flat[changed] = determinants_at(candidate, changed)
    folded = np.count_nonzero(flat <= 0)
    return candidate if folded <= np.count_nonzero(jacobian_determinant(field, determinants) <= 0) else None
