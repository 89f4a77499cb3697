from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lightcrcf.network import reparam

CHANNELS = (1, 2, 3, 5)
SHAPE = (5, 7, 11)
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
Difference = Callable[[Tensor, Tensor], float]

channels = pytest.mark.parametrize(("inputs", "outputs"), [(i, o) for i in CHANNELS for o in CHANNELS])
precisions = pytest.mark.parametrize("dtype", TOLERANCES)
strides = pytest.mark.parametrize("stride", [1, 2])


def kernel(outputs: int, inputs: int, dtype: torch.dtype, size: tuple[int, ...] = (3, 3, 3)) -> tuple[Tensor, Tensor]:
    return torch.randn(outputs, inputs, *size, dtype=dtype), torch.randn(outputs, dtype=dtype)


def volume(inputs: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(2, inputs, *SHAPE, dtype=dtype)


def convolve(x: Tensor, weight_and_bias: tuple[Tensor, Tensor], padding: int | tuple = 1, stride: int = 1) -> Tensor:
    return functional.conv3d(x, *weight_and_bias, padding=padding, stride=stride)


@precisions
@strides
@channels
@pytest.mark.parametrize("size", [(3, 3, 1), (3, 1, 3), (1, 3, 3), (1, 1, 3), (1, 1, 1)])
def test_identity_1_a_small_kernel_embedded(
    inputs: int, outputs: int, size: tuple[int, ...], stride: int, dtype: torch.dtype, difference: Difference
) -> None:
    x, (weight, bias) = volume(inputs, dtype), kernel(outputs, inputs, dtype, size)
    small = convolve(x, (weight, bias), tuple(s // 2 for s in size), stride)
    large = convolve(x, (reparam.embed(weight), bias), stride=stride)
    assert difference(large, small) <= TOLERANCES[dtype]


@precisions
@strides
@channels
def test_identity_2_batch_normalisation(
    inputs: int, outputs: int, stride: int, dtype: torch.dtype, difference: Difference
) -> None:
    x, (weight, bias) = volume(inputs, dtype), kernel(outputs, inputs, dtype)
    mean, gain, shift = torch.randn(3, outputs, dtype=dtype)
    variance, epsilon = torch.rand(outputs, dtype=dtype) * 3 + 0.1, 1e-3
    two = functional.batch_norm(
        convolve(x, (weight, bias), stride=stride), mean, variance, gain, shift, training=False, eps=epsilon
    )
    one = convolve(x, reparam.batch_norm(weight, bias, mean, variance, gain, shift, epsilon), stride=stride)
    assert difference(one, two) <= TOLERANCES[dtype]


@precisions
@strides
@channels
@pytest.mark.parametrize("middle", [1, 4])
def test_identity_3_a_pointwise_convolution_that_carries_the_padding(
    inputs: int, outputs: int, middle: int, stride: int, dtype: torch.dtype, difference: Difference
) -> None:
    x, pointwise, spatial = (
        volume(inputs, dtype),
        kernel(middle, inputs, dtype, (1, 1, 1)),
        kernel(outputs, middle, dtype),
    )
    two = convolve(convolve(x, pointwise), spatial, padding=0, stride=stride)
    one = convolve(x, reparam.before_pointwise(*pointwise, *spatial), stride=stride)
    assert difference(one, two) <= TOLERANCES[dtype]


@pytest.mark.parametrize("face", [(axis, side) for axis in range(3) for side in (0, -1)])
def test_identity_3_fails_on_every_face_where_the_intermediate_is_padded_with_zeros(face: tuple[int, int]) -> None:
    x, pointwise, spatial = (
        volume(2, torch.float64),
        kernel(3, 2, torch.float64, (1, 1, 1)),
        kernel(5, 3, torch.float64),
    )
    naive = convolve(convolve(x, pointwise, padding=0), spatial)
    error = (convolve(x, reparam.before_pointwise(*pointwise, *spatial)) - naive).abs()
    assert error[:, :, 1:-1, 1:-1, 1:-1].max() < 1e-12
    assert error.select(face[0] + 2, face[1]).min() > 1e-6


@precisions
@strides
@channels
def test_identity_4_concatenated_outputs(
    inputs: int, outputs: int, stride: int, dtype: torch.dtype, difference: Difference
) -> None:
    x, kernels = volume(inputs, dtype), [kernel(n, inputs, dtype) for n in (outputs, 1, 3)]
    apart = torch.cat([convolve(x, k, stride=stride) for k in kernels], dim=1)
    assert difference(convolve(x, reparam.concatenate(kernels), stride=stride), apart) <= TOLERANCES[dtype]


@precisions
@strides
@channels
@pytest.mark.parametrize("middle", [1, 4])
def test_identity_5_a_pointwise_convolution_afterwards(
    inputs: int, outputs: int, middle: int, stride: int, dtype: torch.dtype, difference: Difference
) -> None:
    x, spatial, pointwise = (
        volume(inputs, dtype),
        kernel(middle, inputs, dtype),
        kernel(outputs, middle, dtype, (1, 1, 1)),
    )
    two = convolve(convolve(x, spatial, stride=stride), pointwise, padding=0)
    one = convolve(x, reparam.after_pointwise(*spatial, *pointwise), stride=stride)
    assert difference(one, two) <= TOLERANCES[dtype]
