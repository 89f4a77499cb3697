from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.pipeline.affine import align
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]


def error_mm(found: Affine, turn: NDArray[np.float64], shift_mm: tuple[float, ...]) -> float:
    """Largest distance, over a head's worth of points, from where the generated moving brain really lies."""
    points = np.array(np.meshgrid(*[(-50.0, 0.0, 50.0)] * 3, indexing="ij")).reshape(3, -1).T
    return float(np.linalg.norm(found.points(points) - (points @ turn.T + shift_mm), axis=-1).max())


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s, step = np.cos(angle), np.sin(angle), np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
        matrix = step @ matrix
    return matrix


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
    assert error_mm(found.affine, rotation(turn), shift_mm) < 1.5
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


def test_a_mask_leaves_a_bright_growth_out(fixed: Volume, brains: BrainMaker, grids: GridMaker) -> None:
    shift = (6.0, -4.0, 3.0)
    clean = brains(grids((54, 64, 50), (3.0, 3.0, 3.0)), shift_mm=shift)[0]
    world = clean.grid.world(np.moveaxis(np.indices(clean.grid.shape), 0, -1))
    growth = np.linalg.norm(world - (60, 20, 10), axis=-1) < 30
    moving = Volume(np.where(growth, 3000, clean.data).astype(np.int16), clean.grid, "with a growth")
    mask = Volume((~growth).astype(np.uint8), clean.grid, "mask")
    masked = error_mm(align(fixed, moving, moving_mask=mask).affine, np.eye(3), shift)
    unmasked = error_mm(align(fixed, moving).affine, np.eye(3), shift)
    assert masked < 3.0  # a voxel
    assert masked < unmasked / 2


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


@pytest.mark.data
@pytest.mark.parametrize("quarter_turn", [False, True])
def test_two_real_brains_overlap(data: Path, quarter_turn: bool) -> None:
    fixed, moving = (read(data / "oasis" / f"sub-{n}_T1w.nii.gz") for n in ("1000", "1001"))
    fixed_labels, moving_labels = (read(data / "oasis" / f"sub-{n}_dseg.nii.gz") for n in ("1000", "1001"))
    if quarter_turn:
        middle = np.eye(4)
        middle[:3, 3] = moving.grid.world((np.array(moving.grid.shape) - 1) / 2)
        turn = np.eye(4)
        turn[:3, :3] = rotation((0, 90, 0))
        turn[:3, 3] = (0, 80, 0)
        grid = Grid(moving.grid.shape, middle @ turn @ np.linalg.inv(middle) @ moving.grid.affine)
        moving, moving_labels = Volume(moving.data, grid, "turned"), Volume(moving_labels.data, grid, "turned labels")
    chain = Chain(Affine.identity(), None, align(fixed, moving).affine)
    moved = chain.resample(moving_labels, fixed.grid, "nearest")
    assert np.nanmean(list(dice(fixed_labels.data, moved.data).values())) > 0.38
