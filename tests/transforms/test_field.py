from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.transforms.field import DisplacementField

ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]


def linear_field(grid: Grid, matrix: NDArray) -> DisplacementField:
    """x -> c + M (x - c) in the world, about the centre of the grid."""
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    centre = grid.world((np.array(grid.shape) - 1) / 2)
    return DisplacementField.from_world_mm(grid, ((world - centre) @ (matrix - np.eye(3)).T).astype(np.float32))


MATRIX = np.array([[1.2, 0.1, 0.0], [-0.05, 0.9, 0.1], [0.02, 0.0, 1.1]])


def test_a_constant_field_moves_points_along_the_world_axes(fixed_grid: Grid, inner_points: NDArray) -> None:
    shift = np.array([1.5, -2.0, 0.75])
    field = DisplacementField.from_world_mm(fixed_grid, np.broadcast_to(shift, (*fixed_grid.shape, 3)))
    np.testing.assert_allclose(field.points(inner_points), inner_points + shift, atol=1e-5)


def test_points_of_a_linear_field(fixed_grid: Grid, inner_points: NDArray) -> None:
    centre = fixed_grid.world((np.array(fixed_grid.shape) - 1) / 2)
    expected = centre + (inner_points - centre) @ MATRIX.T
    np.testing.assert_allclose(linear_field(fixed_grid, MATRIX).points(inner_points), expected, atol=1e-4)


def test_points_outside_stay(fixed_grid: Grid) -> None:
    field = linear_field(fixed_grid, MATRIX)
    outside = fixed_grid.world([[-0.6, 3, 3], [3, 3, fixed_grid.shape[2] - 0.4]])
    np.testing.assert_array_equal(field.points(outside), outside)
    np.testing.assert_array_equal(field.points(outside[0]), outside[0])


def test_world_vectors_there_and_back(field: DisplacementField) -> None:
    back = DisplacementField.from_world_mm(field.grid, field.world_mm())
    np.testing.assert_allclose(back.displacement, field.displacement, atol=1e-6)


def test_inverse_points(field: DisplacementField, inner_points: NDArray) -> None:
    np.testing.assert_allclose(field.inverse_points(field.points(inner_points)), inner_points, atol=1e-4)
    np.testing.assert_allclose(field.points(field.inverse_points(inner_points)), inner_points, atol=1e-4)


def test_inverse_points_far_outside_stay(field: DisplacementField) -> None:
    far = field.grid.world([[-50.0, 3, 3], [3, 3, 90]])
    np.testing.assert_array_equal(field.inverse_points(far), far)
    assert field.inverse_points(far[0]).shape == (3,)


def test_inverse_of_a_closed_form(fixed_grid: Grid, inner_points: NDArray) -> None:
    inverse = linear_field(fixed_grid, MATRIX).inverse()
    centre = fixed_grid.world((np.array(fixed_grid.shape) - 1) / 2)
    near = centre + 0.6 * (inner_points - centre)
    expected = centre + (near - centre) @ np.linalg.inv(MATRIX).T
    np.testing.assert_allclose(inverse.points(near), expected, atol=5e-3)


def test_inverse_consistency(field: DisplacementField) -> None:
    inverse = field.inverse()
    mean, largest = field.inverse_consistency_mm(inverse)
    assert 0 < mean < 0.2
    assert mean < largest < 1.0
    nothing = field.inverse_consistency_mm(DisplacementField.zero(field.grid))
    assert nothing.mean_mm > 10 * mean


def test_inverse_consistency_is_in_mm() -> None:
    grid = Grid((5, 7, 11), np.diag([1.0, 2.0, 3.0, 1.0]))
    u = np.zeros((3, 5, 7, 11), np.float32)
    u[2, :, :, :5] = 1.0
    mean, largest = DisplacementField(grid, u).inverse_consistency_mm(DisplacementField.zero(grid))
    assert largest == 3.0
    assert mean == pytest.approx(3.0 * 5 / 11)


def test_inverse_consistency_where_everything_leaves() -> None:
    grid = Grid((5, 7, 11), np.eye(4))
    gone = DisplacementField(grid, np.full((3, 5, 7, 11), 99, np.float32))
    assert gone.inverse_consistency_mm(DisplacementField.zero(grid)) == (0.0, 0.0)


def test_inverse_consistency_asks_for_one_grid(field: DisplacementField) -> None:
    with pytest.raises(InputError, match="grid of the field"):
        field.inverse_consistency_mm(DisplacementField.zero(field.grid.crop((0, 0, 1), field.grid.shape)))


def test_jacobian_determinant_does_not_depend_on_the_grid(fixed_grid: Grid) -> None:
    determinant = linear_field(fixed_grid, MATRIX).jacobian_determinant()
    np.testing.assert_allclose(determinant, np.full(fixed_grid.shape, np.linalg.det(MATRIX)), atol=1e-4)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_reordering_maps_points_alike(order: AxisOrder, rng: np.random.Generator) -> None:
    axes = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]]) * (1.1, 2.0, 1.4)
    grid = Grid((5, 7, 11), np.vstack([np.column_stack([axes, [3, 1, -2]]), [0, 0, 0, 1]]))
    field = DisplacementField(grid, rng.standard_normal((3, 5, 7, 11)).astype(np.float32))
    points = grid.world(rng.uniform(-1, np.array(grid.shape), (50, 3)))
    reordered = field.reorder(order)
    assert reordered.grid.shape == order.grid(grid).shape
    np.testing.assert_allclose(reordered.points(points), field.points(points), atol=1e-5)
    np.testing.assert_array_equal(reordered.reorder(order.inverse()).displacement, field.displacement)


def test_a_field_on_another_grid_is_refused(fixed_grid: Grid) -> None:
    with pytest.raises(InputError, match="shape"):
        DisplacementField(fixed_grid, np.zeros((3, 5, 7, 11), np.float32))
