from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.diffeomorphic_kernels import lowest_determinants, mark_around, smooth_at, unfold

SHAPE = (5, 7, 6)


def numbers_of_cells(u: NDArray) -> NDArray:
    """(29, D + 1, H + 1, W + 1) by definition: samples of the determinant fitted by Bernstein polynomials, float64."""
    wide = np.pad(u.astype(np.float64), ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
    place = np.moveaxis(np.indices(wide.shape[1:]) + wide, 0, -1)
    corners = np.stack(
        [place[tuple(slice(c, n - 1 + c) for c, n in zip(corner, place.shape[:3], strict=True))]
         for corner in product((0, 1), repeat=3)]
    ).reshape(2, 2, 2, *(n + 1 for n in u.shape[1:]), 3)  # fmt: skip
    nodes = np.array([0.0, 0.5, 1.0])
    values = np.empty((3, 3, 3, *corners.shape[3:6]))
    for a, b, c in product(range(3), repeat=3):
        weights = [np.array([1 - nodes[n], nodes[n]]) for n in (a, b, c)]
        columns = []
        for axis in range(3):
            w = [np.array([-1.0, 1.0]) if other == axis else weights[other] for other in range(3)]
            columns.append(np.einsum("i,j,k,ijkxyzc->xyzc", *w, corners))
        values[a, b, c] = np.linalg.det(np.stack(columns, axis=-1))
    # A quadratic through its values at 0, 1/2 and 1 has these Bernstein coefficients.
    fit = np.array([[1, 0, 0], [-0.5, 2, -0.5], [0, 0, 1]])
    coefficients = np.einsum("ai,bj,ck,ijkxyz->abcxyz", fit, fit, fit, values).reshape(27, *values.shape[3:])
    inner = []
    for s, o in ((0, 1), (1, 0)):
        ends = [corners[o, o, s], corners[o, s, o], corners[s, o, o]]
        edges = np.stack([end - corners[s, s, s] for end in ends], axis=-1)
        upright = np.linalg.det(np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1.0]]) * (o - s))
        inner.append(np.linalg.det(edges) / upright)
    return np.concatenate([coefficients, inner])


@pytest.fixture(params=[0.1, 0.6])
def field(request: pytest.FixtureRequest, rng: np.random.Generator) -> NDArray:
    return (request.param * rng.standard_normal((3, *SHAPE))).astype(np.float32)


def test_the_lowest_number_is_that_of_the_definition(field: NDArray) -> None:
    np.testing.assert_allclose(lowest_determinants(field), numbers_of_cells(field).min(axis=0), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2), (2, 1, 17), (3, 2, 40)])
def test_grids_of_any_size_have_cells(rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    u = (0.4 * rng.standard_normal((3, *shape))).astype(np.float32)
    np.testing.assert_allclose(lowest_determinants(u), numbers_of_cells(u).min(axis=0), atol=1e-4)


def test_nan_marks_its_eight_cells(field: NDArray) -> None:
    field[1, 2, 3, 4] = np.nan
    expected = np.zeros(tuple(n + 1 for n in SHAPE), np.bool_)
    expected[2:4, 3:5, 4:6] = True
    np.testing.assert_array_equal(np.isnan(lowest_determinants(field)), expected)


def test_the_determinant_between_voxels_is_no_lower(field: NDArray, rng: np.random.Generator) -> None:
    below = lowest_determinants(field)[1:-1, 1:-1, 1:-1]
    u, e = field.astype(np.float64), np.eye(3)
    for place in rng.uniform(0, 1, (20, 3)):
        columns = []
        for axis in range(3):
            column = np.zeros((3, *below.shape))
            for corner in product((0, 1), repeat=3):
                weight = np.prod(
                    [(2 * c - 1) if a == axis else (x if c else 1 - x)
                     for a, (c, x) in enumerate(zip(corner, place, strict=True))]
                )  # fmt: skip
                where = tuple(slice(c, n - 1 + c) for c, n in zip(corner, SHAPE, strict=True))
                column += weight * u[(slice(None), *where)]
            columns.append(np.moveaxis(column, 0, -1) + e[axis])
        assert (np.linalg.det(np.stack(columns, axis=-1)) >= below - 1e-4).all()


def test_cells_beyond_the_border_see_it_fold() -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    u[1, 0, 3, 2] = 1.5  # beyond the first plane this voxel's line is pushed over the next one
    assert (lowest_determinants(u)[0] < 0).any()
    assert (lowest_determinants(u)[-1] == 1).all()


@pytest.mark.parametrize("cell", [(2, 3, 4), (0, 3, 4), (5, 7, 6), (0, 0, 6)])
def test_unfolding_moves_a_cell_to_its_target(cell: tuple[int, int, int], rng: np.random.Generator) -> None:
    u = (0.05 * rng.standard_normal((3, *SHAPE))).astype(np.float32)
    before, flat = u.copy(), np.ravel_multi_index(cell, [n + 1 for n in SHAPE])
    floor = np.float32(lowest_determinants(u)[cell]) + np.float32(0.05)
    if set(cell) <= {0, 5, 6, 7}:
        assert lowest_determinants(u)[cell] == 1  # all its voxels are one
        return
    assert unfold(u, np.array([flat]), floor, floor + np.float32(0.01), 1).tolist() == [True]
    assert lowest_determinants(u)[cell] >= floor
    voxels = tuple(slice(max(c - 1, 0), c + 1) for c in cell)
    u[(slice(None), *voxels)] = before[(slice(None), *voxels)]
    np.testing.assert_array_equal(u, before)


def test_unfolding_leaves_what_is_well() -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    assert not unfold(u, np.array([40, 100, 200]), 0.5, 0.6, 1).any()
    assert not u.any()


def test_unfolding_leaves_what_is_not_finite() -> None:
    u = np.full((3, *SHAPE), np.nan, np.float32)
    assert not unfold(u, np.array([100]), 0.1, 0.2, 1).any()


def test_neighbours_are_marked() -> None:
    expected = np.zeros((3, 4, 5), np.bool_)
    expected[:2, :2, :2] = expected[:, 1:, 3:] = True
    cells = np.array([0, np.ravel_multi_index((1, 2, 4), expected.shape)])
    np.testing.assert_array_equal(mark_around(cells, (3, 4, 5)), expected)


def test_smoothing_is_the_binomial_mean(rng: np.random.Generator) -> None:
    u = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    wide = np.pad(u.astype(np.float64), ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
    for axis in (1, 2, 3):
        a, b, c = (wide.take(range(s, wide.shape[axis] - 2 + s), axis) for s in range(3))
        wide = (a + 2 * b + c) / 4
    voxels = np.array([0, 17, 100, u[0].size - 1])
    np.testing.assert_allclose(smooth_at(u, voxels), wide.reshape(3, -1)[:, voxels], atol=1e-6)
