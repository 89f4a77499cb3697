from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid

ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]
SHAPE = (5, 7, 11)


def rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle if angle > 0 else vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def grid_of(vector: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = rotation(vector) * (0.9, 1.3, 2.7)
    affine[:3, 3] = (-31.0, 17.0, 5.0)
    return Grid(shape, affine)


vectors = arrays(np.float64, 3, elements=st.floats(-2, 2))
grids = st.builds(grid_of, vectors)
orders = st.sampled_from(ORDERS)


def test_there_are_48_orders() -> None:
    assert len({(o.permutation, o.flips) for o in ORDERS}) == 48


@given(grids, orders)
def test_reordering_keeps_every_voxel_in_its_place(grid: Grid, order: AxisOrder) -> None:
    world = np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    reordered = order.grid(grid)
    expected = np.moveaxis(reordered.world(np.moveaxis(np.indices(reordered.shape), 0, -1)), -1, 0)
    np.testing.assert_allclose(order.array(world), expected, atol=1e-9)


@given(grids, orders)
def test_inverse_order_undoes(grid: Grid, order: AxisOrder) -> None:
    data = np.arange(2 * grid.size).reshape(2, *grid.shape)
    back = order.inverse()
    assert back.grid(order.grid(grid)).isclose(grid, tolerance_mm=1e-9)
    np.testing.assert_array_equal(back.array(order.array(data)), data)
    assert back.inverse() == order


@given(grids, orders)
def test_canonical_grid_does_not_depend_on_the_order_it_came_in(grid: Grid, order: AxisOrder) -> None:
    # Away from ties between axes, where either choice is right.
    alignment = np.sort([sum(abs(grid.directions[a, p[a]]) for a in range(3)) for p in permutations(range(3))])
    if alignment[-1] - alignment[-2] < 1e-6 or np.abs(grid.directions).min() < 1e-12:
        return
    reordered = order.grid(grid)
    assert grid.canonical().grid(grid).isclose(reordered.canonical().grid(reordered), tolerance_mm=1e-9)


@given(grids)
def test_canonical_axes_run_right_anterior_superior(grid: Grid) -> None:
    directions = grid.canonical().grid(grid).directions
    assert (np.diag(directions) >= 0).all()


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_canonical_order_of_reordered_ras_is_the_inverse(order: AxisOrder) -> None:
    ras = grid_of(np.zeros(3))
    assert order.grid(ras).canonical() == order.inverse()


@given(grids, arrays(np.float64, (4, 3), elements=st.floats(-300, 300)))
def test_world_and_voxels_undo_each_other(grid: Grid, points: np.ndarray) -> None:
    np.testing.assert_allclose(grid.world(grid.voxels(points)), points, atol=1e-9)


@given(grids, grids, arrays(np.float64, (4, 3), elements=st.floats(-30, 30)))
def test_to_another_grid_goes_through_the_world(grid: Grid, other: Grid, index: np.ndarray) -> None:
    matrix = grid.to(other)
    np.testing.assert_allclose(index @ matrix[:3, :3].T + matrix[:3, 3], other.voxels(grid.world(index)), atol=1e-9)


@given(grids)
def test_half_voxels_lie_between_two_voxels(grid: Grid) -> None:
    half = grid.half()
    assert half.shape == (3, 4, 6)
    np.testing.assert_allclose(half.spacing_mm, 2 * grid.spacing_mm)
    np.testing.assert_allclose(half.world([1, 2, 3]), grid.world([2.5, 4.5, 6.5]), atol=1e-9)


@given(grids, st.tuples(*[st.integers(-5, 5)] * 3))
def test_crop_keeps_the_lattice(grid: Grid, start: tuple[int, int, int]) -> None:
    cropped = grid.crop(start, (3, 4, 6))
    np.testing.assert_allclose(cropped.world([1, 2, 3]), grid.world(np.add(start, [1, 2, 3])), atol=1e-9)


def test_spacing_and_directions() -> None:
    grid = grid_of(np.array([0.3, -0.2, 0.5]))
    np.testing.assert_allclose(grid.spacing_mm, (0.9, 1.3, 2.7))
    np.testing.assert_allclose(grid.directions.T @ grid.directions, np.eye(3), atol=1e-12)
    assert grid.size == 5 * 7 * 11


def test_isclose_looks_at_shape_and_place() -> None:
    grid = grid_of(np.zeros(3))
    moved = np.array(grid.affine)
    moved[0, 3] += 0.01
    assert grid.isclose(Grid(SHAPE, grid.affine))
    assert not grid.isclose(Grid((5, 7, 10), grid.affine))
    assert not grid.isclose(Grid(SHAPE, moved))
    assert grid.isclose(Grid(SHAPE, moved), tolerance_mm=0.02)


def test_grid_does_not_share_its_affine() -> None:
    affine = np.eye(4)
    grid = Grid(SHAPE, affine)
    affine[0, 0] = 9
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 0), (5, 7, -1), (5, 7, 11, 2)])
def test_bad_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="three positive sizes"):
        Grid(shape, np.eye(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("affine", [np.eye(3), np.diag([1.0, 0, 1, 1]), np.diag([1, np.nan, 1, 1])])
def test_bad_affines_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="invertible"):
        Grid(SHAPE, affine)
