"""The training objective: similarity, regularity, folding and, optionally, overlap of label maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from lightcrcf.network import force, sampling
from lightcrcf.network.config import LEVELS, Shape
from lightcrcf.training import compiled, losses
from lightcrcf.training.config import Loss

__all__ = ["Operations", "objective"]

_WEIGHTED = ("regularity", "bending", "folding", "volume", "known", "dice")  # parts that the loss section weighs


@dataclass(frozen=True)
class Operations:
    """Warp, window mean and force for a device."""

    warp: Callable[[Tensor, Tensor], Tensor]
    window_mean: Callable[[Tensor, int], Tensor]
    force: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def on(cls, device: torch.device) -> Operations:
        """Return compiled kernels on the CPU, functions of PyTorch elsewhere."""
        if device.type == "cpu":
            return cls(compiled.warp, compiled.window_mean, compiled.unit_force)
        return cls(sampling.warp, force.window_mean, force.unit_force)


def objective(
    fields: list[Tensor],
    fixed: Tensor,
    moving: Tensor,
    loss: Loss,
    compare: str,
    operations: Operations,
    pool: Shape = (2, 2, 2),
    labels: tuple[Tensor, Tensor] | None = None,
    truth: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the loss of one batch and its parts.

    The similarity of each level is computed at its own resolution; that of the finest trained level at half or full
    resolution.

    Args:
        fields: displacements from coarse (1/16) to fine (`LightCRCF.forward`).
        fixed, moving: (N, 1, D, H, W) at working resolution.
        loss: weights and parameters of the parts.
        compare: "half" or "full" resolution, for the finest field.
        operations: for the device of the tensors.
        pool: downsampling factors between the levels of the network.
        labels: (N, K, d, h, w) fixed and moving label maps at the resolution of `compare`, for the Dice loss.
        truth: (N, 3, D, H, W) voxels, the displacement that is right, where it is known.
    """
    pyramid = [(fixed, moving)]
    for _ in range(LEVELS):
        pyramid.append((avg_pool3d(pyramid[-1][0], pool), avg_pool3d(pyramid[-1][1], pool)))
    target = 0 if compare == "full" else 1
    parts = {name: fixed.new_zeros(()) for name in ("similarity", *_WEIGHTED)}
    for offset, field in enumerate(reversed(fields)):
        # The field of level l is on the grid of the image downsampled l + 1 times.
        weight, halvings, u = loss.level_weights[offset], LEVELS - len(fields) + offset + 1, field
        if weight == 0.0:
            continue
        parts["regularity"] = parts["regularity"] + weight * losses.diffusion(u)
        if truth is not None and loss.known > 0:
            parts["known"] = parts["known"] + weight * _distance(u, truth, fixed, pool, halvings)
        if loss.bending > 0:
            parts["bending"] = parts["bending"] + weight * losses.bending(u)
        if offset == 0 and loss.folding > 0:
            parts["folding"] = losses.folding(u)
        if offset == 0 and loss.volume > 0:
            parts["volume"] = losses.volume_change(u)
        while offset == 0 and halvings > target:
            u, halvings = sampling.upsample(u, pool), halvings - 1
        if offset == 0 and labels is not None:
            parts["dice"] = losses.dice(labels[0], operations.warp(labels[1], u))
        similarity = _similarity(*pyramid[halvings], u, loss, operations)
        parts["similarity"] = parts["similarity"] + weight * similarity
    weights = {"similarity": 1.0, **{name: getattr(loss, name) for name in _WEIGHTED}}
    parts["loss"] = torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()
    return parts


def _distance(displacement: Tensor, truth: Tensor, fixed: Tensor, pool: Shape, halvings: int) -> Tensor:
    """Return the mean squared distance from the truth in the foreground, in voxels of the field."""
    blocks = cast(Shape, tuple(each**halvings for each in pool))
    wanted = avg_pool3d(truth, blocks) / truth.new_tensor(blocks).view(3, 1, 1, 1)
    foreground = avg_pool3d((fixed > 0).float(), blocks)
    squared = (displacement - wanted).square().sum(dim=1, keepdim=True)
    return (squared * foreground).sum() / foreground.sum().clamp(min=1.0)


def _similarity(fixed: Tensor, moving: Tensor, displacement: Tensor, loss: Loss, operations: Operations) -> Tensor:
    foreground, mean = (fixed > 0).float(), operations.window_mean
    if loss.similarity == "mse":
        return losses.mean_squared_error(fixed, operations.warp(moving, displacement), weight=foreground)
    how: dict[str, Any] = {
        "window": loss.window, "weight": foreground, "mean": mean, "by_deviation": loss.by_deviation
    }  # fmt: skip
    if loss.contrast == 0:
        return losses.lncc(fixed, operations.warp(moving, displacement), **how)
    compared = torch.cat([moving, losses.local_contrast(moving, mean=mean)], dim=1)
    moved, moved_contrast = torch.split(operations.warp(compared, displacement), 1, dim=1)
    parts = ((fixed, moved), (losses.local_contrast(fixed, mean=mean), moved_contrast))
    images, contrasts = (losses.lncc(*p, **how) for p in parts)
    return (images + loss.contrast * contrasts) / (1 + loss.contrast)
