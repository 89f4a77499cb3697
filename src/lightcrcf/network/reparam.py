"""Five identities of structural re-parameterisation: exact fusion of linear convolutions into one plain convolution.

A kernel is a pair `weight (out, in, 3, 3, 3)` and `bias (out,)`; convolutions have stride 1 and zero padding 1
unless stated otherwise. All functions are pure and differentiable.

Source: Liu et al., Medical Physics 2025, doi 10.1002/mp.17827 (structural re-parameterisation); Ding et al., "Diverse
Branch Block", CVPR 2021 (the identities); Zhang et al., "ECBSR", ACM MM 2021 (borders of a sequence).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["after_pointwise", "batch_norm", "before_pointwise", "concatenate", "embed"]


def embed(weight: Tensor) -> Tensor:
    """Embed a 3x3x1, 3x1x3, 1x3x3 or 1x1x1 kernel in a 3x3x3 kernel (identity I).

    Args:
        weight: (out, in, a, b, c) with a, b, c each 1 or 3.

    Returns:
        (out, in, 3, 3, 3), zero outside the small kernel.

    Example:
        >>> embed(torch.ones(1, 1, 3, 1, 3)).sum(dim=(0, 1, 2, 4)).tolist()
        [0.0, 9.0, 0.0]
    """
    padding = [p for size in reversed(weight.shape[2:]) for p in ((3 - size) // 2,) * 2]
    return torch.nn.functional.pad(weight, padding)


def batch_norm(
    weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, gain: Tensor, shift: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Fuse a convolution with a subsequent batch normalisation with fixed statistics (identity II).

    `gain (w * x + bias - mean) / sqrt(variance + epsilon) + shift`

    Args:
        weight: (out, in, a, b, c).
        bias, mean, variance, gain, shift: (out,).
        epsilon: of the normalisation.

    Returns:
        Weight and bias of the fused convolution.
    """
    scale = gain / torch.sqrt(variance + epsilon)
    return weight * scale.view(-1, 1, 1, 1, 1), (bias - mean) * scale + shift


def before_pointwise(pointwise: Tensor, pointwise_bias: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Fuse a 1x1x1 convolution with a subsequent 3x3x3 convolution (identity III).

    Exact at the borders if the 1x1x1 convolution pads its input (so that its output outside is its bias), i.e.
    `conv(conv(x, pointwise, padding=1), weight, padding=0)`.

    Args:
        pointwise: (middle, in, 1, 1, 1), with pointwise_bias (middle,).
        weight: (out, middle, 3, 3, 3), with bias (out,).

    Returns:
        weight (out, in, 3, 3, 3) and bias (out,).
    """
    merged = torch.einsum("omxyz,mi->oixyz", weight, pointwise[:, :, 0, 0, 0])
    return merged, bias + torch.einsum("omxyz,m->o", weight, pointwise_bias)


def concatenate(kernels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Fuse parallel convolutions of one input with concatenated outputs (identity IV).

    Args:
        kernels: pairs of (out_g, in, 3, 3, 3) and (out_g,).

    Returns:
        weight (sum of out_g, in, 3, 3, 3) and bias (sum of out_g,).
    """
    return torch.cat([weight for weight, _ in kernels]), torch.cat([bias for _, bias in kernels])


def after_pointwise(weight: Tensor, bias: Tensor, pointwise: Tensor, pointwise_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Fuse a 3x3x3 convolution with a subsequent 1x1x1 convolution (identity V); exact with any padding.

    Args:
        weight: (middle, in, 3, 3, 3), with bias (middle,).
        pointwise: (out, middle, 1, 1, 1), with pointwise_bias (out,).

    Returns:
        weight (out, in, 3, 3, 3) and bias (out,).
    """
    mix = pointwise[:, :, 0, 0, 0]
    return torch.einsum("om,mixyz->oixyz", mix, weight), mix @ bias + pointwise_bias
