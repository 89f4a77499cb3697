"""How noisy images are, and what that makes of their difference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.preprocessing.noise import Noise, noise_variance

SHAPE = (34, 41, 37)


def tissue() -> NDArray[np.float32]:
    """A ball of what varies slowly, and three parts of it with edges between them."""
    place = np.indices(SHAPE)
    radius = np.sqrt(sum(((x - (n - 1) / 2) / (0.42 * n)) ** 2 for x, n in zip(place, SHAPE, strict=True)))
    values = 0.5 + 0.2 * np.sin(place[0] / 6 + place[1] / 9) + 0.2 * (place[2] > 20) - 0.1 * (place[1] > 25)
    return np.where(radius < 1, values, 0).astype(np.float32)


def noisy(image: NDArray, sigma: float, seed: int = 1) -> NDArray[np.float32]:
    """White noise in the foreground."""
    rng = np.random.default_rng(seed)
    return np.where(image > 0, image + rng.normal(0, sigma, image.shape), 0).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_the_variance_of_white_noise_is_found_beside_edges(sigma: float) -> None:
    """They are larger, and add a little; more where the anatomy is small and most of it near its edge."""
    filling = np.where(tissue() > 0, tissue(), 0.5)
    assert noise_variance(noisy(filling, sigma)) == pytest.approx(sigma**2, rel=0.3)
    assert sigma**2 < noise_variance(noisy(tissue(), sigma)) < 3 * sigma**2


def test_an_image_without_noise_has_hardly_any() -> None:
    assert noise_variance(tissue()) < 0.01**2
    assert noise_variance(np.zeros(SHAPE, np.float32)) == 0
    assert noise_variance(np.full(SHAPE, 0.7, np.float32)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 9, 9), (1, 20, 30), (60, 3, 70)])
def test_thin_images_have_a_variance_too(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(2)
    found = noise_variance((1 + rng.normal(0, 0.1, shape)).astype(np.float32))
    assert np.isfinite(found)
    assert found >= 0
    assert found == pytest.approx(0.01, rel=0.15) or min(shape) < 4


def test_the_moving_image_counts_in_units_of_the_fixed_one(textured: tuple[NDArray, NDArray]) -> None:
    """Its foreground varies half as much, and so does its noise."""
    fixed, moving = noisy(textured[0], 0.03), noisy(textured[1], 0.03, seed=2)
    one, two = Noise.of(fixed, moving), Noise.of(fixed, 0.5 * moving)
    assert two.fixed == one.fixed
    assert two.moving == pytest.approx(one.moving, rel=0.1)


def test_own_variances_are_taken_as_they_are(textured: tuple[NDArray, NDArray]) -> None:
    noise = Noise.of(*textured, own=(0.2, 0.0), sizes=(2.0, 3.0))
    assert (noise.fixed, noise.moving, noise.sizes) == (0.2, 0, (2.0, 3.0))
    flat = Noise.of(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32))
    assert flat.fixed >= 0
    assert flat.moving >= 0
