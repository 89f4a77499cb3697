"""The compiled kernels of training against PyTorch's own, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from lightcrcf.network import force, sampling
from lightcrcf.training import compiled, losses

SHAPE = (5, 7, 11)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20250117)


def gradients(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The result, and the gradient of a sum in which every voxel weighs differently."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.linspace(-1, 2, result.numel()).view(result.shape)
    return result, torch.autograd.grad((result * weights).sum(), leaves)


@pytest.mark.parametrize("size", [0.4, 3.0])
@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (2, 3), (1, 5)])
def test_warp_and_both_gradients(batch: int, channels: int, size: float, generator: torch.Generator) -> None:
    features = torch.randn(batch, channels, *SHAPE, generator=generator)
    displacement = size * torch.randn(batch, 3, *SHAPE, generator=generator)
    got, wanted = (gradients(warp, features, displacement) for warp in (compiled.warp, sampling.warp))
    torch.testing.assert_close(got[0], wanted[0], atol=1e-4, rtol=0)
    for one, other in zip(got[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)


def test_composing_through_the_warp_has_the_gradient_of_pytorch(generator: torch.Generator) -> None:
    u, v = (torch.randn(1, 3, *SHAPE, generator=generator) for _ in range(2))
    got = gradients(lambda a, b: b + compiled.warp(a, b), u, v)[1]
    wanted = gradients(sampling.compose, u, v)[1]
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)


def test_only_the_gradients_that_are_needed_are_computed(generator: torch.Generator) -> None:
    features = torch.randn(1, 2, *SHAPE, generator=generator)
    displacement = torch.randn(1, 3, *SHAPE, generator=generator, requires_grad=False).requires_grad_()
    compiled.warp(features, displacement).sum().backward()
    assert features.grad is None
    assert displacement.grad is not None


def test_low_precision_features_give_a_float32_warp_and_gradients_of_their_own_type() -> None:
    features = torch.rand(1, 2, *SHAPE).bfloat16().requires_grad_()
    warped = compiled.warp(features, torch.zeros(1, 3, *SHAPE))
    warped.sum().backward()
    assert warped.dtype == torch.float32
    torch.testing.assert_close(features.grad, torch.ones_like(features))


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("batch", [1, 2])
def test_window_mean_and_its_gradient(batch: int, radius: int, generator: torch.Generator) -> None:
    images = torch.randn(batch, 3, *SHAPE, generator=generator)
    window = 2 * radius + 1
    got = gradients(lambda x: compiled.window_mean(x, radius), images)
    for other in (
        lambda x: avg_pool3d(x, window, stride=1, padding=radius),
        lambda x: losses.window_mean(x, radius),
    ):
        wanted = gradients(other, images)
        torch.testing.assert_close(got[0], wanted[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(got[1][0], wanted[1][0], atol=1e-5, rtol=0)


def test_lncc_through_the_compiled_mean_is_lncc(generator: torch.Generator) -> None:
    fixed, moved = (torch.rand(1, 1, 9, 10, 12, generator=generator) for _ in range(2))
    got = gradients(lambda m: losses.lncc(fixed, m, window=5, mean=compiled.window_mean), moved)
    wanted = gradients(lambda m: losses.lncc(fixed, m, window=5), moved)
    torch.testing.assert_close(got[0], wanted[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(got[1][0], wanted[1][0], atol=1e-5, rtol=1e-3)


def test_forces_are_those_of_pytorch_for_each_pair_of_a_batch(generator: torch.Generator) -> None:
    fixed, moving = torch.rand(2, 2, 1, 12, 16, 20, generator=generator).requires_grad_()
    got, wanted = compiled.unit_force(fixed, moving), force.unit_force(fixed, moving)
    torch.testing.assert_close(got, wanted, atol=2e-3, rtol=0)
    assert not got.requires_grad
