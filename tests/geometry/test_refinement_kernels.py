"""Every window against its plain NumPy twin, and the force against torch's derivative of the objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv3d

from lightcrcf import _core
from lightcrcf.geometry import refinement_kernels as kernels

SHAPE = (7, 37, 19)  # lines longer than a vector
FLOOR = 1e-4


def images(rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    fixed = rng.random(SHAPE).astype(np.float32)
    return fixed, (0.6 * fixed[::-1] + 0.4 * rng.random(SHAPE)).astype(np.float32)


def window_sum(image: torch.Tensor, radius: int) -> torch.Tensor:
    window = torch.ones((1, 1, *3 * (2 * radius + 1,)), dtype=image.dtype)
    return conv3d(image[None, None], window, padding=radius)[0, 0]


def objective(
    fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor | None, radius: int, noise: float = 0.0
) -> tuple[torch.Tensor, float, float]:
    """Sum of squared local correlations times the fixed image's deviation, in float64, as the definition says.

    What noise leaves attainable is a constant: it pulls nowhere. Then the sum of the deviations, and the most that the
    first sum could be.
    """
    w = torch.ones_like(fixed) if weight is None else weight
    voxels = float((2 * radius + 1) ** 3)
    n = torch.full_like(fixed, voxels) if weight is None else window_sum(w, radius)
    enough = n > 0.2 * voxels
    n = n.clamp_min(1e-9)
    f, m = window_sum(w * fixed, radius) / n, window_sum(w * moved, radius) / n
    ff, mm = window_sum(w * fixed * fixed, radius) / n - f * f, window_sum(w * moved * moved, radius) / n - m * m
    covariance = window_sum(w * fixed * moved, radius) / n - f * m
    worth, most = ff.clamp_min(0).sqrt(), (ff - noise).clamp_min(0) * mm
    terms, limits = (worth * x / (ff * mm + FLOOR) for x in (covariance**2, most))
    terms, limits = torch.where(covariance**2 < most, terms, limits.detach()) if noise else terms, limits.detach()
    zero = torch.zeros_like(n)
    total, counted, attainable = (torch.where(enough, x, zero).sum() for x in (terms, worth, limits))
    return total, float(counted), float(attainable)


def central(image: NDArray) -> NDArray:
    """Half of the difference of the neighbours; at a border the voxel stands for the missing one."""
    padded = np.pad(image.astype(np.float64), 1, mode="edge")
    inner = (slice(1, -1),) * 3
    return np.stack([0.5 * (np.roll(padded, -1, axis) - np.roll(padded, 1, axis))[inner] for axis in range(3)])


def filtered(image: NDArray, half: NDArray) -> NDArray:
    """Correlate along each axis with one half of a symmetric window, borders repeated."""
    out = image.astype(np.float64)
    radius = half.shape[1] - 1
    for axis in range(3):
        whole = np.concatenate([half[axis, :0:-1], half[axis]]).astype(np.float64)
        padded = np.pad(out, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="edge")
        out = np.apply_along_axis(lambda line, w=whole: np.convolve(line, w, mode="valid"), axis, padded)
    return out


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("radius", [1, 2, 4])
def test_correlation_and_force_are_those_of_autograd(
    rng: np.random.Generator, radius: int, masked: bool, noise: float
) -> None:
    fixed, moved = images(rng)
    weight = (rng.random(SHAPE) < 0.6).astype(np.float32) if masked else None
    if weight is not None:
        weight[:4, :9] = 0
    f, w = torch.from_numpy(fixed).double(), None if weight is None else torch.from_numpy(weight).double()
    m = torch.from_numpy(moved).double().requires_grad_()
    wanted, *limits = objective(f, m, w, radius, noise)
    (slope,) = torch.autograd.grad(wanted, m)

    terms, force = np.full((3, *SHAPE), np.nan, np.float32), np.full((3, *SHAPE), np.nan, np.float32)
    got, *sums = kernels.correlation_terms(fixed, moved, weight, radius, FLOOR, terms, noise)
    kernels.correlation_force(fixed, moved, weight, terms, radius, force)

    assert got == pytest.approx(float(wanted.detach()), rel=1e-4)
    assert sums == pytest.approx([float(limit) for limit in limits], rel=1e-4)
    expected = slope.numpy() * central(moved)
    np.testing.assert_allclose(force, expected, atol=2e-4 * np.abs(expected).max())
    if weight is not None:
        assert not force[:, weight == 0].any()


def test_a_small_step_along_the_force_raises_the_correlation_as_it_says(rng: np.random.Generator) -> None:
    fixed, moved = images(rng)
    terms, force = np.empty((3, *SHAPE), np.float32), np.empty((3, *SHAPE), np.float32)
    before, *_ = kernels.correlation_terms(fixed, moved, None, 2, FLOOR, terms)
    kernels.correlation_force(fixed, moved, None, terms, 2, force)
    slope = central(moved)
    step = 1e-3 * force / np.abs(force).max()
    nearby = (moved + (step * slope).sum(axis=0)).astype(np.float32)
    after, *_ = kernels.correlation_terms(fixed, nearby, None, 2, FLOOR, terms)
    assert after - before == pytest.approx(float((force * step).sum()), rel=0.05)


@pytest.mark.parametrize("masked", [False, True])
def test_windows_that_differ_by_noise_alone_exert_no_force(rng: np.random.Generator, masked: bool) -> None:
    """The sum is then all that the images could reach; where more than noise differs the force stays as it was."""
    fixed, _ = images(rng)
    moved, sigma = fixed + rng.normal(0, 0.02, SHAPE).astype(np.float32), 0.02
    moved[:, 20:] = images(rng)[1][:, 20:]
    weight = np.ones(SHAPE, np.float32) if masked else None
    found = []
    for noise in (0.0, 4 * sigma**2):
        terms, force = np.empty((3, *SHAPE), np.float32), np.empty((3, *SHAPE), np.float32)
        sums = kernels.correlation_terms(fixed, moved, weight, 2, FLOOR, terms, noise)
        kernels.correlation_force(fixed, moved, weight, terms, 2, force)
        found.append((force, sums))
    (plain, without), (force, limited) = found
    assert np.abs(plain[:, 2:-2, 2:15, 2:-2]).max() > 0
    assert not force[:, 2:-2, 2:15, 2:-2].any()
    np.testing.assert_array_equal(force[:, 2:-2, 27:-2, 2:-2], plain[:, 2:-2, 27:-2, 2:-2])
    assert limited[1] == without[1]
    assert limited[0] < without[0]  # windows count no more than they could
    assert limited[2] < without[2] <= limited[1]


def test_all_that_is_attainable_is_reached_by_the_image_itself_and_by_none_that_is_flat() -> None:
    fixed = np.zeros(SHAPE, np.float32)
    fixed[2:5, 10:20, 4:15] = 1
    out = np.empty((3, *SHAPE), np.float32)
    for noise in (0.0, 0.01):
        total, weights, most = kernels.correlation_terms(fixed, fixed, None, 2, FLOOR, out, noise)
        assert total == pytest.approx(most, rel=1e-5)
        assert 0 < most < weights
    assert kernels.correlation_terms(fixed, fixed, None, 2, FLOOR, out, 1.0)[::2] == (0, 0)  # more noise than contrast
    total, _, most = kernels.correlation_terms(fixed, np.zeros(SHAPE, np.float32), None, 2, FLOOR, out)
    assert (total, most) == (0, 0)


def test_windows_weigh_what_the_fixed_image_shows_in_them() -> None:
    fixed = np.zeros(SHAPE, np.float32)
    fixed[3, 20, 5] = 1
    _, weights, _ = kernels.correlation_terms(fixed, fixed, None, 1, FLOOR, np.empty((3, *SHAPE), np.float32))
    assert weights == pytest.approx(27 * float(np.sqrt(1 / 27 - 1 / 27**2)), rel=1e-4)


def test_constant_terms_make_the_force_of_the_squared_error(rng: np.random.Generator) -> None:
    fixed, moved = images(rng)
    weight = (rng.random(SHAPE) < 0.5).astype(np.float32)
    terms = np.broadcast_to(np.array([1, -1, 0], np.float32)[:, None, None, None], (3, *SHAPE)).copy()
    force = np.empty((3, *SHAPE), np.float32)
    kernels.correlation_force(fixed, moved, weight, terms, 0, force)
    np.testing.assert_allclose(force, weight * (fixed - moved) * central(moved), atol=1e-6)


@pytest.mark.parametrize("sigma", [(0.5, 0.5, 0.5), (1.5, 0.7, 0.0), (0.0, 2.0, 1.2)])
def test_smoothing(rng: np.random.Generator, sigma: tuple[float, float, float]) -> None:
    field = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    taps, out = kernels.gaussian_taps(sigma), np.full((3, *SHAPE), np.nan, np.float32)
    kernels.smooth(field, taps, out)
    wanted = np.stack([filtered(channel, taps) for channel in field])
    np.testing.assert_allclose(out, wanted, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 1, 9), (3, 40, 1)])
def test_windows_larger_than_the_image(rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    field, out = rng.standard_normal((3, *shape)).astype(np.float32), np.empty((3, *shape), np.float32)
    taps = kernels.gaussian_taps((1.5, 1.5, 1.5))
    kernels.smooth(field, taps, out)
    np.testing.assert_allclose(out, np.stack([filtered(channel, taps) for channel in field]), atol=2e-6)
    kernels.correlation_terms(field[0], field[1], None, 3, FLOOR, out)
    kernels.correlation_force(field[0], field[1], None, out.copy(), 3, out)
    assert np.isfinite(out).all()


def measured(fixed: NDArray, moved: NDArray, weight: NDArray | None) -> tuple[tuple[float, ...], NDArray, NDArray]:
    """The sums, the terms and the smoothed force."""
    terms, force, smoothed = (np.empty((3, *fixed.shape), np.float32) for _ in range(3))
    sums = kernels.correlation_terms(fixed, moved, weight, 2, FLOOR, terms)
    kernels.correlation_force(fixed, moved, weight, terms, 2, force)
    kernels.smooth(force, kernels.gaussian_taps((1.5, 1.5, 1.5)), smoothed)
    return sums, terms, smoothed


@pytest.mark.parametrize("masked", [False, True])
def test_results_do_not_depend_on_threads(
    rng: np.random.Generator, thread_counts: Callable[[], Iterator[int]], masked: bool
) -> None:
    fixed, moved = images(rng)
    weight = (rng.random(SHAPE) < 0.6).astype(np.float32) if masked else None
    found = [measured(fixed, moved, weight) for _ in thread_counts()]
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_instruction_sets_agree(rng: np.random.Generator, instruction_sets: Callable[[], Iterator[str]]) -> None:
    fixed, moved = images(rng)
    found = [measured(fixed, moved, None) for _ in instruction_sets()]
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5 * np.abs(one).max())


def test_a_channel_is_smoothed_alike_whatever_the_others(rng: np.random.Generator) -> None:
    field, taps = rng.standard_normal((4, *SHAPE)).astype(np.float32), kernels.gaussian_taps((1.5, 0.7, 2.0))
    together, alone = np.empty_like(field), np.empty_like(field)
    kernels.smooth(field, taps, together)
    for channel, out in zip(field, alone, strict=True):
        kernels.smooth(channel[None], taps, out[None])
    np.testing.assert_array_equal(together, alone)


def test_a_missing_value_reaches_as_far_as_windows_do(rng: np.random.Generator) -> None:
    fixed, moved = images(rng)
    before, after = (np.empty((3, *SHAPE), np.float32) for _ in range(2))
    spoilt = moved.copy()
    spoilt[3, 20, 9] = np.nan
    kernels.correlation_terms(fixed, moved, None, 2, FLOOR, before)
    kernels.correlation_terms(fixed, spoilt, None, 2, FLOOR, after)
    near = np.zeros(SHAPE, bool)
    near[1:6, 18:23, 7:12] = True
    np.testing.assert_array_equal(after[:, ~near], before[:, ~near])
    assert np.isnan(after[2, near]).all()
    smoothed = np.empty((1, *SHAPE), np.float32)
    kernels.smooth(spoilt[None], kernels.gaussian_taps((0.7, 0.7, 0.7)), smoothed)
    np.testing.assert_array_equal(np.isnan(smoothed[0]), near)


def test_arrays_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    fixed, moved = images(rng)
    out, sums = np.empty((3, *SHAPE), np.float32), np.empty((3, SHAPE[1]))
    for other in (moved[1:], moved[:, 1:].copy(), moved[..., 1:].copy()):
        with pytest.raises(ValueError, match="differ in shape"):
            kernels.correlation_terms(fixed, other, None, 2, FLOOR, out)
        with pytest.raises(ValueError, match="differ in shape"):
            kernels.correlation_force(fixed, moved, other, out, 2, out.copy())
    for wrong in (out.astype(np.float64), out[..., ::-1], out[0]):
        with pytest.raises(TypeError):
            kernels.correlation_terms(fixed, moved, None, 2, FLOOR, wrong)
    with pytest.raises(ValueError, match="channels"):
        kernels.correlation_terms(fixed, moved, None, 2, FLOOR, out[:2])
    for radius in (-1, 2**20):
        with pytest.raises(ValueError, match="radius"):
            kernels.correlation_terms(fixed, moved, None, radius, FLOOR, out)
    with pytest.raises(ValueError, match="sums"):
        _core.correlation_terms(fixed, moved, None, 2, FLOOR, 0.0, out, sums[:, 1:].copy())
    with pytest.raises(ValueError, match="input"):
        kernels.correlation_force(fixed, moved, None, out, 2, out)
    with pytest.raises(ValueError, match="input"):
        kernels.smooth(out, kernels.gaussian_taps((1.0, 1.0, 1.0)), out)
    with pytest.raises(ValueError, match="taps"):
        kernels.smooth(out, np.ones((2, 3), np.float32), out.copy())
    with pytest.raises(ValueError, match="empty"):
        kernels.smooth(out[:, :0], np.ones((3, 3), np.float32), out[:, :0])
