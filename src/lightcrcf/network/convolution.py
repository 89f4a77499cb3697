"""3x3x3 convolution in training: the fast method of PyTorch for small volumes too."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn.functional import conv3d, pad

__all__ = ["Stride", "convolve"]

Stride = int | tuple[int, int, int]
_SLOW = 20_480  # values along the first four axes: on a CPU, PyTorch calls oneDNN for one volume only above this


def convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: Stride = 1) -> Tensor:
    """Return the convolution of (N, C, D, H, W) with (K, C, 3, 3, 3), padding 1: `conv3d`, to rounding.

    PyTorch calls oneDNN for every batch of two. So one small volume is divided along its depth into a batch of two
    halves, which is 2 to 10 times as fast; with a stride, and of one slice, it is left whole.

    Source:
        PyTorch, `aten/src/ATen/native/Convolution.cpp`, `use_mkldnn`.

    Example:
        >>> x, weight, bias = torch.rand(1, 2, 5, 4, 3), torch.rand(3, 2, 3, 3, 3), torch.rand(3)
        >>> torch.allclose(convolve(x, weight, bias), conv3d(x, weight, bias, padding=1), atol=1e-5)
        True
    """
    depth = x.shape[2]
    if x.device.type != "cpu" or stride != 1 or x.shape[0] > 1 or depth < 2 or prod(x.shape[:4]) > _SLOW:
        return conv3d(x, weight, bias, stride=stride, padding=1)
    half = (depth + 1) // 2
    padded = pad(x, (0, 0, 0, 0, 1, 1))
    halves = torch.cat([padded[:, :, : half + 2], padded[:, :, depth - half :]])
    first, last = conv3d(halves, weight, bias, padding=(0, 1, 1)).chunk(2)
    return torch.cat([first, last[:, :, 2 * half - depth :]], dim=2)
