"""TaRep, texture-aware re-parameterisation: several branches in training, one 3x3x3 convolution at inference.

y = sum over branches of
    3x3x3 kernel
    3x3x1, 3x1x3 and 1x3x3 kernels                                ("anisotropic")
    1x1x1 kernel, then scale times the Sobel mask of each axis     ("sobel")
    1x1x1 kernel, then scale times the 3-D Laplacian mask          ("laplacian")

Reconstruction: the paper names the branches but publishes no layout. Three choices are ours. Masks have unit L2 norm,
so that one learning rate suits all branches. Branches have no batch normalisation by default, because batches of one
pair would make a large gap between training and evaluation statistics; `normalise=True` adds it. Without it the
branches are fused in every forward pass, so that training costs one convolution and equals inference.

Source: Liu et al., Medical Physics 2025, doi 10.1002/mp.17827; masks as in Zhang et al., "ECBSR", ACM MM 2021, in 3-D.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d

from lightcrcf.network import reparam
from lightcrcf.network.convolution import Stride, convolve

__all__ = ["TaRep", "Texture", "bias_of", "convolutions", "laplacian_mask", "sobel_mask"]

ANISOTROPIC = ((3, 3, 1), (3, 1, 3), (1, 3, 3))


def sobel_mask(axis: int) -> Tensor:
    """Return (3, 3, 3) float64: central difference along `axis`, (1, 2, 1) smoothing along others, unit L2 norm.

    Example:
        >>> (sobel_mask(0)[2] * 72**0.5).round().int().tolist()
        [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    """
    smooth = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    slope = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    a, b, c = (slope if axis == k else smooth for k in range(3))
    mask = a.view(3, 1, 1) * b.view(1, 3, 1) * c.view(1, 1, 3)
    return _unit(mask)


def laplacian_mask() -> Tensor:
    """Return (3, 3, 3) float64: 6-neighbour Laplacian, centre -6, unit L2 norm."""
    mask = torch.zeros(3, 3, 3, dtype=torch.float64)
    for index in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)):
        mask[index] = 1.0
    mask[1, 1, 1] = -6.0
    return _unit(mask)


def _unit(mask: Tensor) -> Tensor:
    unit: Tensor = mask / torch.linalg.vector_norm(mask)
    return unit


def bias_of(convolution: nn.Conv3d) -> Tensor:
    """Return the bias of a convolution, which all convolutions of the network have."""
    return cast(Tensor, convolution.bias)


def convolutions(modules: nn.ModuleList) -> list[nn.Conv3d]:
    """Return the modules of a list as convolutions."""
    return [cast(nn.Conv3d, module) for module in modules]


def _sum(terms: list[Tensor]) -> Tensor:
    # Not `stack(...).sum()`: all terms would share one gradient tensor, so that accumulating the gradient of a second
    # pair would add it once per term.
    return reduce(torch.add, terms)


def _normalised(weight: Tensor, bias: Tensor, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    return reparam.batch_norm(weight, bias, mean, variance, norm.weight, norm.bias, norm.eps)


class Texture(nn.Module):
    """A 1x1x1 convolution, then a fixed mask with a learnable scale per channel."""

    def __init__(self, inputs: int, outputs: int, mask: Tensor) -> None:
        super().__init__()
        self.pointwise = nn.Conv3d(inputs, outputs, 1, padding=1)
        self.scale = nn.Parameter(torch.full((outputs,), 0.1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.mask: Tensor
        self.register_buffer("mask", mask.float(), persistent=False)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (out, in, 3, 3, 3) and bias (out,) of the equivalent plain convolution."""
        # The mask is depthwise, so identity III needs no sum over the middle channels.
        mask = self.mask.to(self.scale.dtype) * self.scale.view(-1, 1, 1, 1)
        weight = self.pointwise.weight * mask.unsqueeze(1)
        return weight, self.bias + mask.sum(dim=(1, 2, 3)) * bias_of(self.pointwise)

    def forward(self, x: Tensor, stride: Stride) -> Tensor:
        """Return (N, out, D/stride, H/stride, W/stride) of (N, in, D, H, W); the 1x1x1 convolution pads."""
        mask = self.mask.to(x.dtype) * self.scale.view(-1, 1, 1, 1)
        return conv3d(self.pointwise(x), mask.unsqueeze(1), self.bias, stride=stride, groups=mask.shape[0])


class TaRep(nn.Module):
    """A texture-aware block: `inputs` to `outputs` channels, 3x3x3, padding 1. No activation.

    Args:
        inputs, outputs: channels.
        branches: any of "anisotropic", "sobel", "laplacian".
        stride: 1 or 2, for all axes or for each.
        normalise: batch normalisation at the end of each branch.
    """

    def __init__(
        self, inputs: int, outputs: int, branches: tuple[str, ...], *, stride: Stride = 1, normalise: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.inputs = stride, inputs
        self.main = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)
        small = ANISOTROPIC if "anisotropic" in branches else ()
        self.anisotropic = nn.ModuleList(
            nn.Conv3d(inputs, outputs, (a, b, c), stride=stride, padding=(a // 2, b // 2, c // 2)) for a, b, c in small
        )
        masks = [sobel_mask(a) for a in range(3)] if "sobel" in branches else []
        masks += [laplacian_mask()] if "laplacian" in branches else []
        self.texture = nn.ModuleList(Texture(inputs, outputs, mask) for mask in masks)
        count = 1 + len(self.anisotropic) + len(self.texture)
        self.norms = nn.ModuleList(nn.BatchNorm3d(outputs) for _ in range(count if normalise else 0))
        self._initialise(1 + len(self.anisotropic))

    def _initialise(self, kernels: int) -> None:
        """Divide the variance of a single kernel (He et al. 2015) among the branches."""
        gain = math.sqrt(2.0 / 1.04 / kernels)
        for convolution in (self.main, *convolutions(self.anisotropic)):
            fan_in = convolution.weight[0].numel()
            nn.init.normal_(convolution.weight, std=gain / math.sqrt(fan_in))
            nn.init.zeros_(bias_of(convolution))

    def _kernels(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.main.weight, bias_of(self.main)
        for convolution in convolutions(self.anisotropic):
            yield reparam.embed(convolution.weight), bias_of(convolution)
        for texture in self.texture:
            yield cast(Texture, texture).kernel()

    def fused_kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (out, in, 3, 3, 3) and bias (out,) of the equivalent convolution (evaluation statistics)."""
        kernels = list(self._kernels())
        if self.norms:
            norms = [cast(nn.BatchNorm3d, norm) for norm in self.norms]
            kernels = [_normalised(w, b, n) for (w, b), n in zip(kernels, norms, strict=True)]
        return _sum([w for w, _ in kernels]), _sum([b for _, b in kernels])

    def trainable_offsets(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights and biases whose offset is that of the fused kernel and bias."""
        return [self.main.weight], [bias_of(self.main)]

    def branches(self, x: Tensor) -> Tensor:
        """Return the output by the definition, branch by branch: (N, in, D, H, W) to (N, out, ...)."""
        outputs = [self.main(x), *(c(x) for c in self.anisotropic), *(t(x, self.stride) for t in self.texture)]
        if self.norms:
            outputs = [norm(y) for norm, y in zip(self.norms, outputs, strict=True)]
        return _sum(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out, D/stride, H/stride, W/stride) of (N, in, D, H, W)."""
        if self.norms and self.training:
            return self.branches(x)
        return convolve(x, *self.fused_kernel(), self.stride)
