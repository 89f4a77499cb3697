"""The smooth factor between two images."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.preprocessing.bias_field import smooth_gain

SHAPE = (12, 17, 14)
PLACES = np.argwhere(np.ones(SHAPE, bool))
TISSUE = (0.5 + 0.3 * np.sin(np.arange(len(PLACES)) * 0.7)).astype(np.float32)


def bias(places: np.ndarray) -> np.ndarray:
    x, y, z = (places / SHAPE).T
    return np.exp(0.5 * x - 0.7 * y * z + 0.4 * z * z - 0.1)


def test_a_bias_field_is_taken_off_again() -> None:
    brighter = TISSUE * bias(PLACES)
    assert np.corrcoef(TISSUE, brighter)[0, 1] < 0.92
    factor = smooth_gain(TISSUE, brighter.astype(np.float32), PLACES)
    assert factor.dtype == np.float32
    np.testing.assert_allclose(brighter * factor, TISSUE, rtol=0.1)


def test_the_factor_is_wanted_elsewhere_and_stays_as_at_the_edge_beyond() -> None:
    inside = PLACES[:, 0] < 8
    brighter = (TISSUE * bias(PLACES)).astype(np.float32)
    factor = smooth_gain(TISSUE[inside], brighter[inside], PLACES[inside], PLACES)
    np.testing.assert_allclose(factor[inside], smooth_gain(TISSUE[inside], brighter[inside], PLACES[inside]), rtol=1e-5)
    slices = factor.reshape(SHAPE)
    np.testing.assert_allclose(slices[8:], np.broadcast_to(slices[7], slices[8:].shape), rtol=1e-5)


def test_equal_images_have_the_factor_one_and_so_have_few_voxels() -> None:
    np.testing.assert_allclose(smooth_gain(TISSUE, TISSUE, PLACES), 1, atol=1e-5)
    few = smooth_gain(TISSUE[:200], 3 * TISSUE[:200], PLACES[:200], PLACES)
    assert few.shape == (len(PLACES),)
    assert (few == 1).all()


def test_another_contrast_is_no_smooth_factor() -> None:
    inverted = (1.1 - TISSUE).astype(np.float32)
    factor = smooth_gain(TISSUE, inverted, PLACES)
    assert np.ptp(factor) < 0.2
    assert np.corrcoef(TISSUE, inverted * factor)[0, 1] < -0.9


@pytest.mark.parametrize("value", [-0.5, 0.0])
def test_dark_voxels_make_no_infinite_factor(value: float) -> None:
    factor = smooth_gain(TISSUE, np.full_like(TISSUE, value), PLACES)
    assert np.isfinite(factor).all()
