"""LightCRCF: cross-resolution coarse-to-fine registration.

Features of both images come from one shared encoder over space-to-depth input. From 1/16 to 1/2 of the working
resolution, at each level:

    u_up   = 2 * upsample(u_coarser)                         upsampled field
    warped = moving_features(x + u_up(x))
    r      = GfRep( TaRep( TaRep( [fixed_features, warped, u_up] ) ) )       residual flow
    u      = compose(u_up, r) = r(x) + u_up(x + r(x))

Further passes of a level repeat the last three lines with u in place of u_up. Where a level is antisymmetric, r is half
the difference between this and the same with both images exchanged: zero where they do not differ, whatever u_up is.

Reconstruction: the paper publishes neither layout nor code. Ours stops at half resolution (the full-resolution level
would cost three quarters of the operations for at most half a point of Dice in published comparisons) and warps
features of two streams, where the literal reading warps the image of one; that reading is the variant
"paper-single-stream".

Source: Liu et al., Medical Physics 2025, doi 10.1002/mp.17827.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate, leaky_relu, pad

from lightcrcf.network import sampling
from lightcrcf.network.config import LEVELS, NetworkConfig, Shape, check_tensors, level_inputs, tensor_shapes
from lightcrcf.network.force import unit_force
from lightcrcf.network.gfrep import GfRep
from lightcrcf.network.tarep import TaRep, bias_of, convolutions

__all__ = ["Level", "LightCRCF", "correlate", "space_to_depth"]


def space_to_depth(image: Tensor, pool: Shape = (2, 2, 2)) -> Tensor:
    """Rearrange (N, C, D, H, W) to (N, 8C, D/2, H/2, W/2); channel 4a + 2b + c holds voxels (2x + a, 2y + b, 2z + c).

    An axis with `pool` 1 keeps its voxels; then there are fewer channels.

    Example:
        >>> space_to_depth(torch.arange(8.0).view(1, 1, 2, 2, 2)).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    n, channels, d, h, w = image.shape
    p, q, r = pool
    blocks = image.reshape(n, channels, d // p, p, h // q, q, w // r, r)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, p * q * r * channels, d // p, h // q, w // r)


def correlate(fixed: Tensor, warped: Tensor) -> Tensor:
    """Return the channel mean of fixed(x) * warped(x + o) for the 27 offsets o of a 3x3x3 window, zero outside.

    Args:
        fixed, warped: (N, C, D, H, W).

    Returns:
        (N, 27, D, H, W), offsets in C order from (-1, -1, -1).
    """
    d, h, w = fixed.shape[2:]
    padded = pad(warped, (1,) * 6)
    offsets = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
    products = [(fixed * padded[:, :, a : a + d, b : b + h, c : c + w]).mean(dim=1) for a, b, c in offsets]
    return torch.stack(products, dim=1)


def _plain_name(key: str) -> str:
    return key.replace(".main.", ".").replace(".heads.0.", ".")


def _blind_to_force(config: NetworkConfig, arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return fused weights with zeros for the force, the last input of each level, where they have none."""
    shapes, extended = tensor_shapes(replace(config, force=False)), dict(arrays)
    for level in range(LEVELS - 1):
        name = f"levels.{level}.first.weight"
        weight = arrays.get(name)
        if weight is not None and weight.shape == shapes[name]:
            extended[name] = np.concatenate([weight, np.zeros_like(weight[:, :3])], axis=1)
    return extended


class Level(nn.Module):
    """The decoder of one level: two TaRep blocks and a GfRep head."""

    def __init__(self, config: NetworkConfig, level: int, *, normalise: bool = False) -> None:
        super().__init__()
        width, self.slope = config.decoder[level], config.slope
        self.first = TaRep(level_inputs(config, level), width, config.branches, normalise=normalise)
        self.second = TaRep(width, width, config.branches, normalise=normalise)
        self.head = GfRep(width, config.groups)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, width, D, H, W) and residual flow (N, 3, D, H, W) float32 of (N, inputs, D, H, W)."""
        x = leaky_relu(self.first(x), self.slope)
        x = leaky_relu(self.second(x), self.slope)
        return x, self.head(x).float()


class LightCRCF(nn.Module):
    """The registration network; `fuse` turns it into plain convolutions after training.

    Args:
        config: sizes and variant.
        normalise: batch normalisation in every TaRep branch (training only; folded by `fuse`).

    Example:
        >>> model = LightCRCF(NetworkConfig())
        >>> fields = model(torch.rand(1, 1, 32, 48, 16), torch.rand(1, 1, 32, 48, 16))
        >>> [tuple(u.shape[2:]) for u in fields]
        [(2, 3, 1), (4, 6, 2), (8, 12, 4), (16, 24, 8)]
    """

    def __init__(self, config: NetworkConfig, *, normalise: bool = False) -> None:
        super().__init__()
        self.config = config
        # Training replaces this by faster kernels, which agree to rounding.
        self.warp: Callable[[Tensor, Tensor], Tensor] = sampling.warp
        self.force: Callable[[Tensor, Tensor], Tensor] = unit_force
        inputs = (config.blocks if config.stream == "dual" else 2 * config.blocks, *config.encoder[:-1])
        self.encoder = nn.ModuleList(
            TaRep(i, o, config.branches, stride=1 if level == 0 else config.pool, normalise=normalise)
            for level, (i, o) in enumerate(zip(inputs, config.encoder, strict=True))
        )
        self.levels = nn.ModuleList(Level(config, level, normalise=normalise) for level in range(LEVELS))

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return one feature map per level, fine to coarse, of images (N, C, D, H, W)."""
        x, features = space_to_depth(images, self.config.pool), []
        for block in self.encoder:
            x = leaky_relu(block(x), self.config.slope)
            features.append(x)
        return features

    def forward(self, fixed: Tensor, moving: Tensor, finest: int = 0) -> list[Tensor]:
        """Return the displacement at each level.

        Args:
            fixed, moving: (N, 1, D, H, W) normalised intensities on one grid, any size.
            finest: finest level to compute; 0 is 1/2, 3 is 1/16.

        Returns:
            Fields (N, 3, ...) in voxels of their own level, coarse to fine, pull-back, fixed to moving. The field of
            level l has ceil(n / pool**(l + 1)) voxels along each axis.
        """
        sizes = fixed.shape[2:]
        padding = [
            p for n, m in zip(reversed(sizes), reversed(self.config.multiples), strict=True) for p in (0, -n % m)
        ]
        fixed, moving = pad(fixed, padding), pad(moving, padding)
        fields = (
            self._dual(fixed, moving, finest) if self.config.stream == "dual" else self._single(fixed, moving, finest)
        )
        shapes = [self.config.coarser(tuple(sizes), level + 1) for level in range(LEVELS - 1, finest - 1, -1)]
        return [u[:, :, :d, :h, :w] for u, (d, h, w) in zip(fields, shapes, strict=True)]

    def _dual(self, fixed: Tensor, moving: Tensor, finest: int) -> list[Tensor]:
        count = fixed.shape[0]
        pyramid = self.encode(torch.cat([fixed, moving]))
        fields: list[Tensor] = []
        for level in range(LEVELS - 1, finest - 1, -1):
            f, m = pyramid[level][:count], pyramid[level][count:]
            images = self._images_of_force(fixed, moving, level) if self.config.force and fields else None
            u = sampling.upsample(fields[-1], self.config.pool) if fields else None
            for _ in range(self.config.passes[level]):
                residual = self._residual(level, f, m, u, images)
                u = residual if u is None else residual + self.warp(u, residual)
            fields.append(cast(Tensor, u))
        return fields

    def _residual(
        self, level: int, fixed: Tensor, moving: Tensor, u: Tensor | None, images: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Return the residual flow of one pass; of a level in both directions, half their difference.

        Args:
            level: 0 for the finest.
            fixed, moving: features of both images.
            u: the field so far; None at the coarsest level.
            images: of which forces are computed, if the network sees them.
        """
        warped = moving if u is None else self.warp(moving, u).to(moving.dtype)
        both = self.config.antisymmetric[level]
        matched = correlate(fixed, warped) if self.config.correlation else warped
        field = () if u is None else (u.to(fixed.dtype),)
        forces = () if images is None else self._forces(*images, cast(Tensor, u), both)
        there = torch.cat([fixed, matched, *field, *(force.to(fixed.dtype) for force in forces[:1])], dim=1)
        if not both:
            return self._flow(level, there)
        back = torch.cat([warped, fixed, *field, *(force.to(fixed.dtype) for force in forces[1:])], dim=1)
        flow_there, flow_back = self._flow(level, torch.cat([there, back])).chunk(2)
        return 0.5 * (flow_there - flow_back)

    def _flow(self, level: int, inputs: Tensor) -> Tensor:
        _, residual = self.levels[level](inputs)
        return cast(Tensor, residual)

    def _pooled(self, fixed: Tensor, moving: Tensor, level: int) -> tuple[Tensor, Tensor]:
        window = tuple(n ** (level + 1) for n in self.config.pool)
        return avg_pool3d(fixed, window), avg_pool3d(moving, window)

    def _images_of_force(self, fixed: Tensor, moving: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Return the images at the resolution of the level; those of the finest level as they are."""
        return self._pooled(fixed, moving, level) if level > 0 else (fixed, moving)

    @torch.no_grad()  # an input: what the force would be elsewhere is not learned from
    def _forces(self, fixed: Tensor, moving: Tensor, displacement: Tensor, both: bool) -> tuple[Tensor, ...]:
        """Return the force on the grid of the displacement, and that on the fixed image if `both`.

        Where the images are finer than the displacement, forces are means over blocks.
        """
        finer = fixed.shape[2:] != displacement.shape[2:]
        moved = self.warp(moving, sampling.upsample(displacement, self.config.pool) if finer else displacement)
        directions = ((fixed, moved), (moved, fixed)) if both else ((fixed, moved),)
        forces = (self.force(*pair) for pair in directions)
        return tuple(avg_pool3d(force, self.config.pool) if finer else force for force in forces)

    def _single(self, fixed: Tensor, moving: Tensor, finest: int) -> list[Tensor]:
        pyramid = self.encode(torch.cat([fixed, moving], dim=1))
        fields: list[Tensor] = []
        context = fixed
        for level in range(LEVELS - 1, finest - 1, -1):
            f, m = self._pooled(fixed, moving, level)
            if fields:
                up = sampling.upsample(fields[-1], self.config.pool)
                coarser = interpolate(context, size=f.shape[2:], mode="nearest")
                parts = [pyramid[level], coarser, f, self.warp(m, up).to(f.dtype), up.to(f.dtype)]
                context, residual = self.levels[level](torch.cat(parts, dim=1))
                fields.append(residual + self.warp(up, residual))
            else:
                context, residual = self.levels[level](torch.cat([pyramid[level], f, m], dim=1))
                fields.append(residual)
        return fields

    def fuse(self) -> LightCRCF:
        """Return an equivalent network of plain convolutions, fused in float64; this one is unchanged."""
        source = copy.deepcopy(self).double().eval()
        plain = LightCRCF(replace(self.config, branches=(), groups=1)).double()
        with torch.no_grad():
            for old, new in zip(source.modules_to_fuse(), plain.modules_to_fuse(), strict=True):
                target = new.main if isinstance(new, TaRep) else convolutions(new.heads)[0]
                weight, bias = old.fused_kernel()
                target.weight.copy_(weight)
                bias_of(target).copy_(bias)
        dtype = next(self.parameters()).dtype
        return plain.to(dtype).eval()

    def plain_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the fused weights by the names that all engines use ("levels.0.head.weight")."""
        state = self.fuse().state_dict()
        return {_plain_name(key): value.detach().cpu().float().numpy() for key, value in state.items()}

    @classmethod
    def from_plain_arrays(cls, config: NetworkConfig, arrays: Mapping[str, NDArray[np.float32]]) -> LightCRCF:
        """Return a fused network with weights from `plain_arrays`.

        Raises:
            InputError: if names or shapes do not fit the configuration.
        """
        model = cls(replace(config, branches=(), groups=1))
        check_tensors("weights", config, {key: tuple(value.shape) for key, value in arrays.items()})
        model.load_state_dict({key: torch.tensor(arrays[_plain_name(key)]) for key in model.state_dict()})
        return model.eval()

    def load_fused(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the weights so that the output equals that of a fused network to rounding, to start training from it.

        The branches stay unchanged; the difference is added to the 3x3x3 kernels.

        Args:
            arrays: fused weights from `plain_arrays`; those of a network that sees no force also start one that does,
                with weights of the force that are zero.

        Raises:
            InputError: if names or shapes do not fit the configuration.
        """
        if self.config.force:
            arrays = _blind_to_force(self.config, arrays)
        reference = LightCRCF.from_plain_arrays(self.config, arrays)
        with torch.no_grad():
            for block, plain in zip(self.modules_to_fuse(), reference.modules_to_fuse(), strict=True):
                for current, target, parts in zip(
                    block.fused_kernel(), plain.fused_kernel(), block.trainable_offsets(), strict=True
                ):
                    for part in parts:
                        part.add_(target - current)

    def modules_to_fuse(self) -> list[TaRep | GfRep]:
        """Return every re-parameterised block, in a fixed order."""
        return [module for module in self.modules() if isinstance(module, TaRep | GfRep)]
