from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightcrcf.geometry.refinement_kernels import correlation_terms
from lightcrcf.training.losses import (
    bending,
    determinant,
    dice,
    diffusion,
    folding,
    lncc,
    mean_squared_error,
    volume_change,
)

SHAPE = (6, 7, 9)
EPSILON = 1e-5


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20250117)


@pytest.fixture
def images(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    fixed, moved = torch.rand(2, 1, 1, *SHAPE, generator=generator, dtype=torch.float64)
    return fixed, moved


def brute_force_lncc(fixed: np.ndarray, moved: np.ndarray, window: int, weight: np.ndarray) -> float:
    """The definition, window by window; voxels outside are zeros that count."""
    radius = window // 2
    f, m = (np.pad(x, radius) for x in (fixed, moved))
    total = 0.0
    for x in np.ndindex(fixed.shape):
        cube = tuple(slice(i, i + window) for i in x)
        a, b = f[cube] - f[cube].mean(), m[cube] - m[cube].mean()
        total += weight[x] * (a * b).mean() ** 2 / ((a * a).mean() * (b * b).mean() + EPSILON)
    return 1 - total / max(weight.sum(), 1.0)


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_lncc_is_its_definition(window: int, weighted: bool, images: tuple[Tensor, Tensor]) -> None:
    weight = (torch.arange(math.prod(SHAPE)).view(1, 1, *SHAPE) % 3 == 0).double() if weighted else None
    counted = np.ones(SHAPE) if weight is None else weight[0, 0].numpy()
    wanted = brute_force_lncc(images[0][0, 0].numpy(), images[1][0, 0].numpy(), window, counted)
    assert float(lncc(*images, window=window, weight=weight, epsilon=EPSILON)) == pytest.approx(wanted, abs=1e-10)


def test_lncc_is_symmetric_and_between_0_and_1(images: tuple[Tensor, Tensor]) -> None:
    fixed, moved = images
    torch.testing.assert_close(lncc(fixed, moved, window=5), lncc(moved, fixed, window=5))
    assert 0.5 < float(lncc(fixed, moved, window=5)) <= 1


@pytest.mark.parametrize(("gain", "offset"), [(2.0, 0.0), (-1.0, 0.0), (0.5, 3.0)])
def test_lncc_ignores_contrast_and_sign_where_no_border_is_seen(
    gain: float, offset: float, images: tuple[Tensor, Tensor]
) -> None:
    fixed, moved = images
    inside = torch.zeros_like(fixed)
    inside[:, :, 2:-2, 2:-2, 2:-2] = 1
    plain = lncc(fixed, moved, window=5, weight=inside, epsilon=1e-12)
    changed = lncc(fixed, gain * moved + offset, window=5, weight=inside, epsilon=1e-12)
    torch.testing.assert_close(changed, plain, atol=1e-6, rtol=0)
    assert float(lncc(fixed, gain * fixed + offset, window=5, weight=inside, epsilon=1e-12)) < 1e-6


def test_flat_regions_count_as_uncorrelated() -> None:
    flat = torch.full((1, 1, *SHAPE), 0.5, dtype=torch.float64)
    inside = torch.zeros_like(flat)
    inside[:, :, 1:-1, 1:-1, 1:-1] = 1
    assert float(lncc(flat, flat, window=3, weight=inside)) == pytest.approx(1.0, abs=1e-6)


def test_mean_squared_error_and_its_weight() -> None:
    fixed, moved = torch.zeros(1, 1, 2, 1, 2), torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 1, 2)
    assert float(mean_squared_error(fixed, moved)) == 7.5
    assert float(mean_squared_error(fixed, moved, weight=(moved > 2).float())) == 12.5
    assert float(mean_squared_error(fixed, moved, weight=torch.zeros_like(moved))) == 0.0


