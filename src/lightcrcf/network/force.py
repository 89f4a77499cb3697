"""The force of the local correlation in PyTorch, an input of the network: the reference for the native kernels.

Images are (N, 1, D, H, W); channel c of a force points along axis c. The force is that of the refinement: the gradient
of the sum over windows of s cc, where cc is the squared correlation of the cube of 5 voxels and s the standard
deviation of the fixed image in it (`geometry.refinement_kernels`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from lightcrcf.network.force_config import FLOOR, FOREGROUND, GAIN, MIN_WEIGHTS, NOISE, RADIUS

__all__ = ["correlation_force", "unit_force", "window_mean"]


def window_mean(images: Tensor, radius: int) -> Tensor:
    """Return the mean over cubes of 2 * radius + 1 voxels, zeros outside, by one pass along each axis."""
    window = 2 * radius + 1
    # Explicit padding: that of the pooling refuses images smaller than the window.
    images = pad(images, (radius,) * 6)
    for size in ((window, 1, 1), (1, window, 1), (1, 1, window)):
        images = avg_pool3d(images, size, stride=1)
    return images


def correlation_force(fixed: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Return the force (N, 3, D, H, W) that raises the local correlation, and the sum of s, (N,)."""
    means = window_mean(torch.cat([fixed, moved, fixed * fixed, moved * moved, fixed * moved], dim=1), RADIUS)
    f, m, square_f, square_m, product = torch.split(means, 1, dim=1)
    vf, vm = (square_f - f * f).clamp_min(0), (square_m - m * m).clamp_min(0)
    c, s = product - f * m, vf.sqrt()
    inverse = 1 / (vf * vm + FLOOR)
    p = torch.where((vf - NOISE).clamp_min(0) * vm > c * c, 2 * s * c * inverse, 0)
    q = -p * c * inverse * vf
    p, q, r = torch.split(window_mean(torch.cat([p, q, p * f + q * m], dim=1), RADIUS), 1, dim=1)
    slope = 0.5 * (fixed * p + moved * q - r)
    return slope * _differences(moved), s.sum(dim=(1, 2, 3, 4))


def unit_force(fixed: Tensor, moved: Tensor) -> Tensor:
    """Return the force in units that do not depend on contrast, no vector longer than 1: (N, 3, D, H, W)."""
    force, weights = correlation_force(fixed, moved)
    foreground = (fixed > FOREGROUND).sum(dim=(1, 2, 3, 4)).clamp_min(1)
    force = force * (GAIN * foreground / weights.clamp_min(MIN_WEIGHTS)).view(-1, 1, 1, 1, 1)
    length = force.square().sum(dim=1, keepdim=True).sqrt()
    return force / length.clamp_min(1)


def _differences(image: Tensor) -> Tensor:
    """Return the differences between both neighbours along each axis; at the borders the voxel itself is one."""
    parts = []
    for axis in (2, 3, 4):
        n = image.shape[axis]
        after = torch.cat([image.narrow(axis, 1, n - 1), image.narrow(axis, n - 1, 1)], dim=axis)
        before = torch.cat([image.narrow(axis, 0, 1), image.narrow(axis, 0, n - 1)], dim=axis)
        parts.append(after - before)
    return torch.cat(parts, dim=1)
