"""What a window explains against the definition in float64, and the force against torch's derivative of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv3d

from lightcrcf.geometry import explained_kernels as kernels
from lightcrcf.geometry import refinement_kernels

SHAPE = (7, 37, 19)  # lines longer than a vector


def images(rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Another contrast that is no monotone function, and noise."""
    fixed = rng.random(SHAPE).astype(np.float32)
    other = 3 * (fixed - 0.4) ** 2
    return fixed, (0.6 * other[::-1] + 0.4 * rng.random(SHAPE)).astype(np.float32)


def window_sum(image: torch.Tensor, radius: int) -> torch.Tensor:
    window = torch.ones((1, 1, *3 * (2 * radius + 1,)), dtype=image.dtype)
    return conv3d(image[None, None], window, padding=radius)[0, 0]


def objective(
    fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor | None, radius: int
) -> tuple[torch.Tensor, float]:
    """Sum of R^2 times the fixed image's deviation, by a matrix for each window, and the sum of the deviations."""
    w = torch.ones_like(fixed) if weight is None else weight
    voxels = float((2 * radius + 1) ** 3)
    n = torch.full_like(fixed, voxels) if weight is None else window_sum(w, radius)
    enough = n > 0.2 * voxels
    n = n.clamp_min(1e-9)

    def mean(image: torch.Tensor) -> torch.Tensor:
        return window_sum(w * image, radius) / n

    basis = [fixed, fixed**2]
    means, m = [mean(b) for b in basis], mean(moved)
    s = torch.stack([torch.stack([mean(a * b) - mean(a) * mean(b) for b in basis], -1) for a in basis], -1)
    c = torch.stack([mean(b * moved) - b_mean * m for b, b_mean in zip(basis, means, strict=True)], -1)
    solved = torch.linalg.solve(s + float(kernels.RIDGE) * torch.eye(2, dtype=s.dtype), c)
    explained = (c * solved).sum(-1) / (mean(moved**2) - m**2 + float(kernels.FLOOR))
    worth = s[..., 0, 0].clamp_min(0).sqrt()
    zero = torch.zeros_like(n)
    return torch.where(enough, worth * explained, zero).sum(), float(torch.where(enough, worth, zero).sum())


def measured(
    fixed: NDArray, moved: NDArray, weight: NDArray | None, radius: int
) -> tuple[tuple[float, float], NDArray, NDArray]:
    """The first two sums, the terms and the force."""
    basis, terms, force = (np.full((n, *fixed.shape), np.nan, np.float32) for n in (5, 4, 3))
    kernels.explained_basis(fixed, weight, radius, basis)
    sums = kernels.explained_terms(fixed, moved, weight, basis, radius, terms)
    kernels.explained_force(fixed, moved, weight, terms, radius, force)
    return sums[:2], terms, force


def central(image: NDArray) -> NDArray:
    padded = np.pad(image.astype(np.float64), 1, mode="edge")
    inner = (slice(1, -1),) * 3
    return np.stack([0.5 * (np.roll(padded, -1, axis) - np.roll(padded, 1, axis))[inner] for axis in range(3)])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("radius", [1, 2, 4])
def test_what_is_explained_and_its_force_are_those_of_autograd(
    rng: np.random.Generator, radius: int, masked: bool
) -> None:
    fixed, moved = images(rng)
    weight = (rng.random(SHAPE) < 0.6).astype(np.float32) if masked else None
    if weight is not None:
        weight[:4, :9] = 0
    f, w = torch.from_numpy(fixed).double(), None if weight is None else torch.from_numpy(weight).double()
    m = torch.from_numpy(moved).double().requires_grad_()
    wanted, worth = objective(f, m, w, radius)
    (slope,) = torch.autograd.grad(wanted, m)

    sums, _, force = measured(fixed, moved, weight, radius)
    assert sums == pytest.approx((float(wanted.detach()), worth), rel=1e-4)
    expected = slope.numpy() * central(moved)
    np.testing.assert_allclose(force, expected, atol=5e-4 * np.abs(expected).max())
    if weight is not None:
        assert not force[:, weight == 0].any()


def test_a_small_step_along_the_force_explains_more_as_it_says(rng: np.random.Generator) -> None:
    fixed, moved = images(rng)
    (before, _), _, force = measured(fixed, moved, None, 2)
    step = 1e-3 * force / np.abs(force).max()
    nearby = (moved + (step * central(moved)).sum(axis=0)).astype(np.float32)
    (after, _), *_ = measured(fixed, nearby, None, 2)
    assert after - before == pytest.approx(float((force * step).sum()), rel=0.05)


@pytest.mark.parametrize(
    "contrast",
    [lambda f: f, lambda f: 1 - f, lambda f: 0.3 + 0.5 * f, lambda f: 2.5 * (f - 0.4) ** 2, lambda f: np.sin(3 * f)],
    ids=["same", "inverted", "dimmed", "parabola", "arch"],
)
def test_any_contrast_of_few_tissues_is_explained(
    rng: np.random.Generator, contrast: Callable[[NDArray], NDArray]
) -> None:
    """Three tissues in pieces: whatever shade each has, all of it is told by the fixed image, and nothing pulls."""
    fixed = np.kron(rng.choice([0.1, 0.5, 0.9], (2, 10, 5)), np.ones((4, 4, 4))).astype(np.float32)[:7, :37, :19]
    (gained, counted), _, force = measured(fixed, contrast(fixed).astype(np.float32), np.ones(SHAPE, np.float32), 2)
    assert gained / counted > 0.94
    elsewhere = contrast(np.roll(fixed, 2, axis=1)).astype(np.float32)
    (shifted, _), _, pulling = measured(fixed, elsewhere, np.ones(SHAPE, np.float32), 2)
    assert shifted < 0.8 * gained
    assert np.abs(force).mean() < 0.2 * np.abs(pulling).mean()


