"""Warp, window mean and forces for training on the CPU: compiled kernels as PyTorch functions with gradients.

The functions of PyTorch (`network.sampling`, `avg_pool3d`) use one core for a batch of one; the results agree to
rounding. On a GPU the caller uses those.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightcrcf.engines import force
from lightcrcf.geometry import gradients, kernels

__all__ = ["unit_force", "warp", "window_mean"]


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, displacement: Tensor) -> Tensor:
        ctx.save_for_backward(features, displacement)
        pairs = zip(features.numpy(), displacement.numpy(), strict=True)
        return torch.stack([torch.from_numpy(kernels.warp(f, u)) for f, u in pairs])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        features, displacement = ctx.saved_tensors
        gradient = grad_outputs[0].float()
        parts = list(zip(features.numpy(), displacement.numpy(), gradient.numpy(), strict=True))
        to_features = to_displacement = None
        if ctx.needs_input_grad[0]:
            to_features = torch.stack([torch.from_numpy(gradients.warp_features_gradient(u, g)) for _, u, g in parts])
        if ctx.needs_input_grad[1]:
            to_displacement = torch.stack([torch.from_numpy(gradients.warp_gradient(*part)) for part in parts])
        return to_features, to_displacement


class _WindowMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, radius: int) -> Tensor:
        ctx.radius = radius
        return torch.stack([torch.from_numpy(gradients.window_mean(image, radius)) for image in images.numpy()])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        parts = [torch.from_numpy(gradients.window_mean(g, ctx.radius)) for g in grad_outputs[0].float().numpy()]
        return torch.stack(parts), None


def warp(features: Tensor, displacement: Tensor) -> Tensor:
    """Return `network.sampling.warp` of CPU tensors: (N, C, D, H, W), (N, 3, D, H, W) -> (N, C, D, H, W) float32."""
    return _apply(_Warp, features.float(), displacement.float())


def window_mean(images: Tensor, radius: int) -> Tensor:
    """Return the mean over cubes of 2 * radius + 1 voxels, zeros outside: (N, C, D, H, W) float32 CPU tensors."""
    return _apply(_WindowMean, images.float(), radius)


def _apply(function: Any, *inputs: Any) -> Tensor:
    result: Tensor = function.apply(*inputs)
    return result


@torch.no_grad()
def unit_force(fixed: Tensor, moved: Tensor) -> Tensor:
    """Return `network.force.unit_force` of CPU tensors: twice (N, 1, D, H, W) -> (N, 3, D, H, W) float32."""
    pairs = zip(fixed.float().numpy(), moved.float().numpy(), strict=True)
    return torch.stack([torch.from_numpy(force.unit_force(f[0], m[0])) for f, m in pairs])
