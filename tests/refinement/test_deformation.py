"""The network's field on the grid that is written: where it lies, what it holds, how it ends."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.refinement.deformation import TAPER, field_grid, on_fixed
from lightcrcf.volumes import Volume

FLIPS = list(product((False, True), repeat=3))
TURN = np.array([[0.96, -0.28, 0, 4.0], [0.28, 0.96, 0, -7.0], [0, 0, 1, 3.0], [0, 0, 0, 1]])


def fixed_volume(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    return Volume(np.zeros(shape, np.int16), Grid(shape, TURN @ np.diag([*spacing, 1.0])))


def noise(grid: Grid, seed: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(3, *grid.shape)).astype(np.float32)


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("permutation", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_on_a_shared_lattice_every_value_is_kept(
    permutation: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    """Odd sizes: the half lattice of a flipped axis starts at its other end."""
    canonical = fixed_volume((31, 37, 42), (1.0, 1.0, 1.0))
    working = canonical.grid.crop([-4, 6, 0], (32, 16, 48)).half()
    displacement = noise(working)
    order = AxisOrder(permutation, flips)
    fixed = Volume(order.array(canonical.data), order.grid(canonical.grid))
    field = on_fixed(displacement, working, fixed.grid, fixed.grid.canonical())
    assert field.grid.isclose(order.grid(canonical.grid.half()), tolerance_mm=1e-9)
    inside = working.world(np.moveaxis(np.indices(working.shape), 0, -1))[2:, :, :21]
    expected = inside + np.moveaxis(displacement, 0, -1)[2:, :, :21] @ working.affine[:3, :3].T
    np.testing.assert_allclose(field.points(inside), expected, atol=1e-4)


def test_the_same_lattice_and_order_gives_the_same_numbers() -> None:
    fixed = fixed_volume((32, 48, 16), (1.0, 1.0, 1.0))
    displacement = noise(fixed.grid.half())
    np.testing.assert_array_equal(
        on_fixed(displacement, fixed.grid.half(), fixed.grid, fixed.grid.canonical()).displacement, displacement
    )


def linear(grid: Grid, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """(3, D, H, W) voxels of `grid`: the displacement `matrix` @ (x, 1) in mm at the world points x."""
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    mm = world @ matrix[:, :3].T + matrix[:, 3]
    return np.moveaxis(mm @ np.linalg.inv(grid.affine[:3, :3]).T, -1, 0).astype(np.float32)


@pytest.mark.parametrize("spacing", [(0.8, 0.9, 0.7), (2.0, 3.0, 5.0), (1.0, 1.0, 1.0), (0.9, 0.9, 3.0)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)])
def test_a_linear_field_is_reproduced_on_any_lattice(
    spacing: tuple[float, float, float], flips: tuple[bool, bool, bool]
) -> None:
    canonical = fixed_volume((31, 27, 23), spacing)
    order = AxisOrder((1, 2, 0), flips)
    fixed = Volume(order.array(canonical.data), order.grid(canonical.grid))
    extent = np.array(canonical.grid.shape) * spacing
    working = Grid((16, 16, 16), canonical.grid.affine @ np.diag([*(2 / np.array(spacing)), 1.0])).crop(
        np.round((extent / 2 - 16) / 2) + 0.3, (16, 16, 16)
    )
    matrix = np.array([[0.05, 0.02, 0, 1.0], [-0.03, 0.04, 0.01, -2.0], [0.02, 0, -0.05, 0.5]])
    field = on_fixed(linear(working, matrix), working, fixed.grid, fixed.grid.canonical())
    points = working.world(np.random.default_rng(1).uniform(3, 12, (400, 3)))
    inside = canonical.grid.voxels(points)
    points = points[((inside > 2) & (inside < np.array(canonical.grid.shape) - 3)).all(axis=1)]
    assert len(points) > 20
    np.testing.assert_allclose(field.points(points), points + points @ matrix[:, :3].T + matrix[:, 3], atol=2e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.0, 0.8), (1.5, 2.0, 3.0)])
def test_outside_of_the_working_grid_it_fades_to_zero(spacing: tuple[float, float, float]) -> None:
    fixed = fixed_volume((90, 80, 70), spacing)
    working = Grid((16, 16, 16), fixed.grid.affine @ np.diag([*(2 / np.array(spacing)), 1.0])).crop(
        np.array(fixed.grid.shape) * spacing / 4 - 8, (16, 16, 16)
    )
    constant = np.full((3, 16, 16, 16), 1.5, np.float32)
    field = on_fixed(constant, working, fixed.grid, fixed.grid.canonical())
    mm = np.moveaxis(field.world_mm(), -1, 0)
    world = field.grid.world(np.moveaxis(np.indices(field.grid.shape), 0, -1))
    index = working.voxels(world)
    outside = np.maximum(-index, index - 15).max(axis=-1)
    length = np.linalg.norm(mm, axis=0)
    full = np.linalg.norm(constant[:, 0, 0, 0]) * 2.0
    np.testing.assert_allclose(length[outside <= 0], full, rtol=1e-4)
    assert (outside > TAPER + 2).any()
    assert length[outside > TAPER + 2].max() == 0
    # The taper is one linear slope for each axis: no step between neighbours beyond its share.
    share = (field.grid.spacing_mm / 2 / TAPER).max() * full
    assert max(np.abs(np.diff(length, axis=a)).max() for a in range(3)) <= share * 1.01 + 1e-4


def test_a_working_grid_beside_the_image_gives_zeros() -> None:
    fixed = fixed_volume((20, 24, 28), (1.1, 1.2, 1.3))
    far = fixed.grid.crop([400, 0, 0], (16, 16, 16))
    assert not on_fixed(
        np.ones((3, 16, 16, 16), np.float32), far, fixed.grid, fixed.grid.canonical()
    ).displacement.any()


@pytest.mark.parametrize(
    ("spacing", "half"), [((1.0, 1.0, 1.0), True), ((0.5, 0.6, 1.0), True), ((0.9, 0.9, 1.2), False)]
)
def test_the_field_keeps_its_detail(spacing: tuple[float, float, float], half: bool) -> None:
    grid = fixed_volume((21, 24, 27), spacing).grid
    lattice = Grid((9, 9, 9), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert field_grid(grid, lattice).isclose(grid.half() if half else grid)
    assert field_grid(grid, Grid((9, 9, 9), np.eye(4))).isclose(grid.half() if max(spacing) <= 0.5 else grid)


def test_the_field_has_the_axis_order_of_the_fixed_image() -> None:
    canonical = fixed_volume((21, 24, 27), (2.0, 2.0, 2.5))
    order = AxisOrder((2, 0, 1), (True, False, False))
    fixed = Volume(order.array(canonical.data), order.grid(canonical.grid))
    field = on_fixed(
        np.zeros((3, 16, 16, 16), np.float32),
        canonical.grid.crop([0, 0, 0], (16, 16, 16)),
        fixed.grid,
        fixed.grid.canonical(),
    )
    assert field.grid.isclose(fixed.grid)


def test_an_axis_of_thick_slices_keeps_them() -> None:
    canonical = fixed_volume((30, 26, 7), (1.0, 1.0, 9.0))
    working = canonical.grid.crop([0, -2, 0], (32, 32, 7))
    displacement = noise(working.half((2, 2, 1)))
    order = AxisOrder((0, 1, 2), (False, False, False))
    field = on_fixed(displacement, working.half((2, 2, 1)), canonical.grid, order, (2, 2, 1))
    assert field.grid.isclose(canonical.grid.half((2, 2, 1)))
    np.testing.assert_array_equal(field.displacement, displacement[:, :15, 1:14])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.0, 1.2)])
def test_it_takes_little_more_memory_than_the_field(spacing: tuple[float, float, float]) -> None:
    """A field on the grid of a CT is the largest array of a registration: two of them and no more."""
    canonical = fixed_volume((70, 90, 80), spacing)
    order = AxisOrder((1, 0, 2), (True, False, True))
    working = canonical.grid.crop([5, 6, 7], (16, 16, 16))
    if spacing[0] != 1:
        working = Grid(working.shape, working.affine @ np.diag([1.3, 1.3, 1.3, 1.0]))
    displacement = noise(working)
    on_fixed(displacement, working, order.grid(canonical.grid), order.inverse())  # compiles
    tracemalloc.start()
    field = on_fixed(displacement, working, order.grid(canonical.grid), order.inverse())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert field.displacement.size == 3 * canonical.grid.size
    assert peak < 2.3 * field.displacement.nbytes
