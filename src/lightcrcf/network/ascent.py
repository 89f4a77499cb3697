"""Steps up the force of the local correlation after the finest level, in PyTorch: the reference for native kernels.

With u the field, M the moving and F the fixed image, at full resolution, each step is

    g = mean over blocks of the force of F and M o (id + u)          `network.force.unit_force`
    v = MOMENTUM v + STEP * Gaussian(g)
    u = Gaussian( u o (id + v) ), then u += VOLUME * grad p,  p = (J - 1/J) / 2

as a step of the refinement, but on the grid of the network's field, and with constants instead of searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from lightcrcf.network import sampling
from lightcrcf.network.config import Shape
from lightcrcf.network.force import unit_force
from lightcrcf.network.force_config import (
    FIELD_SIGMA,
    FORCE_SIGMA,
    LARGEST_VOLUME,
    MOMENTUM,
    STEP,
    TRUNCATE,
    VOLUME,
)

__all__ = ["ascend", "determinant", "even_out", "pooled_force", "smooth"]

Warp = Callable[[Tensor, Tensor], Tensor]
Force = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def ascend(fixed: Tensor, moving: Tensor, displacement: Tensor, steps: int, pool: Shape) -> Tensor:
    """Return the displacement (N, 3, D, H, W) after some steps.

    Args:
        fixed, moving: (N, 1, ...) on a grid that is finer than that of the displacement by `pool`.
        displacement: (N, 3, D, H, W) voxels.
        steps: number of steps.
        pool: downsampling factors between images and displacement.
    """
    u, velocity = displacement.float(), torch.zeros_like(displacement, dtype=torch.float32)
    for _ in range(steps):
        force = pooled_force(fixed.float(), moving.float(), u, pool, sampling.warp, unit_force)
        velocity = MOMENTUM * velocity + STEP * smooth(force, FORCE_SIGMA)
        u = even_out(smooth(sampling.compose(u, velocity), FIELD_SIGMA), VOLUME)
    return u


def pooled_force(fixed: Tensor, moving: Tensor, displacement: Tensor, pool: Shape, warp: Warp, force: Force) -> Tensor:
    """Return the force at full resolution, as the mean over blocks on the grid of the displacement."""
    return avg_pool3d(force(fixed, warp(moving, sampling.upsample(displacement, pool))), pool)


def smooth(values: Tensor, sigma: float) -> Tensor:
    """Convolve (N, C, D, H, W) with a sampled Gaussian, cut at `TRUNCATE` sigma; borders are replicated."""
    radius = math.ceil(TRUNCATE * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    for axis in (2, 3, 4):
        n, margin = values.shape[axis], [0] * 6
        margin[2 * (4 - axis)] = margin[2 * (4 - axis) + 1] = radius
        padded = pad(values, margin, mode="replicate")
        shifted = torch.stack([padded.narrow(axis, k, n) for k in range(2 * radius + 1)], dim=-1)
        values = shifted @ (taps / taps.sum()).to(values)
    return values


def even_out(displacement: Tensor, rate: float) -> Tensor:
    """Return the displacement after a step down the penalty (J + 1/J) / 2; see `geometry.determinant.even_out`."""
    ratio = determinant(displacement).clamp(1 / LARGEST_VOLUME, LARGEST_VOLUME)
    excess = 0.5 * (ratio - 1 / ratio)
    return displacement + rate * torch.stack([_gradient(excess, axis) for axis in (1, 2, 3)], dim=1)


def determinant(displacement: Tensor) -> Tensor:
    """Return det(I + du/dx) by central differences, one-sided ones at borders: (N, 3, D, H, W) to (N, D, H, W)."""
    rows = [[_gradient(displacement[:, c], axis) for axis in (1, 2, 3)] for c in range(3)]
    (a, b, c), (d, e, f), (g, h, i) = rows
    a, e, i = a + 1, e + 1, i + 1
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _gradient(values: Tensor, axis: int) -> Tensor:
    if values.shape[axis] < 2:
        return torch.zeros_like(values)
    gradient: Tensor = torch.gradient(values, dim=axis)[0]
    return gradient
