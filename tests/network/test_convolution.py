"""The convolution of the network: that of PyTorch, by its fast method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv3d
from torch.profiler import ProfilerActivity, profile

from lightcrcf.network.config import NetworkConfig
from lightcrcf.network.convolution import convolve
from lightcrcf.network.model import LightCRCF

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}


def _tensors(batch: int, depth: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(depth)
    shapes = ((batch, 2, depth, 5, 7), (3, 2, 3, 3, 3), (3,))
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("stride", [1, (1, 2, 2)])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("batch", [1, 2])
def test_output_and_gradients_are_those_of_pytorch(
    batch: int, depth: int, stride: int | tuple[int, int, int], dtype: torch.dtype
) -> None:
    tensors, tolerance = _tensors(batch, depth, dtype), TOLERANCES[dtype]
    expected = conv3d(*tensors, stride=stride, padding=1)
    result = convolve(*tensors, stride)
    assert torch.allclose(result, expected, rtol=0, atol=tolerance)
    for ours, theirs in zip(
        torch.autograd.grad(result.square().sum(), tensors),
        torch.autograd.grad(expected.square().sum(), tensors),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_no_level_of_a_small_volume_takes_the_slow_method() -> None:
    model = LightCRCF(NetworkConfig())
    with profile(activities=[ProfilerActivity.CPU]) as events:
        model(torch.rand(1, 1, 32, 48, 32), torch.rand(1, 1, 32, 48, 32))[-1].sum().backward()
    names = {event.key for event in events.key_averages()}
    assert "aten::mkldnn_convolution" in names
    assert not {name for name in names if "slow_conv" in name}
