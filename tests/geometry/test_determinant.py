from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.determinant import determinants_at, even_out, jacobian_determinant

SHAPE = (5, 7, 11)
Voxels = Callable[[tuple[int, ...]], NDArray]


def field(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> NDArray:
    return (0.5 * rng.standard_normal((3, *shape))).astype(np.float32)


def jacobian_twin(displacement: NDArray) -> NDArray:
    u = displacement.astype(np.float64)
    gradients = [np.stack(np.gradient(u[c])) for c in range(3)]  # (c, axis, D, H, W)
    return np.linalg.det(np.moveaxis(np.stack(gradients), (0, 1), (-2, -1)) + np.eye(3))


def test_jacobian_determinant(rng: np.random.Generator) -> None:
    u = field(rng)
    np.testing.assert_allclose(jacobian_determinant(u), jacobian_twin(u), atol=1e-5)


def test_jacobian_determinant_of_a_linear_field_is_exact(rng: np.random.Generator, voxels: Voxels) -> None:
    gradient = 0.3 * rng.standard_normal((3, 3))
    u = np.einsum("ab,bijk->aijk", gradient, voxels(SHAPE)).astype(np.float32)
    np.testing.assert_allclose(jacobian_determinant(u), np.full(SHAPE, np.linalg.det(np.eye(3) + gradient)), atol=1e-5)


def test_jacobian_determinant_of_a_smooth_field(voxels: Voxels) -> None:
    """u_c = a sin(w x_c): J = prod(1 + a w cos(w x_c)), central differences give a sin(w) cos(w x_c) for a w cos."""
    shape, amplitude, frequency = (15, 17, 19), 1.5, 0.4
    x = voxels(shape)
    u = (amplitude * np.sin(frequency * x)).astype(np.float32)
    expected = np.prod(1 + amplitude * np.sin(frequency) * np.cos(frequency * x), axis=0)
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(jacobian_determinant(u)[inner], expected[inner], atol=1e-5)


def test_a_hand_folded_field_has_exactly_one_folded_voxel() -> None:
    """One vector of 3 along axis 1: J is 1 + 1.5 before it and 1 - 1.5 behind it, and 1 everywhere else."""
    u = np.zeros((3, *SHAPE), np.float32)
    u[1, 2, 3, 4] = 3
    expected = np.ones(SHAPE, np.float32)
    expected[2, 2, 4], expected[2, 4, 4] = 2.5, -0.5
    np.testing.assert_array_equal(jacobian_determinant(u), expected)


def test_jacobian_determinant_of_a_flat_grid() -> None:
    u = np.zeros((3, 1, 4, 5), np.float32)
    u[2] = 0.5 * np.arange(5)
    np.testing.assert_array_equal(jacobian_determinant(u), np.full((1, 4, 5), 1.5, np.float32))


@pytest.mark.parametrize("shape", [SHAPE, (3, 4, 1), (4, 3, 2), (1, 1, 3)])
def test_at_some_voxels_it_is_the_same(rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    u = field(rng, shape)
    voxels = rng.permutation(np.prod(shape))
    np.testing.assert_array_equal(determinants_at(u, voxels), jacobian_determinant(u).ravel()[voxels])
    np.testing.assert_array_equal(determinants_at(u, voxels[:0]), np.empty(0, np.float32))


def test_evening_out_goes_down_the_penalty_where_volumes_change_by_up_to_five(rng: np.random.Generator) -> None:
    u = 2 * field(rng)
    j = np.clip(jacobian_twin(u), 0.2, 5)
    assert {0.2, 5.0} <= set(j.ravel())
    expected, evened = u + 0.2 * np.stack(np.gradient(0.5 * (j - 1 / j))), u.copy()
    even_out(evened, jacobian_determinant(u), 0.2)
    np.testing.assert_allclose(evened, expected, atol=1e-4)


def test_memory_that_is_given_is_used(rng: np.random.Generator) -> None:
    u, out = field(rng), np.full(SHAPE, np.nan, np.float32)
    assert jacobian_determinant(u, out) is out
    np.testing.assert_array_equal(out, jacobian_determinant(u))
