from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.affine.align import Alignment, align
from lightcrcf.errors import InputError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.geometry.threads import use_threads
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]


def error_mm(found: Affine, turn: NDArray[np.float64], shift_mm: tuple[float, ...]) -> float:
    """Largest distance, over a head's worth of points, from where the generated moving brain really lies."""
    points = np.array(np.meshgrid(*[(-50.0, 0.0, 50.0)] * 3, indexing="ij")).reshape(3, -1).T
    return float(np.linalg.norm(found.points(points) - (points @ turn.T + shift_mm), axis=-1).max())


@pytest.fixture(scope="module")
def fixed(brains: BrainMaker, grids: GridMaker) -> Volume:
    return brains(grids((50, 62, 44), (3.0, 3.0, 3.0), axes="LPS"))[0]


@pytest.mark.parametrize(
    ("turn", "shift_mm"),
    [((0, 0, 0), (0, 0, 0)), ((12, -8, 15), (10, 25, -7)), ((0, 0, 90), (0, 0, 0)), ((90, 0, 0), (80, -40, 60))],
    ids=["at rest", "turned", "quarter turn", "quarter turn and far away"],
)
def test_a_rigid_movement_is_found(
    fixed: Volume,
    brains: BrainMaker,
    grids: GridMaker,
    turn: tuple[float, float, float],
    shift_mm: tuple[float, float, float],
) -> None:
    where = grids((70, 64, 66), (3.0, 3.2, 2.9), axes="ASR", turn=(10, 5, -5), centre=shift_mm)
    moving = brains(where, turn=turn, shift_mm=shift_mm)[0]
    found = align(fixed, moving)
    # The deviation of the two rotations' conventions is none: the generator turns its axes as `rotation` does.
    assert error_mm(found.affine, rotation_about_axes(turn), shift_mm) < 1.5
    assert found.similarity_after >= found.similarity_before
    assert np.linalg.det(found.affine.matrix[:3, :3]) > 0


def test_a_copy_keeps_the_headers_alignment(fixed: Volume) -> None:
    found = align(fixed, fixed)
    assert error_mm(found.affine, np.eye(3), (0.0, 0.0, 0.0)) < 0.05


def test_axis_orders_do_not_matter(fixed: Volume, brains: BrainMaker, grids: GridMaker) -> None:
    moving = brains(grids((60, 52, 56), (3.0, 3.1, 2.9), turn=(8, 3, -6)), person=1, turn=(5, 6, -9))[0]
    reference = align(fixed, moving).affine.matrix
    for order in (fixed.grid.canonical(), fixed.grid.canonical().inverse()):
        reordered = Volume(np.ascontiguousarray(order.array(fixed.data)), order.grid(fixed.grid), "reordered")
        assert np.allclose(align(reordered, moving).affine.matrix, reference, atol=1e-6)


def test_running_twice_gives_the_same(fixed: Volume, brains: BrainMaker, grids: GridMaker) -> None:
    moving = brains(grids((60, 52, 56), (3.0, 3.1, 2.9)), person=2, turn=(5, 6, -9))[0]
    first, second = align(fixed, moving), align(fixed, moving)
    assert np.array_equal(first.affine.matrix, second.affine.matrix)


@pytest.mark.parametrize("brightness", [900, 3000])
def test_a_bright_growth_steers_nothing_with_a_mask_or_without(
    brightness: int, fixed: Volume, brains: BrainMaker, grids: GridMaker
) -> None:
    """Brain has 160 to 600: one in range of it, and one that is extreme; of 30 mm, in the brain and beside it."""
    shift = (6.0, -4.0, 3.0)
    clean = brains(grids((54, 64, 50), (3.0, 3.0, 3.0)), shift_mm=shift)[0]
    world = clean.grid.world(np.moveaxis(np.indices(clean.grid.shape), 0, -1))
    growth = np.linalg.norm(world - (60, 20, 10), axis=-1) < 30
    moving = Volume(np.where(growth, brightness, clean.data).astype(np.int16), clean.grid, "with a growth")
    mask = Volume((~growth).astype(np.uint8), clean.grid, "mask")
    assert error_mm(align(fixed, moving, moving_mask=mask).affine, np.eye(3), shift) < 1.0  # a third of a voxel
    assert error_mm(align(fixed, moving).affine, np.eye(3), shift) < 1.0


def test_unusable_input_is_refused(fixed: Volume, grids: GridMaker) -> None:
    flat = Volume(np.full((20, 24, 18), 7, np.int16), grids((20, 24, 18), (5.0, 5.0, 5.0)), "flat.nii")
    with pytest.raises(InputError, match=r"flat\.nii"):
        align(fixed, flat)
    elsewhere = Volume(np.ones((20, 24, 18), np.uint8), grids((20, 24, 18), (5.0, 5.0, 5.0)), "mask.nii")
    with pytest.raises(InputError, match=r"mask\.nii"):
        align(fixed, fixed, fixed_mask=elsewhere)
    empty = Volume(np.zeros(fixed.grid.shape, np.uint8), fixed.grid, "empty.nii")
    with pytest.raises(InputError, match=r"empty\.nii"):
        align(fixed, fixed, fixed_mask=empty)


def stretched(volume: Volume, matrix: NDArray[np.float64]) -> Volume:
    """The same numbers, elsewhere: what was at p is at matrix @ p."""
    return Volume(volume.data, Grid(volume.grid.shape, matrix @ volume.grid.affine), "stretched")


