from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.regularity import folding_percent, ndv_percent
from lightcrcf.geometry.threads import use_threads
from lightcrcf.transforms import diffeomorphic
from lightcrcf.transforms.diffeomorphic import MIN_DETERMINANT, folded_percent, make_diffeomorphic, min_determinant

SHAPE = (13, 17, 11)


def waves(size: float, rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> NDArray:
    """Smooth, with a little noise: folds nowhere at size 1, here and there at 3, everywhere at 30."""
    x = np.indices(shape)
    phase = rng.uniform(0, 6, (3, 3))
    u = np.stack([np.prod([np.sin(0.7 * x[a] + phase[c, a]) for a in range(3)], axis=0) for c in range(3)])
    return (size * (u + 0.05 * rng.standard_normal(u.shape))).astype(np.float32)


@pytest.mark.parametrize("size", [1.5, 3.0, 8.0, 30.0])
def test_no_fold_is_left(size: float, rng: np.random.Generator) -> None:
    u = waves(size, rng)
    assert min_determinant(u) < 0
    projected = make_diffeomorphic(u)
    assert min_determinant(projected.displacement) >= MIN_DETERMINANT
    assert folding_percent(projected.displacement) == 0
    assert ndv_percent(projected.displacement) == 0
    assert projected.passes > 0


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 2.0, 50.0, 1e6]), st.sampled_from([0.02, 0.3]))
def test_whatever_comes_in_does_not_fold(seed: int, size: float, floor: float) -> None:
    u = (size * np.random.default_rng(seed).standard_normal((3, 5, 7, 4))).astype(np.float32)
    assert min_determinant(make_diffeomorphic(u, floor=floor).displacement) >= floor


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 4), (7, 1, 2), (2, 2, 2)])
def test_thin_fields(shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    u = (3 * rng.standard_normal((3, *shape))).astype(np.float32)
    assert min_determinant(make_diffeomorphic(u).displacement) >= MIN_DETERMINANT


def test_a_mirror_is_unfolded_too() -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    u[1] = -2 * np.arange(SHAPE[1], dtype=np.float32)[:, None]
    assert min_determinant(make_diffeomorphic(u).displacement) >= MIN_DETERMINANT


def test_a_field_without_folds_comes_back_as_it_is(rng: np.random.Generator) -> None:
    u = waves(0.6, rng)
    assert min_determinant(u) > MIN_DETERMINANT
    projected = make_diffeomorphic(u)
    np.testing.assert_array_equal(projected.displacement, u)
    assert projected[1:] == (0.0, 0.0, 0)


def test_projecting_twice_is_projecting_once(rng: np.random.Generator) -> None:
    once = make_diffeomorphic(waves(3.0, rng)).displacement
    np.testing.assert_array_equal(make_diffeomorphic(once).displacement, once)


def test_one_jump_changes_only_its_surroundings(rng: np.random.Generator) -> None:
    u = waves(0.3, rng)
    u[1, 6, 8, 5] += 2.5
    projected = make_diffeomorphic(u)
    change = np.abs(projected.displacement - u).max(axis=0)
    assert set(map(tuple, np.argwhere(change))) <= set(
        map(tuple, np.argwhere(np.ones((7, 7, 7))) + np.array([3, 5, 2]))
    )
    assert change.max() <= projected.largest_change_voxels <= 3.0
    assert projected.changed_fraction == pytest.approx((change > 0).mean())


def test_a_wide_fold_is_unfolded_where_it_is() -> None:
    """Tissue pressed together over tens of voxels cannot be unfolded cell by cell."""
    x = np.indices((96, 80, 20)).astype(np.float32)
    along, across = (x[0] - 48) / 8, (x[1] - 40) / 8
    bump = np.exp(-(along**2 + across**2) / 2)
    u = np.stack([-30 * along * bump, 15 * bump * np.sin(x[2] / 2), np.zeros_like(bump)])
    assert folded_percent(u) > 3
    projected = make_diffeomorphic(u)
    assert min_determinant(projected.displacement) >= MIN_DETERMINANT
    assert np.abs(projected.displacement).mean() > 0.6 * np.abs(u).mean()
    far = np.hypot(along, across) > 5
    np.testing.assert_allclose(projected.displacement[:, far], u[:, far], atol=0.05)  # of 30 voxels


def test_a_fold_at_the_border_is_seen(rng: np.random.Generator) -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    u[1, 0, 8, 5] = 1.5
    projected = make_diffeomorphic(u)
    assert min_determinant(projected.displacement) >= MIN_DETERMINANT


def test_the_number_of_threads_changes_no_bit(rng: np.random.Generator) -> None:
    u = waves(8.0, rng)
    with use_threads(1):
        one = make_diffeomorphic(u).displacement
    np.testing.assert_array_equal(make_diffeomorphic(u).displacement, one)


def test_the_input_is_left_alone(rng: np.random.Generator) -> None:
    u = waves(3.0, rng)
    before = u.copy()
    u.setflags(write=False)
    make_diffeomorphic(u)
    np.testing.assert_array_equal(u, before)


@pytest.mark.parametrize("floor", [0.0, -0.1, 0.7, float("nan")])
def test_floors_out_of_range_are_refused(floor: float) -> None:
    with pytest.raises(InputError, match="floor"):
        make_diffeomorphic(np.zeros((3, *SHAPE), np.float32), floor=floor)


def test_fields_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        make_diffeomorphic(np.full((3, *SHAPE), np.nan, np.float32))
    with pytest.raises(InputError, match="shape"):
        make_diffeomorphic(np.zeros((*SHAPE, 3), np.float32))
    with pytest.raises(InputError, match="shape"):
        make_diffeomorphic(np.zeros((3, 4, 0, 5), np.float32))


def test_the_share_of_folded_cells() -> None:
    u = np.zeros((3, 4, 5, 6), np.float32)
    assert folded_percent(u) == 0
    u[1, 2, 3, 4] = 1.5  # the four cells between this voxel and the next along its axis, and no other
    assert folded_percent(u) == pytest.approx(100 * 4 / (5 * 6 * 7))
    assert folded_percent(make_diffeomorphic(u).displacement) == 0


def test_each_try_goes_on_from_what_the_one_before_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the start again each would leave other cells folded, and the whole field would shrink."""

    def halved(start: NDArray[np.float32], _floor: np.float32, _depth: int) -> tuple[NDArray[np.float32], int]:
        return np.ascontiguousarray(start / 2), 1

    monkeypatch.setattr(diffeomorphic, "_unfold_nested", halved)
    u = np.zeros((3, 4, 5, 6), np.float32)
    u[1, 1, 2, 3] = 3.0  # free of folds once it is halved twice, as no single try does
    projected = make_diffeomorphic(u)
    assert projected.passes == 2
    np.testing.assert_array_equal(projected.displacement, u / 4)