def coordinates(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    axes = (torch.arange(n, dtype=torch.float64) for n in shape)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def linear(matrix: Tensor) -> Tensor:
    """(1, 3, *SHAPE): u(x) = matrix @ x."""
    return torch.einsum("ab,bdhw->adhw", matrix, coordinates())[None]


def test_diffusion_of_a_linear_field_is_the_mean_of_its_squared_slopes(generator: torch.Generator) -> None:
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    assert float(diffusion(linear(matrix))) == pytest.approx(float(matrix.square().mean()), rel=1e-12)


def test_diffusion_of_a_translation_is_zero() -> None:
    assert float(diffusion(torch.full((1, 3, *SHAPE), 4.2))) == 0.0


@pytest.mark.parametrize("scale", [-2.0, 0.0, 0.05, 0.5, 1.0, 3.0])
def test_folding_of_a_scaling_is_what_its_determinant_lacks(scale: float) -> None:
    u = linear(torch.diag(torch.tensor([scale - 1, 0.0, 0.0], dtype=torch.float64)))
    assert float(folding(u, margin=0.1)) == pytest.approx(max(0.0, 0.1 - scale), abs=1e-12)


def test_folding_counts_the_determinant_of_any_linear_map(generator: torch.Generator) -> None:
    matrix = torch.randn(20, 3, 3, generator=generator, dtype=torch.float64)
    determinants = torch.linalg.det(matrix + torch.eye(3, dtype=torch.float64))
    assert (determinants < 0).any()
    for one, volume in zip(matrix, determinants, strict=True):
        assert float(folding(linear(one))) == pytest.approx(max(0.0, 0.1 - float(volume)), abs=1e-9)


def test_one_folded_corner_is_found_and_nothing_else() -> None:
    u = torch.zeros(1, 3, *SHAPE)
    u[0, 2, 2, 3, 4] = -1.5  # voxel 4 lands left of voxel 3, and voxel 5 is left behind
    cells = math.prod(n - 1 for n in SHAPE)
    assert float(folding(u, margin=0.0)) == pytest.approx(0.5 / cells, rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_of_lncc(weighted: bool, generator: torch.Generator) -> None:
    fixed, moved = torch.rand(2, 1, 1, 4, 5, 3, generator=generator, dtype=torch.float64)
    weight = (moved > 0.3).double() if weighted else None
    assert torch.autograd.gradcheck(
        lambda m: lncc(fixed, m, window=3, weight=weight), moved.clone().requires_grad_(), eps=1e-6, atol=1e-6
    )


def test_gradients_of_the_regularisers(generator: torch.Generator) -> None:
    u = torch.randn(1, 3, 3, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(diffusion, u)
    assert torch.autograd.gradcheck(lambda v: folding(v, margin=0.37), u)


def test_dice_is_its_definition(generator: torch.Generator) -> None:
    fixed, moved = (torch.rand(2, 3, *SHAPE, generator=generator) for _ in range(2))
    wanted = [
        2 * float((f * m).sum()) / float((f + m).sum())
        for pair in zip(fixed, moved, strict=True)
        for f, m in zip(*pair, strict=True)
    ]
    assert float(dice(fixed, moved)) == pytest.approx(1 - np.mean(wanted), rel=1e-5)


def test_dice_of_an_empty_structure_has_a_gradient_that_is_finite() -> None:
    moved = torch.zeros(1, 1, *SHAPE, requires_grad=True)
    dice(torch.zeros(1, 1, *SHAPE), moved).backward()  # type: ignore[no-untyped-call]
    assert moved.grad is not None
    assert torch.isfinite(moved.grad).all()


def test_windows_weighted_by_deviation_are_those_of_the_refinement() -> None:
    """The native kernel of the refinement, beside the loss."""
    fixed, moved = np.random.default_rng(5).random((2, *SHAPE), dtype=np.float32)
    gained, counted, _ = correlation_terms(fixed, moved, None, 2, EPSILON, np.empty((3, *SHAPE), np.float32))
    images = (torch.from_numpy(image)[None, None] for image in (fixed, moved))
    loss = lncc(*images, window=5, epsilon=EPSILON, by_deviation=True)
    assert float(loss) == pytest.approx(1 - gained / counted, abs=1e-5)


def affine_field(scales: tuple[float, float, float]) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SHAPE), indexing="ij")
    return torch.stack([(s - 1) * axis for s, axis in zip(scales, axes, strict=True)])[None]


def test_bending_spares_affines_and_counts_each_pair_of_axes() -> None:
    assert float(bending(affine_field((2.0, 0.5, 1.5)))) == pytest.approx(0, abs=1e-20)
    z, y, _ = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SHAPE), indexing="ij")
    twisted = torch.stack([0.5 * z * y, 0 * z, 0 * z])[None]  # mixed differences of 0.5 in one of three components
    assert float(bending(twisted)) == pytest.approx(2 * 0.25 / 3 / 3)


def test_determinants_of_an_affine_are_its_own() -> None:
    found = determinant(affine_field((2.0, 0.5, 1.5)))
    assert found.shape == (1, *(n - 1 for n in SHAPE))
    torch.testing.assert_close(found, torch.full_like(found, 1.5))


@pytest.mark.parametrize("scale", [1.25, 2.0])
def test_volume_change_counts_shrinking_as_growing(scale: float) -> None:
    grown, shrunk = (volume_change(affine_field((s, 1.0, 1.0))) for s in (scale, 1 / scale))
    torch.testing.assert_close(grown, shrunk)
    assert float(grown) == pytest.approx((scale + 1 / scale) / 2 - 1)
    assert float(volume_change(torch.zeros(1, 3, *SHAPE))) == 0


def test_volume_change_leaves_folds_to_their_own_penalty() -> None:
    folded = affine_field((-1.0, 1.0, 1.0)).requires_grad_()
    volume_change(folded).backward()
    assert folded.grad is not None
    assert folded.grad.abs().max() == 0
