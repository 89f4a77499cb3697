"""The force of the local correlation in units that do not depend on contrast, natively: an input of networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.kernels import warp, warp_upsampled
from lightcrcf.geometry.refinement_kernels import correlation_force, correlation_terms
from lightcrcf.network.config import Shape
from lightcrcf.network.force_config import FLOOR, FOREGROUND, GAIN, MIN_WEIGHTS, NOISE, RADIUS

__all__ = ["forces", "unit_force"]

Float32 = NDArray[np.float32]


def unit_force(fixed: Float32, moved: Float32) -> Float32:
    """Return the force that raises the local correlation, in units that do not depend on contrast.

    Args:
        fixed, moved: (D, H, W), unit range.

    Returns:
        (3, D, H, W) float32; channel c points along axis c. `GAIN` times the gradient of the sum of s cc, as in
        `geometry.refinement_kernels`, over the mean of s in the foreground; shortened to length 1 where it is longer.

    Example:
        >>> image = np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)
        >>> bool(np.abs(unit_force(image, image)).max() < 1e-3)
        True
    """
    fixed, moved = contiguous(fixed), contiguous(moved)
    terms, force = (np.empty((3, *fixed.shape), np.float32) for _ in range(2))
    _, weights, _ = correlation_terms(fixed, moved, None, RADIUS, FLOOR, terms, NOISE)
    correlation_force(fixed, moved, None, terms, RADIUS, force)
    foreground = max(int(np.count_nonzero(fixed > FOREGROUND)), 1)
    _core.limit_lengths(force, GAIN * foreground / max(weights, MIN_WEIGHTS), 1.0)
    return force


def forces(
    fixed: Float32, moving: Float32, displacement: Float32, pool: Shape, *, both: bool = False
) -> tuple[Float32, ...]:
    """Return the force on the moving image, warped, on the grid of the displacement; if `both`, on the fixed one too.

    Args:
        fixed, moving: (D, H, W), unit range, on the grid of the displacement, or finer by `pool`; then forces are the
            means over blocks.
        displacement: (3, d, h, w) voxels.
        pool: downsampling factors between images and displacement.
        both: whether to exchange the images for a second force.

    Returns:
        One or two of (3, d, h, w) float32.
    """
    finer = fixed.shape != displacement.shape[1:]
    moved = warp_upsampled(moving[None], displacement, pool)[0] if finer else warp(moving[None], displacement)[0]
    directions = ((fixed, moved), (moved, fixed))[: 1 + both]
    if not finer:
        return tuple(unit_force(*pair) for pair in directions)
    return tuple(_averaged(unit_force(*pair), np.empty_like(displacement), pool) for pair in directions)


def _averaged(fine: Float32, out: Float32, pool: Shape) -> Float32:
    for source, target in zip(fine, out, strict=True):
        _core.average_pool(source, pool, target)
    return out
