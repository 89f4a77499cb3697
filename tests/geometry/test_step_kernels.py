"""What a step does to vectors, beside the general kernels and NumPy."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from lightcrcf.geometry.kernels import compose
from lightcrcf.geometry.step_kernels import accumulate, compose_step
from lightcrcf.geometry.threads import use_threads

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


def test_steps_do_not_depend_on_the_number_of_threads(rng: np.random.Generator) -> None:
    field, step = rng.standard_normal((2, 3, *SHAPE)).astype(np.float32)
    one, many = np.empty_like(field), np.empty_like(field)
    for count, out in ((1, one), (numba.get_num_threads(), many)):
        with use_threads(count):
            compose_step(field, step, 0.5, 0.5, out)
    np.testing.assert_array_equal(one, many)


def test_accumulating(rng: np.random.Generator) -> None:
    total, addend = rng.standard_normal((2, 3, *SHAPE)).astype(np.float32)
    wanted = 0.5 * total - 2 * addend
    accumulate(total, 0.5, addend, -2.0)
    np.testing.assert_allclose(total, wanted, rtol=1e-5, atol=1e-6)
    unfilled = np.full_like(total, np.nan)
    accumulate(unfilled, 0.0, addend, -2.0)
    np.testing.assert_array_equal(unfilled, -2 * addend)
