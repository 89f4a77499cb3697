from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.kernels import compose, invert
from lightcrcf.geometry.points import displacement_at, invert_at
from lightcrcf.geometry.threads import use_threads
from lightcrcf.transforms.diffeomorphic import make_diffeomorphic, min_determinant

SHAPE = (9, 11, 14)
CENTRE = np.array([3.7, 5.2, 6.9])
Sample = Callable[[NDArray, NDArray], NDArray]
Voxels = Callable[[tuple[int, ...]], NDArray]

MATRICES = {
    "expansion": np.diag([2.6, 1.4, 1.9]),  # beyond 2, the plain fixed point diverges
    "compression": np.diag([0.5, 0.2, 0.7]),
    "rotation": np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]),
    "shear": np.array([[1, 0.6, -0.4], [0.1, 1.1, 0], [0, 0.3, 0.9]]),
}


def linear_field(matrix: NDArray, voxels: Voxels) -> NDArray:
    """u(x) = (M - I) (x - c): trilinear interpolation gives it exactly."""
    offset = voxels(SHAPE) - CENTRE.reshape(3, 1, 1, 1)
    return np.einsum("ab,bijk->aijk", matrix - np.eye(3), offset).astype(np.float32)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], voxels: Voxels) -> NDArray:
    """Products of low sines: moves by up to 1.5 voxels and does not fold."""
    x = voxels(shape)
    phases = rng.uniform(0, 2 * np.pi, (3, 3))
    return np.stack(
        [1.5 * np.prod([np.sin(0.35 * x[a] + phases[c, a]) for a in range(3)], axis=0) for c in range(3)]
    ).astype(np.float32)


@pytest.mark.parametrize("name", MATRICES)
def test_invert_finds_the_closed_form(voxels: Voxels, name: str) -> None:
    matrix = MATRICES[name]
    v = invert(linear_field(matrix, voxels), tolerance=1e-5)
    solution = linear_field(np.linalg.inv(matrix), voxels)
    landing = voxels(SHAPE) + solution
    within = np.all([(y >= 0) & (y <= n - 1) for y, n in zip(landing, SHAPE, strict=True)], axis=0)
    assert within.mean() > 0.02
    np.testing.assert_allclose(v[:, within], solution[:, within], atol=1e-4)


def test_invert_undoes_a_smooth_field_at_its_voxels(rng: np.random.Generator, voxels: Voxels) -> None:
    u = smooth_field(rng, (19, 23, 26), voxels)
    assert np.abs(compose(u, invert(u))).max() <= 2e-3


def test_invert_of_zero_is_zero() -> None:
    np.testing.assert_array_equal(invert(np.zeros((3, *SHAPE), np.float32)), np.zeros((3, *SHAPE)))


def test_invert_uses_no_more_than_its_iterations(rng: np.random.Generator, voxels: Voxels) -> None:
    u = smooth_field(rng, SHAPE, voxels)
    starts = 4 * invert(u, iterations=0)  # the voxel itself, or the centres of cells and of their eighths
    np.testing.assert_array_equal(starts, np.round(starts))
    assert np.abs(compose(u, invert(u, iterations=1))).max() > 2e-3


def test_invert_ends_at_the_closest_point_where_u_folds() -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    u[2] = -2.5 * np.arange(SHAPE[2])
    v = invert(u)
    assert np.isfinite(v).all()


def test_displacement_at(rng: np.random.Generator, trilinear: Sample) -> None:
    u = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    points = rng.uniform(-2.5, np.array(SHAPE) + 1.5, (500, 3))
    within = np.all((points >= -0.5) & (points < np.array(SHAPE) - 0.5), axis=1)
    assert 0.2 < within.mean() < 0.8
    expected = np.where(within, trilinear(u, points.T), 0).T
    np.testing.assert_allclose(displacement_at(u, points), expected, atol=1e-6)


def test_invert_at_solves_each_point(rng: np.random.Generator, voxels: Voxels) -> None:
    u = smooth_field(rng, (19, 23, 26), voxels)
    start = rng.uniform(0, np.array(u.shape[1:]) - 1, (500, 3))
    moved = start + displacement_at(u, start)
    np.testing.assert_allclose(invert_at(u, moved, tolerance=1e-9), start, atol=1e-6)


def test_invert_at_beyond_the_grid_uses_the_border(voxels: Voxels) -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    u[0] = 2.0
    np.testing.assert_allclose(invert_at(u, [[-7.0, 3.0, 4.0], [30.0, 3.0, 4.0]]), [[-9, 3, 4], [28, 3, 4]])


def test_no_points() -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    assert displacement_at(u, np.empty((0, 3))).shape == (0, 3)
    assert invert_at(u, np.empty((0, 3))).shape == (0, 3)


def jagged_field(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray:
    """Noise without folds: every cell another linear map, compressed twentyfold here and stretched there."""
    return make_diffeomorphic((0.8 * rng.standard_normal((3, *shape))).astype(np.float32)).displacement


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_invert_reaches_every_voxel_of_a_jagged_field_that_does_not_fold(
    rng: np.random.Generator, tolerance: float
) -> None:
    u = jagged_field(rng, (17, 13, 22))
    v = invert(u, tolerance=tolerance)
    assert np.linalg.norm(compose(u, v), axis=0).max() <= tolerance + 1e-5


def test_invert_finds_a_solution_for_every_voxel_where_u_folds(rng: np.random.Generator) -> None:
    u = rng.standard_normal((3, 17, 13, 22)).astype(np.float32)
    assert min_determinant(u) < 0
    assert np.linalg.norm(compose(u, invert(u)), axis=0).max() <= 2e-3


def test_invert_at_finds_the_one_solution_in_a_jagged_field(rng: np.random.Generator) -> None:
    u = jagged_field(rng, (17, 13, 22))
    start = rng.uniform(0, np.array(u.shape[1:]) - 1, (2000, 3))
    moved = start + displacement_at(u, start)
    np.testing.assert_allclose(invert_at(u, moved, tolerance=1e-9), start, atol=1e-5)


def test_invert_continues_the_field_beyond_its_border(rng: np.random.Generator, voxels: Voxels) -> None:
    u = jagged_field(rng, (9, 7, 11))
    u[0] += 2.5
    v = invert(u)
    assert (voxels(u.shape[1:])[0] + v[0]).min() < -1
    assert np.linalg.norm(compose(u, v), axis=0).max() <= 2e-3


def test_invert_of_what_is_not_finite_ends() -> None:
    assert invert(np.full((3, *SHAPE), np.nan, np.float32)).shape == (3, *SHAPE)


def test_invert_does_not_depend_on_the_number_of_threads(rng: np.random.Generator) -> None:
    u = rng.standard_normal((3, 17, 13, 22)).astype(np.float32)
    with use_threads(1):
        one = invert(u)
    np.testing.assert_array_equal(invert(u), one)
