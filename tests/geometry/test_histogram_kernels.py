"""Joint histograms, and the sums that climb them, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import normal_equations
from lightcrcf.geometry.histogram_kernels import fisher_sums, interpolate_table, joint_histogram
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.threads import use_threads

MATRIX = np.array([[1.05, 0.1, -0.05, 0.4], [-0.08, 0.95, 0.06, 0.7], [0.04, -0.03, 1.1, -0.3]])
BINS, TOP = 8, 1.2


def images(shape: tuple[int, int, int] = (5, 7, 11), other: tuple[int, int, int] = (6, 8, 9)) -> list[NDArray]:
    """Fixed, its weights, moving, and where this may be read."""
    rng = np.random.default_rng(0)
    fixed, weight, moving = rng.random(shape, np.float32), rng.random(shape, np.float32), rng.random(other, np.float32)
    return [fixed * 1.2, weight * (weight > 0.2), moving, (rng.random(other) > 0.3).astype(np.float32)]


def slow_histogram(fixed: NDArray, weight: NDArray, moved: NDArray) -> NDArray[np.float64]:
    total, scale = np.zeros((BINS, BINS)), (BINS - 1) / TOP
    for f, m, w in zip(fixed.ravel() * scale, moved.ravel() * scale, weight.ravel(), strict=True):
        a, b = min(int(f), BINS - 2), min(int(m), BINS - 2)
        total[a : a + 2, b : b + 2] += w * np.outer([1 - (f - a), f - a], [1 - (m - b), m - b])
    return total


@pytest.mark.parametrize("blank", [False, True])
def test_the_joint_histogram(blank: bool) -> None:
    fixed, weight, moving, valid = images()
    found = joint_histogram(fixed, weight, moving, valid, MATRIX, blank, bins=BINS, top=TOP)
    moved = resample(moving, fixed.shape, MATRIX)
    place = np.moveaxis(np.indices(fixed.shape), 0, -1) @ MATRIX[:, :3].T + MATRIX[:, 3]
    last = np.array(moving.shape) - 1
    inside = np.all((place > -0.5) & (place < last + 0.5), axis=-1)
    nearest = np.clip((place + 0.5).astype(int), 0, last)
    read = np.where(inside, valid[tuple(np.moveaxis(nearest, -1, 0))], blank)
    np.testing.assert_allclose(found, slow_histogram(fixed, weight * read, moved), atol=1e-4)
    assert found.sum() == pytest.approx((weight * read).sum(), rel=1e-5)


def test_unknown_voxels_and_samples_without_weight_count_nowhere() -> None:
    fixed, weight, moving, valid = images()
    found = joint_histogram(fixed, weight, moving, valid, np.eye(3, 4), False, bins=BINS, top=TOP)
    spoiled = np.where(valid > 0, moving, 0.7).astype(np.float32), np.where(weight > 0, fixed, 0.9).astype(np.float32)
    other = joint_histogram(spoiled[1], weight, spoiled[0], valid, np.eye(3, 4), False, bins=BINS, top=TOP)
    assert np.array_equal(found, other)
    nothing = joint_histogram(fixed, weight, moving, 0 * valid, MATRIX, False, bins=BINS, top=TOP)
    assert not nothing.any()


def test_values_beyond_the_last_bin_are_held_there() -> None:
    one = np.ones((1, 1, 1), np.float32)
    found = joint_histogram(5 * one, one, -one, one, np.eye(3, 4), True, bins=BINS, top=TOP)
    assert np.argwhere(found).tolist() == [[BINS - 1, 0]]


@pytest.mark.parametrize("blank", [False, True])
def test_a_slope_of_one_gives_the_sums_of_the_gram_matrix(blank: bool) -> None:
    given = images()
    sums = normal_equations(*given, MATRIX, blank)
    first, second = fisher_sums(*given, MATRIX, blank, np.ones((BINS, BINS)), TOP)
    np.testing.assert_allclose(first, sums[:12, 13], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(second, sums[:12, :12], rtol=1e-9, atol=1e-9)


def test_slopes_are_read_between_bins() -> None:
    """A table whose value is the fixed image's: each half of a fixed image of two values adds its value times G x."""
    fixed, weight, moving, valid = images()
    table = np.repeat(np.linspace(0, TOP, BINS)[:, None], BINS, axis=1)
    fixed[:3], fixed[3:] = 0.33, 0.95
    halves = [weight.copy(), weight.copy()]
    halves[0][3:], halves[1][:3] = 0, 0
    first, second = fisher_sums(fixed, weight, moving, valid, MATRIX, True, table, TOP)
    parts = [fisher_sums(fixed, half, moving, valid, MATRIX, True, np.ones((BINS, BINS)), TOP) for half in halves]
    np.testing.assert_allclose(first, 0.33 * parts[0][0] + 0.95 * parts[1][0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second, 0.33**2 * parts[0][1] + 0.95**2 * parts[1][1], rtol=1e-5, atol=1e-5)


def test_threads_change_no_bit() -> None:
    given, slopes = images((60, 70, 50), (50, 64, 58)), np.random.default_rng(3).normal(size=(BINS, BINS))
    found = []
    for threads in (1, 2):
        with use_threads(threads):
            joint = joint_histogram(*given, MATRIX, False, bins=BINS, top=TOP)
            found.append((joint, *fisher_sums(*given, MATRIX, False, slopes, TOP)))
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one, two)


def test_a_table_is_read_as_numpy_reads_it() -> None:
    image = np.random.default_rng(1).normal(0.5, 0.6, (5, 7, 11)).astype(np.float32)
    table = np.random.default_rng(2).normal(size=BINS)
    wanted = np.interp(image, np.linspace(0, TOP, BINS), table)
    np.testing.assert_allclose(interpolate_table(image, table, TOP), wanted, atol=1e-5)
