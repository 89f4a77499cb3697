"""Metrics of the transform alone: folding and volume change of the field, shape of the affine, inverse consistency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.determinant import jacobian_determinant
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain

__all__ = ["affine_metrics", "field_metrics", "inverse_metrics", "is_mirrored"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_HALF_WINDOW = 4  # voxels: half the width of the cubes over which volume ratios are averaged
_BORDER_PERCENTILE = 99.0


def field_metrics(
    displacement: Float32, mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64], pool: Shape = (1, 1, 1)
) -> QualityMetrics:
    """Return folding, Jacobian and displacement metrics of a field.

    Args:
        displacement: (3, d, h, w), in voxels of its grid.
        mask: (d, h, w), the foreground; without it only the displacement at the border is measured.
        spacing_mm: (3,) of the field's grid.
        pool: voxels of the working grid per voxel of the field, along each axis.
    """
    border = QualityMetrics(border_displacement_mm=_border_displacement_mm(displacement, spacing_mm))
    if not mask.any():
        return border
    everywhere = jacobian_determinant(displacement)
    smallest, largest = _window_ratios(everywhere, mask, pool)
    determinant = everywhere[mask]
    steps = (np.square(u[mask] * s) for u, s in zip(displacement, np.asarray(spacing_mm, np.float32), strict=True))
    length_mm = np.sqrt(sum(steps, np.float32(0)))
    p01, p99 = map(float, np.percentile(determinant, (1, 99)))
    return border | QualityMetrics(
        folding_percent=100.0 * float(np.mean(determinant <= 0)),
        jacobian_min=float(determinant.min()),
        jacobian_p01=p01,
        jacobian_p99=p99,
        jacobian_max=float(determinant.max()),
        place_ratio_min=smallest,
        place_ratio_max=largest,
        displacement_p99_mm=float(np.percentile(length_mm, 99)),
    )


def _border_displacement_mm(displacement: Float32, spacing_mm: NDArray[np.float64]) -> float:
    """Return the 99th percentile of the displacement's length on the faces of its grid."""
    step = np.asarray(spacing_mm).astype(np.float32).reshape(3, 1, 1)
    faces = [np.take(displacement, end, axis=axis + 1) for axis in range(3) for end in (0, -1)]
    lengths = [np.sqrt(np.square(face * step).sum(axis=0)).ravel() for face in faces]
    return float(np.percentile(np.concatenate(lengths), _BORDER_PERCENTILE))


def _window_ratios(determinant: Float32, mask: NDArray[np.bool_], pool: Shape) -> tuple[float, float]:
    """Return the smallest and largest mean over the masked part of cubes that lie in the mask by half or more."""
    size = (max(1, _HALF_WINDOW // pool[0]), max(1, _HALF_WINDOW // pool[1]), max(1, _HALF_WINDOW // pool[2]))
    inside = mask.astype(np.float32)
    covered = _mean_of_neighbours(block_mean(inside, size))
    total = _mean_of_neighbours(block_mean(determinant * inside, size))
    full = covered >= min(0.5, float(covered.max()))
    ratios = total[full] / covered[full]
    return float(ratios.min()), float(ratios.max())


def _mean_of_neighbours(blocks: Float32) -> Float32:
    """Average each two neighbours along every axis that has more than one block."""
    for axis in range(3):
        if blocks.shape[axis] > 1:
            low, high = (np.take(blocks, range(k, blocks.shape[axis] - 1 + k), axis=axis) for k in (0, 1))
            blocks = np.asarray((low + high) / 2, np.float32)
    return blocks


def affine_metrics(affine: Affine) -> QualityMetrics:
    """Return scales, shears and rotation of an affine, decomposed as rotation @ diag(scales) @ unit upper triangle."""
    rotation, upper = np.linalg.qr(affine.matrix[:3, :3])
    signs = np.sign(np.diag(upper))
    rotation, upper = rotation * signs, upper * signs[:, None]
    scales = np.diag(upper)
    shears = upper / scales[:, None]
    turn = rotation * (-1.0, 1.0, 1.0) if np.linalg.det(rotation) < 0 else rotation
    return QualityMetrics(
        affine_scales=(float(scales[0]), float(scales[1]), float(scales[2])),
        affine_shears=(float(shears[0, 1]), float(shears[0, 2]), float(shears[1, 2])),
        affine_rotation_deg=float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))),
    )


def is_mirrored(affine: Affine) -> bool:
    """Return whether an affine reverses orientation, so that it exchanges left and right."""
    return bool(np.linalg.det(affine.matrix[:3, :3]) < 0)


def inverse_metrics(chain: Chain, inverse: Chain | None) -> QualityMetrics:
    """Return how well the two written fields invert each other, over their whole grid; nothing without both."""
    forward, backward = chain.field, None if inverse is None else inverse.field
    if forward is None or backward is None:
        return QualityMetrics()
    mean_mm, max_mm = forward.inverse_consistency_mm(backward)
    return QualityMetrics(
        inverse_consistency_mean_mm=mean_mm,
        inverse_consistency_max_mm=max_mm,
        inverse_error_max_mm=backward.inverse_consistency_mm(forward).max_mm,
    )
