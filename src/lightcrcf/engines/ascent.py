"""Steps up the force of the local correlation after the finest level, natively; see `network.ascent`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.engines.force import unit_force
from lightcrcf.geometry.determinant import even_out, jacobian_determinant
from lightcrcf.geometry.kernels import compose, warp_upsampled
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.network.config import Shape
from lightcrcf.network.force_config import FIELD_SIGMA, FORCE_SIGMA, MOMENTUM, STEP, VOLUME

__all__ = ["ascend", "pooled_force"]

Float32 = NDArray[np.float32]


def ascend(fixed: Float32, moving: Float32, displacement: Float32, steps: int, pool: Shape) -> Float32:
    """Return the displacement (3, d, h, w) after some steps.

    Args:
        fixed, moving: (D, H, W), unit range, on a grid that is finer than that of the displacement by `pool`.
        displacement: (3, d, h, w) voxels.
        steps: number of steps.
        pool: downsampling factors between images and displacement.
    """
    u, velocity, smoothed = displacement, np.zeros_like(displacement), np.empty_like(displacement)
    for _ in range(steps):
        smooth(pooled_force(fixed, moving, u, pool), gaussian_taps((FORCE_SIGMA,) * 3), smoothed)
        _core.accumulate(velocity, MOMENTUM, smoothed, STEP)
        composed = compose(u, velocity)
        u = np.empty_like(composed)
        smooth(composed, gaussian_taps((FIELD_SIGMA,) * 3), u)
        even_out(u, jacobian_determinant(u), VOLUME)
    return u


def pooled_force(fixed: Float32, moving: Float32, displacement: Float32, pool: Shape) -> Float32:
    """Return the force at full resolution, as the mean over blocks on the grid of the displacement."""
    fine = unit_force(fixed, warp_upsampled(moving[None], displacement, pool)[0])
    force = np.empty_like(displacement)
    for source, target in zip(fine, force, strict=True):
        _core.average_pool(source, pool, target)
    return force
