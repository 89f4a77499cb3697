from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]


@pytest.fixture
def chain(field: DisplacementField, affine: Affine) -> Chain:
    return Chain(Affine.identity(), field, affine)


def test_points_pass_the_field_first(chain: Chain, fixed_points: NDArray) -> None:
    assert chain.field is not None
    np.testing.assert_array_equal(chain.points(fixed_points), chain.after.points(chain.field.points(fixed_points)))


def test_points_pass_before_first(field: DisplacementField, affine: Affine, fixed_points: NDArray) -> None:
    chain = Chain(affine.inverse(), field, affine)
    start = affine.points(fixed_points)
    np.testing.assert_allclose(chain.points(start), affine.points(field.points(fixed_points)), atol=1e-6)


def test_inverse_points_undo(chain: Chain, inner_points: NDArray) -> None:
    np.testing.assert_allclose(chain.inverse_points(chain.points(inner_points)), inner_points, atol=1e-4)


def test_inverse_chain_agrees_with_inverse_points(chain: Chain, inner_points: NDArray) -> None:
    moved = chain.points(inner_points)
    np.testing.assert_allclose(chain.inverse().points(moved), chain.inverse_points(moved), atol=0.3)
    assert np.abs(chain.inverse().points(moved) - inner_points).mean() < 0.06


def test_a_chain_without_field_is_its_affines(affine: Affine, fixed_points: NDArray) -> None:
    chain = Chain(affine, None, affine)
    expected = affine.points(affine.points(fixed_points))
    np.testing.assert_array_equal(chain.points(fixed_points), expected)
    np.testing.assert_allclose(chain.inverse_points(expected), fixed_points, atol=1e-9)
    np.testing.assert_allclose(chain.inverse().points(expected), fixed_points, atol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_resample_reads_the_moving_volume_where_the_points_go(
    chain: Chain, moving: Volume, fixed_grid: Grid, shift: float
) -> None:
    """Point by point, interpolated by hand."""
    before = np.eye(4)
    before[0, 1], before[:3, 3] = 0.02 * shift, shift
    chain = Chain(Affine(before), chain.field, chain.after)
    moved = chain.resample(moving, fixed_grid, fill=-9.0)
    assert moved.grid is fixed_grid
    assert moved.data.dtype == np.float32
    world = fixed_grid.world(np.moveaxis(np.indices(fixed_grid.shape), 0, -1))
    index = moving.grid.voxels(chain.points(world))
    size = np.array(moving.grid.shape)
    inside = ((index > 0) & (index < size - 1)).all(axis=-1)
    assert inside.mean() > 0.2
    low = np.floor(index[inside]).astype(int)
    fraction = index[inside] - low
    expected = np.zeros(len(low))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
        expected += weight * moving.data[tuple((low + corner).T)]
    np.testing.assert_allclose(moved.data[inside], expected, atol=1e-4)
    beyond = ((index < -0.51) | (index > size - 0.49)).any(axis=-1)
    assert (moved.data[beyond] == -9).all()


@pytest.mark.parametrize("axis", range(3))
def test_one_voxel_along_each_axis(axis: int) -> None:
    grid = Grid((5, 7, 11), np.diag([-1.0, 2.0, 3.0, 1.0]))
    data = np.arange(5 * 7 * 11, dtype=np.float32).reshape(grid.shape)
    u = np.zeros((3, *grid.shape), np.float32)
    u[axis] = 1
    moved = Chain(Affine.identity(), DisplacementField(grid, u), Affine.identity()).resample(Volume(data, grid), grid)
    kept = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    shifted = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    np.testing.assert_allclose(moved.data[kept], data[shifted], atol=1e-3)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_axis_orders_of_all_three_grids_do_not_matter(order: AxisOrder, rng: np.random.Generator) -> None:
    axes = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]]) * (1.1, 2.0, 1.4)
    grid = Grid((5, 7, 11), np.vstack([np.column_stack([axes, [3, 1, -2]]), [0, 0, 0, 1]]))
    field = DisplacementField(grid.half(), rng.standard_normal((3, 3, 4, 6)).astype(np.float32) / 4)
    moving = Volume(rng.random(grid.shape, dtype=np.float32), grid)
    shift = Affine(np.array([[1, 0.1, 0, 0.3], [0, 1, 0, -0.4], [0, 0, 1, 0.2], [0, 0, 0, 1]]))
    expected = Chain(Affine.identity(), field, shift).resample(moving, grid)
    turned = Volume(order.array(moving.data), order.grid(grid))
    got = Chain(Affine.identity(), field.reorder(order), shift).resample(turned, order.grid(grid))
    np.testing.assert_allclose(got.data, order.array(expected.data), atol=1e-5)


def test_labels_are_moved_as_labels(chain: Chain, moving: Volume, fixed_grid: Grid) -> None:
    labels = Volume(np.where(moving.data > 0.2, 2035, np.where(moving.data < -0.2, 4, 0)).astype(np.int16), moving.grid)
    moved = chain.resample(labels, fixed_grid)
    assert moved.data.dtype == np.int16
    assert set(np.unique(moved.data)) == {0, 4, 2035}
    np.testing.assert_array_equal(moved.data, chain.resample(labels, fixed_grid, "nearest").data)


def test_integer_images_are_moved_as_images(chain: Chain, moving: Volume, fixed_grid: Grid) -> None:
    image = Volume((1000 * moving.data).astype(np.int16), moving.grid)
    moved = chain.resample(image, fixed_grid)
    assert moved.data.dtype == np.float32
    np.testing.assert_array_equal(moved.data, chain.resample(image, fixed_grid, "linear").data)


def test_resampling_changes_nothing_it_was_given(chain: Chain, moving: Volume, fixed_grid: Grid) -> None:
    assert chain.field is not None
    before = moving.data.copy(), chain.field.displacement.copy()
    first, second = (chain.resample(moving, fixed_grid, "cubic").data for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(moving.data, before[0])
    np.testing.assert_array_equal(chain.field.displacement, before[1])
