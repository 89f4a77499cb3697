"""An image in the contrast of another one, from place to place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from lightcrcf.preprocessing.intensity_mapping import conditional_means, map_intensities
from lightcrcf.preprocessing.local_regression import in_contrast_of

SHAPE = (48, 56, 40)


@pytest.fixture(scope="module")
def target() -> NDArray:
    """Three tissues that fill all but one side, which is empty."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 2.0)
    tissue = 0.25 + 0.3 * np.digitize(noise / noise.std(), (-1.2, 0.2))
    tissue[:6] = 0
    return tissue.astype(np.float32)


def other(target: NDArray, *, shaded: float = 0.0) -> NDArray:
    """The same in a contrast that no line gives, under a coil's shading."""
    mapped = np.interp(target, (0.25, 0.55, 0.85), (1.0, 0.62, 0.45))
    shading = np.exp(shaded * np.linspace(-1, 1, SHAPE[1]))[:, None]
    return np.where(target > 0, mapped * shading, 0).astype(np.float32)


def error(found: NDArray, target: NDArray) -> float:
    return float(np.abs(found - target)[target > 0].mean())


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1)])
def test_an_aligned_image_gets_the_contrast_of_the_other(target: NDArray, pool: tuple[int, int, int]) -> None:
    assert error(in_contrast_of(target, other(target), pool=pool), target) < 0.03


def test_shading_goes_where_one_table_for_all_keeps_it(target: NDArray) -> None:
    shaded = other(target, shaded=0.4)
    table = map_intensities(shaded, conditional_means(target, shaded))
    assert error(in_contrast_of(target, shaded), target) < 0.5 * error(table, target)


def test_a_misaligned_image_keeps_its_edges(target: NDArray) -> None:
    """It gets the other's shades, and not its shapes."""
    moved = shift(target, (2, 0, 0), order=0)
    found = in_contrast_of(target, other(moved))
    both = (moved > 0) & (target > 0)
    assert np.corrcoef(found[both], moved[both])[0, 1] > 0.8 > np.corrcoef(found[both], target[both])[0, 1]
    assert found[both].std() > 0.7 * target[both].std()


def test_the_place_of_comparison_may_be_another_one(target: NDArray) -> None:
    moved = shift(target, (3, 0, 0), order=0)
    apart, placed = in_contrast_of(target, other(moved)), in_contrast_of(target, other(moved), other(target))
    assert error(placed, moved) < error(apart, moved)


def test_far_from_the_target_the_map_is_that_of_the_whole_images(target: NDArray) -> None:
    cut = target.copy()
    cut[20:] = 0
    found = in_contrast_of(cut, other(target))
    assert np.corrcoef(found[36:].ravel(), target[36:].ravel())[0, 1] > 0.95


def test_background_stays_empty_and_what_is_flat_stays_finite(target: NDArray) -> None:
    flat = np.where(target > 0, np.float32(0.5), np.float32(0))
    for one, two in ((target, flat), (flat, target), (flat, flat), (np.zeros_like(target), target)):
        found = in_contrast_of(one, two)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found > 0, two > 0)
