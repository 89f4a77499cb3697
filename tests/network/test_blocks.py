"""TaRep and GfRep: the fused kernel against the branches, and what the masks measure."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d

from lightcrcf.network.config import TEXTURE
from lightcrcf.network.gfrep import GfRep
from lightcrcf.network.tarep import TaRep, laplacian_mask, sobel_mask

CHANNELS = (1, 2, 3, 5)
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}
Randomise = Callable[[nn.Module], None]
Difference = Callable[[Tensor, Tensor], float]

precisions = pytest.mark.parametrize("dtype", TOLERANCES)


@precisions
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(i, o) for i in CHANNELS for o in CHANNELS])
def test_tarep_fused_equals_its_branches_borders_included(
    inputs: int,
    outputs: int,
    normalise: bool,
    stride: int,
    dtype: torch.dtype,
    randomise: Randomise,
    difference: Difference,
) -> None:
    block = TaRep(inputs, outputs, TEXTURE, stride=stride, normalise=normalise).to(dtype).eval()
    randomise(block)
    for shape in ((5, 7, 11), (4, 6, 3), (1, 2, 9)):
        x = torch.randn(2, inputs, *shape, dtype=dtype)
        with torch.no_grad():
            assert difference(block(x), block.branches(x)) <= TOLERANCES[dtype]


@pytest.mark.parametrize("branches", [(), ("anisotropic",), ("sobel",), ("laplacian",), ("sobel", "laplacian")])
def test_tarep_fused_equals_any_choice_of_branches(
    branches: tuple[str, ...], randomise: Randomise, difference: Difference
) -> None:
    block = TaRep(3, 2, branches, normalise=True).double().eval()
    randomise(block)
    x = torch.randn(1, 3, 5, 7, 11, dtype=torch.float64)
    with torch.no_grad():
        assert difference(block(x), block.branches(x)) <= 1e-10


def test_tarep_learns_through_the_fused_kernel_as_through_its_branches(randomise: Randomise) -> None:
    block = TaRep(2, 3, TEXTURE).double()
    randomise(block)
    x = torch.randn(1, 2, 5, 7, 11, dtype=torch.float64)
    target = torch.randn(1, 3, 5, 7, 11, dtype=torch.float64)
    parameters = list(block.parameters())
    fused = torch.autograd.grad((block(x) * target).sum(), parameters)
    apart = torch.autograd.grad((block.branches(x) * target).sum(), parameters)
    for one, other in zip(fused, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_tarep_uses_batch_statistics_in_training_and_running_ones_afterwards() -> None:
    block = TaRep(2, 3, TEXTURE, normalise=True)
    x = 5 + 2 * torch.randn(2, 2, 5, 7, 11)
    with torch.no_grad():
        training, evaluation = block(x), block.eval()(x)
    assert (training - evaluation).abs().max() > 0.1


@precisions
@pytest.mark.parametrize("groups", [1, 2, 3, 4])
@pytest.mark.parametrize("inputs", CHANNELS)
def test_gfrep_fused_equals_its_groups_borders_included(
    inputs: int, groups: int, dtype: torch.dtype, randomise: Randomise, difference: Difference
) -> None:
    head = GfRep(inputs, groups).to(dtype)
    randomise(head)
    for shape in ((5, 7, 11), (1, 2, 9)):
        x = torch.randn(2, inputs, *shape, dtype=dtype)
        with torch.no_grad():
            assert difference(head(x), head.branches(x)) <= TOLERANCES[dtype]


def test_gfrep_starts_near_zero_and_every_group_learns() -> None:
    head = GfRep(8, 4)
    flow = head(torch.rand(1, 8, 5, 7, 11))
    assert flow.abs().max() < 0.1
    flow.sum().backward()
    assert all(group.weight.grad.abs().max() > 0.1 for group in head.heads)


def respond(mask: Tensor, image: Tensor) -> Tensor:
    """Inside only, where no padding is seen."""
    return conv3d(image[None, None], mask[None, None])


@pytest.mark.parametrize("along", range(3))
def test_a_sobel_mask_is_the_derivative_along_its_own_axis(along: int) -> None:
    coordinates = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (5, 7, 11)), indexing="ij")
    for axis in range(3):
        wanted = 2 * 16 / sqrt(72) if axis == along else 0.0  # twice the slope, 16 smoothed lines, unit norm
        response = respond(sobel_mask(along), coordinates[axis])
        torch.testing.assert_close(response, torch.full_like(response, wanted), atol=1e-12, rtol=0)


def test_the_laplacian_mask_is_the_second_derivative_along_every_axis() -> None:
    coordinates = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (5, 7, 11)), indexing="ij")
    for x in coordinates:
        linear, square = respond(laplacian_mask(), 3 * x + 1), respond(laplacian_mask(), x * x)
        torch.testing.assert_close(linear, torch.zeros_like(linear), atol=1e-12, rtol=0)
        torch.testing.assert_close(square, torch.full_like(square, 2 / sqrt(42)), atol=1e-12, rtol=0)


def test_masks_have_unit_norm() -> None:
    for mask in (*map(sobel_mask, range(3)), laplacian_mask()):
        assert float(mask.square().sum()) == pytest.approx(1.0, abs=1e-12)
