"""What a step does to vectors, beside the general kernels and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.kernels import compose
from lightcrcf.geometry.step_kernels import accumulate, compose_step

SHAPE = (5, 7, 20)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2), (2, 5, 16), (4, 3, 17), (3, 6, 33), (2, 2, 50)])
@pytest.mark.parametrize("longest", [0.5, 1.0])
def test_going_along_a_step_is_composing(rng: np.random.Generator, shape: tuple[int, ...], longest: float) -> None:
    field, step = rng.standard_normal((2, 3, *shape)).astype(np.float32)
    shortened = np.float32(0.7) * step
    shortened *= np.minimum(1, longest / np.sqrt((shortened**2).sum(axis=0)))
    out = np.full_like(field, np.nan)
    compose_step(field, step, 0.7, longest, out)
    np.testing.assert_allclose(out, compose(field, shortened), atol=3e-5)


def test_whole_voxels_at_the_borders(rng: np.random.Generator) -> None:
    field, out = rng.standard_normal((3, *SHAPE)).astype(np.float32), np.empty((3, *SHAPE), np.float32)
    for axis in range(3):
        for sign in (-1, 1):
            step = np.zeros_like(field)
            step[axis] = sign
            compose_step(field, step, 1.0, 1.0, out)
            places = np.clip(np.arange(SHAPE[axis]) + sign, 0, SHAPE[axis] - 1)
            np.testing.assert_array_equal(out, step + field.take(places, axis=axis + 1))


def test_longer_steps_are_refused() -> None:
    field = np.zeros((3, *SHAPE), np.float32)
    with pytest.raises(ValueError, match="at most one voxel"):
        compose_step(field, field, 1.0, 1.01, np.empty_like(field))


def found(field: NDArray, step: NDArray) -> NDArray:
    out = np.full_like(field, np.nan)
    compose_step(field, step, 0.5, 0.5, out)
    return out


def test_steps_do_not_depend_on_the_number_of_threads(
    rng: np.random.Generator, thread_counts: Callable[[], Iterator[int]]
) -> None:
    field, step = rng.standard_normal((2, 3, *SHAPE)).astype(np.float32)
    one, *others = [found(field, step) for _ in thread_counts()]
    for other in others:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("width", [1, 2, 7, 16, 40])
def test_instruction_sets_agree(
    rng: np.random.Generator, instruction_sets: Callable[[], Iterator[str]], width: int
) -> None:
    field, step = rng.standard_normal((2, 3, 3, 4, width)).astype(np.float32)
    one, *others = [found(field, step) for _ in instruction_sets()]
    for other in others:
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_steps_to_one_side_only_and_none_at_all(rng: np.random.Generator) -> None:
    """Fewer rows of the neighbourhood are read then."""
    field = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(found(field, np.zeros_like(field)), field)
    for signs in np.ndindex(2, 2, 2):
        step = (rng.random(field.shape, np.float32) * (2 * np.array(signs) - 1).reshape(3, 1, 1, 1)).astype(np.float32)
        shortened = 0.5 * step * np.minimum(1, 1 / np.sqrt((step**2).sum(axis=0)))
        np.testing.assert_allclose(found(field, step), compose(field, shortened), atol=3e-5)


def test_a_missing_step_stays_where_it_is(rng: np.random.Generator) -> None:
    field, step = rng.standard_normal((2, 3, *SHAPE)).astype(np.float32)
    wanted = found(field, step)
    step[0, 2, 3, 4] = np.nan
    out = found(field, step)
    assert np.isnan(out[:, 2, 3, 4]).all()
    out[:, 2, 3, 4] = wanted[:, 2, 3, 4]
    np.testing.assert_array_equal(out, wanted)


def test_arrays_that_do_not_fit_are_refused() -> None:
    field = np.zeros((3, *SHAPE), np.float32)
    for out in (field, np.empty((3, 5, 7, 19), np.float32), np.empty((2, *SHAPE), np.float32)):
        with pytest.raises(ValueError, match=r"input|shape"):
            compose_step(field, field, 1.0, 0.5, out)
    with pytest.raises(ValueError, match="shape"):
        accumulate(field, 1.0, field[:, 1:].copy(), 1.0)
    with pytest.raises(TypeError):
        accumulate(field.astype(np.float64), 1.0, field, 1.0)


def test_accumulating(rng: np.random.Generator) -> None:
    total, addend = rng.standard_normal((2, 3, *SHAPE)).astype(np.float32)
    wanted = 0.5 * total - 2 * addend
    accumulate(total, 0.5, addend, -2.0)
    np.testing.assert_allclose(total, wanted, rtol=1e-5, atol=1e-6)
    unfilled = np.full_like(total, np.nan)
    accumulate(unfilled, 0.0, addend, -2.0)
    np.testing.assert_array_equal(unfilled, -2 * addend)
