"""Warping and composition of displacement fields in PyTorch: the reference for tests of the compiled kernels.

Displacements are (N, 3, D, H, W) float32 in voxels of their own grid; channel c moves along axis c; pull-back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

__all__ = ["compose", "upsample", "warp"]


def warp(features: Tensor, displacement: Tensor) -> Tensor:
    """Return `features(x + u(x))`, trilinear, clamped at the borders.

    Args:
        features: (N, C, D, H, W).
        displacement: (N, 3, D, H, W).

    Returns:
        (N, C, D, H, W) in float32.

    Example:
        >>> ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
        >>> shift = torch.zeros(1, 3, 4, 2, 2)
        >>> shift[:, 0] = 1
        >>> warp(ramp, shift)[0, 0, :, 0, 0].round(decimals=4).tolist()
        [1.0, 2.0, 3.0, 3.0]
    """
    sizes = displacement.shape[2:]
    axes = [torch.arange(n, device=displacement.device, dtype=torch.float32) for n in sizes]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement.float()
    scale = torch.tensor([2.0 / max(n - 1, 1) for n in features.shape[2:]], device=displacement.device)
    # grid_sample wants (N, D, H, W, 3) in -1..1, last axis first.
    normalised = (voxels * scale.view(3, 1, 1, 1) - 1.0).flip(1).permute(0, 2, 3, 4, 1)
    return grid_sample(features.float(), normalised, mode="bilinear", padding_mode="border", align_corners=True)


def upsample(displacement: Tensor, factors: Sequence[int] = (2, 2, 2)) -> Tensor:
    """Return a field on a finer grid, trilinear; for factor 2, voxel h lies between the fine voxels 2h and 2h + 1.

    Args:
        displacement: (N, 3, D, H, W) voxels.
        factors: between the grids along each axis; displacements are multiplied by them.
    """
    fine = interpolate(
        displacement, scale_factor=tuple(float(f) for f in factors), mode="trilinear", align_corners=False
    )
    return fine * torch.tensor(factors, dtype=fine.dtype, device=fine.device).view(1, 3, 1, 1, 1)


def compose(u: Tensor, v: Tensor) -> Tensor:
    """Return `v(x) + u(x + v(x))`: warping by the result equals warping by u and then by v."""
    return v + warp(u, v)