def test_scales_and_shears_are_found_on_oblique_anisotropic_grids(brains: BrainMaker, grids: GridMaker) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = (
        rotation_about_axes((7, -11, 5)) @ np.diag([1.1, 0.9, 1.05]) @ [[1, 0.08, -0.05], [0, 1, 0.06], [0, 0, 1]]
    )
    matrix[:3, 3] = (25, -40, 10)
    fixed = brains(grids((60, 75, 28), (2.6, 2.4, 5.5), turn=(12, -7, 20)))[0]
    moving = brains(grids((62, 40, 58), (2.7, 4.4, 2.5), axes="PSR", turn=(-5, 14, 8)))[0]
    found = align(fixed, stretched(moving, matrix))
    assert error_mm(found.affine, matrix[:3, :3], (25, -40, 10)) < 3.0
    assert found.scales == pytest.approx((1.1, 0.9, 1.05), abs=0.03)
    assert found.shears == pytest.approx((0.08, -0.05, 0.06), abs=0.03)
    assert found.rotation_deg == pytest.approx(
        np.degrees(np.arccos((np.trace(rotation_about_axes((7, -11, 5))) - 1) / 2)), abs=1.5
    )
    assert found.similarity_after > 0.9 > 0.2 > found.similarity_before


@pytest.mark.parametrize("number", range(0, 48, 5))
def test_flipped_and_permuted_axes_give_the_same_world(
    number: int, pair: tuple[Volume, Volume], found: Alignment
) -> None:
    fixed, moving = pair
    permutation = list(permutations(range(3)))[number % 6]
    flips = list(product((False, True), repeat=3))[number // 6]
    order = AxisOrder(permutation, flips)  # type: ignore[arg-type]
    turned = Volume(order.array(moving.data), order.grid(moving.grid), "turned")
    np.testing.assert_allclose(align(fixed, turned).affine.matrix, found.affine.matrix, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def found(pair: tuple[Volume, Volume]) -> Alignment:
    return align(*pair)


def test_threads_change_no_bit(pair: tuple[Volume, Volume], found: Alignment) -> None:
    for threads in (1, 2):
        with use_threads(threads):
            assert np.array_equal(align(*pair).affine.matrix, found.affine.matrix)


def test_the_swapped_pair_gives_the_inverse(pair: tuple[Volume, Volume], found: Alignment) -> None:
    back = align(pair[1], pair[0]).affine.inverse()
    points = pair[0].grid.world(np.argwhere(pair[0].data > 0)[::50])
    assert np.linalg.norm(back.points(points) - found.affine.points(points), axis=1).max() < 0.5


@pytest.mark.parametrize("head", ["fixed", "moving"])
def test_a_brain_is_aligned_with_a_head_that_hangs_low(head: str, brains: BrainMaker, grids: GridMaker) -> None:
    shift, turn = (12.0, -20.0, 25.0), (8.0, -12.0, 5.0)
    brain = brains(grids((50, 62, 44), (3.0, 3.0, 3.0)))[0]
    whole = brains(grids((70, 82, 90), (3.0, 3.1, 3.2), centre=(0, 0, -30)), head=True, turn=turn, shift_mm=shift)[0]
    if head == "moving":
        assert error_mm(align(brain, whole).affine, rotation_about_axes((8, -12, 5)), shift) < 5
    else:
        assert error_mm(align(whole, brain).affine.inverse(), rotation_about_axes((8, -12, 5)), shift) < 5


def test_unlike_images_are_never_made_worse(fixed: Volume, grids: GridMaker) -> None:
    grid = grids((40, 50, 46), (3.5, 3.5, 3.5), centre=(9, 4, -7))
    noise = np.random.default_rng(0).integers(1, 1000, grid.shape)
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    moving = Volume(np.where(np.linalg.norm(world / (60, 50, 70), axis=-1) < 1, noise, 0).astype(np.int16), grid)
    unlike = align(fixed, moving)
    assert unlike.similarity_after >= unlike.similarity_before
    assert np.linalg.det(unlike.affine.matrix[:3, :3]) > 0
    stretch = np.linalg.svd(unlike.affine.matrix[:3, :3])[1]
    assert stretch.min() >= 0.5
    assert stretch.max() <= 2


def test_nothing_to_compare_is_refused(grids: GridMaker) -> None:
    data = np.zeros((40, 44, 48), np.int16)
    data[4:36, 4:40, 4:44] = 100
    block = Volume(data, grids(data.shape, (3.0, 3.5, 4.0)), "block.nii")
    inside = np.zeros(data.shape, np.uint8)
    inside[12:28, 12:32, 12:36] = 1
    mask = Volume(inside, block.grid, "mask.nii")
    with pytest.raises(InputError, match=r"block\.nii and block\.nii: expected images that have anatomy in common"):
        align(block, block, fixed_mask=mask, moving_mask=mask)


@pytest.mark.data
@pytest.mark.parametrize("quarter_turn", [False, True])
def test_two_real_brains_overlap(data: Path, quarter_turn: bool) -> None:
    fixed, moving = (read(data / "oasis" / f"sub-{n}_T1w.nii.gz") for n in ("1000", "1001"))
    fixed_labels, moving_labels = (read(data / "oasis" / f"sub-{n}_dseg.nii.gz") for n in ("1000", "1001"))
    if quarter_turn:
        middle = np.eye(4)
        middle[:3, 3] = moving.grid.world((np.array(moving.grid.shape) - 1) / 2)
        turn = np.eye(4)
        turn[:3, :3] = rotation_about_axes((0, 90, 0))
        turn[:3, 3] = (0, 80, 0)
        grid = Grid(moving.grid.shape, middle @ turn @ np.linalg.inv(middle) @ moving.grid.affine)
        moving, moving_labels = Volume(moving.data, grid, "turned"), Volume(moving_labels.data, grid, "turned labels")
    chain = Chain(Affine.identity(), None, align(fixed, moving).affine)
    moved = chain.resample(moving_labels, fixed.grid, "nearest")
    assert np.nanmean(list(dice(fixed_labels.data, moved.data).values())) > 0.38