def test_more_is_explained_than_by_a_straight_line(rng: np.random.Generator) -> None:
    fixed, _ = images(rng)
    moved = (4 * (fixed - 0.5) ** 2).astype(np.float32)
    weight, terms = np.ones(SHAPE, np.float32), np.empty((3, *SHAPE), np.float32)
    (gained, counted), *_ = measured(fixed, moved, weight, 2)
    straight, worth, _ = refinement_kernels.correlation_terms(fixed, moved, weight, 2, 1e-6, terms)
    assert worth == pytest.approx(counted, rel=1e-3)
    assert gained > 0.9 * counted > 3 * straight


def test_flat_windows_explain_nothing_and_pull_nowhere() -> None:
    flat = np.full(SHAPE, 0.7, np.float32)
    weight = np.ones(SHAPE, np.float32)
    sums, terms, force = measured(flat, flat, weight, 2)
    assert sums[0] == pytest.approx(0, abs=1e-3)
    assert np.isfinite(terms).all()
    assert not np.abs(force).max() > 1e-6
    sums, terms, _ = measured(flat, flat, np.zeros(SHAPE, np.float32), 2)
    assert sums == (0, 0)
    assert not terms.any()


@pytest.mark.parametrize("masked", [False, True])
def test_results_do_not_depend_on_threads(
    rng: np.random.Generator, thread_counts: Callable[[], Iterator[int]], masked: bool
) -> None:
    fixed, moved = images(rng)
    weight = (rng.random(SHAPE) < 0.6).astype(np.float32) if masked else None
    found = [measured(fixed, moved, weight, 2) for _ in thread_counts()]
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_instruction_sets_agree(rng: np.random.Generator, instruction_sets: Callable[[], Iterator[str]]) -> None:
    fixed, moved = images(rng)
    found = [measured(fixed, moved, None, 2) for _ in instruction_sets()]
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4 * np.abs(one).max())


def test_arrays_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    fixed, moved = images(rng)
    basis, terms, force = (np.empty((n, *SHAPE), np.float32) for n in (5, 4, 3))
    with pytest.raises(ValueError, match="channels"):
        kernels.explained_basis(fixed, None, 2, terms)
    with pytest.raises(ValueError, match="channels"):
        kernels.explained_terms(fixed, moved, None, terms, 2, terms.copy())
    with pytest.raises(ValueError, match="channels"):
        kernels.explained_force(fixed, moved, None, basis, 2, force)
    with pytest.raises(ValueError, match="differ in shape"):
        kernels.explained_terms(fixed, moved, moved[1:], basis, 2, terms)
    with pytest.raises(TypeError):
        kernels.explained_terms(fixed, moved, None, basis, 2, terms[..., ::-1])


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 1, 9), (3, 40, 1)])
def test_windows_larger_than_the_image(rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    fixed, moved = rng.random((2, *shape), dtype=np.float32)
    sums, terms, force = measured(fixed, moved, None, 3)
    assert np.isfinite([*sums]).all()
    assert np.isfinite(terms).all()
    assert np.isfinite(force).all()


def test_windows_that_differ_by_noise_alone_exert_no_force(rng: np.random.Generator) -> None:
    """Where more than noise is unexplained the force stays as it was."""
    fixed, _ = images(rng)
    sigma = 0.03
    moved = (0.9 - 0.7 * fixed + rng.normal(0, sigma, SHAPE)).astype(np.float32)
    moved[:, 20:] = images(rng)[1][:, 20:]
    weight = np.ones(SHAPE, np.float32)
    basis, terms, force = (np.empty((n, *SHAPE), np.float32) for n in (5, 4, 3))
    kernels.explained_basis(fixed, weight, 2, basis)
    found = []
    for noise in ((0.0, 0.0), (1e-4, 4 * sigma**2)):
        sums = kernels.explained_terms(fixed, moved, weight, basis, 2, terms, noise)
        kernels.explained_force(fixed, moved, weight, terms, 2, force)
        found.append((force.copy(), sums))
    (plain, without), (limited, with_noise) = found
    assert np.abs(plain[:, 2:-2, 2:15, 2:-2]).max() > 0
    assert not limited[:, 2:-2, 2:15, 2:-2].any()
    np.testing.assert_array_equal(limited[:, 2:-2, 27:-2, 2:-2], plain[:, 2:-2, 27:-2, 2:-2])
    assert with_noise[1] == without[1]
    assert with_noise[0] < without[0]
    assert with_noise[2] < without[2] <= without[1]
    assert kernels.explained_terms(fixed, moved, weight, basis, 2, terms, (9.0, 9.0))[::2] == (0, 0)
