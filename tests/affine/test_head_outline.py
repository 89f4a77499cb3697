"""A brain laid into the outline of a head whose inside tells nothing, and into a sound head without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.affine.align import Alignment, align
from lightcrcf.affine.head_outline import align_by_outline, brain_surface, depth_map
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]
BRAIN_MM, SHIFT_MM = np.array([62.0, 78.0, 55.0]), (9.0, -14.0, 21.0)


def noise_head(grid: Grid, *, neck: bool = True, shift_mm: tuple[float, ...] = SHIFT_MM) -> Volume:
    """Scalp 12 mm around the generated brain, a face, perhaps a neck, and inside them nothing but noise."""
    x, y, z = np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) - shift_mm, -1, 0)
    skull = np.linalg.norm(np.stack([x, y, z]) / (BRAIN_MM + 12)[:, None, None, None], axis=0) < 1
    face = (np.hypot(x / 60, (y - 30) / 62) < 1) & (z < 0) & (z > -100)
    throat = (np.hypot(x / 55, (y + 10) / 60) < 1) & (z < 0) if neck else np.zeros_like(face)
    rng = np.random.default_rng(3)
    air = np.abs(rng.normal(scale=5, size=grid.shape))
    inside = rng.integers(0, 256, grid.shape)
    return Volume(np.where(skull | face | throat, inside, air).astype(np.uint8), grid, "head full of noise")


@pytest.fixture(scope="module")
def brain(brains: BrainMaker, grids: GridMaker) -> Volume:
    return brains(grids((50, 62, 44), (3.0, 3.0, 3.2), axes="LPS"))[0]


@pytest.fixture(scope="module")
def head(grids: GridMaker) -> Volume:
    return noise_head(grids((90, 92, 74), (2.6, 2.5, 2.8), axes="PSR", turn=(4, -3, 2), centre=(9, -10, 0)))


@pytest.fixture(scope="module")
def found(brain: Volume, head: Volume) -> Alignment:
    return align(brain, head)


def error_mm(affine: Affine) -> float:
    """Mean distance from where the points of the brain's box belong."""
    points = np.array(np.meshgrid(*[(-1.0, 0.0, 1.0)] * 3, indexing="ij")).reshape(3, -1).T * BRAIN_MM
    return float(np.linalg.norm(affine.points(points) - (points + SHIFT_MM), axis=1).mean())


def test_the_outline_decides_where_the_inside_is_noise(found: Alignment) -> None:
    assert found.start == "outline"
    assert "outline" in found.measure
    assert error_mm(found.affine) < 16  # outlines place a brain to about a centimetre
    assert found.similarity_after > 0.3 > 0.1 > found.similarity_before


def test_the_head_may_be_the_fixed_one(brain: Volume, head: Volume, found: Alignment) -> None:
    back = align(head, brain)
    assert back.start == "outline"
    np.testing.assert_allclose(back.affine.inverse().matrix, found.affine.matrix, atol=1e-9)


def test_a_head_without_neck_gives_the_same(brain: Volume, head: Volume, found: Alignment) -> None:
    short = align_by_outline(
        AlignmentImage.prepare(brain, None), AlignmentImage.prepare(noise_head(head.grid, neck=False), None)
    )
    points = BRAIN_MM * np.array([[1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
    assert np.linalg.norm(Affine(short.matrix).points(points) - found.affine.points(points), axis=1).max() < 8


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_a_sound_head_is_aligned_by_its_inside(which: str, brain: Volume, brains: BrainMaker, grids: GridMaker) -> None:
    where = grids((70, 82, 66), (3.0, 3.1, 3.2), axes="ASR", centre=SHIFT_MM)
    sound = brains(where, person=1, head=True, turn=(9, -6, 4), shift_mm=SHIFT_MM)[0]
    result = align(sound, brain) if which == "fixed" else align(brain, sound)
    assert result.start != "outline"
    assert result.similarity_after > 0.4


def test_with_a_mask_the_outline_has_no_say(brain: Volume, head: Volume) -> None:
    mask = Volume(np.ones(head.grid.shape, np.uint8), head.grid, "mask")
    assert align(brain, head, moving_mask=mask).start != "outline"


def test_a_body_is_no_head(brain: Volume, grids: GridMaker) -> None:
    grid = grids((70, 60, 40), (6.0, 6.5, 7.0))
    x, y, _ = np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    trunk = np.where(np.hypot(x / 180, y / 120) < 1, np.random.default_rng(1).integers(0, 256, grid.shape), 0)
    assert align(brain, Volume(trunk.astype(np.uint8), grid, "body")).start != "outline"


def test_depth_goes_on_below_the_cut_and_over_holes(grids: GridMaker) -> None:
    grid = grids((46, 52, 30), (4.2, 4.0, 4.5))
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    column: NDArray[np.bool_] = np.hypot(world[..., 0], world[..., 1]) < 70
    hollow = np.linalg.norm(world - (20, 10, 5), axis=-1) < 18
    image = Volume(np.where(column & ~hollow, 200, 2).astype(np.uint8), grid, "column")
    image.data[:3, :3, :3] = 200  # a speck apart
    depth = depth_map(AlignmentImage.prepare(image, None))

    def at(*point_mm: float) -> float:
        return float(depth.data[tuple(np.rint(Affine(depth.grid.inverse).points(np.array(point_mm))).astype(int))])

    assert at(0, 0, -60) == pytest.approx(at(0, 0, 0), abs=3)
    assert at(20, 10, 5) > 40
    assert at(60, 0, 0) - at(30, 0, 0) == pytest.approx(-30, abs=3)
    assert at(*grid.world([0.0, 0.0, 0.0])) < -15


def test_a_surface_knows_top_from_face(brain: Volume) -> None:
    found = brain_surface(AlignmentImage.prepare(brain, None))
    offsets = found.points_mm - found.points_mm.mean(axis=0)
    sure, depth = (plane[found.weight > 0] for plane in (found.weight, found.depth_mm))
    top, face = offsets[:, 2] > 45, (offsets[:, 1] > 45) & (offsets[:, 2] < -20)
    assert 10 < depth[top].mean() < 16
    assert depth[face].mean() > 20
    assert sure[top].mean() > 5 * sure[face].mean()


def test_what_is_found_follows_the_head(brain: Volume, head: Volume, found: Alignment) -> None:
    """A head placed elsewhere by its header, as far as one likes, takes the brain along."""
    move = np.eye(4)
    move[:3, 3] = (140, -90, 60)
    moved = replace(head, grid=Grid(head.grid.shape, move @ head.grid.affine))
    laid = align_by_outline(AlignmentImage.prepare(brain, None), AlignmentImage.prepare(moved, None))
    np.testing.assert_allclose(laid.matrix, move @ found.affine.matrix, atol=0.05)


def brain_and_head(data: Path, brain_of: str, head_of: str) -> tuple[Volume, Volume, Callable[[Affine], float]]:
    """A real brain, another person's whole head, and the Dice of both brains under an affine between them."""
    names = (f"oasis/sub-{brain_of}", f"ixi-2mm/sub-{head_of}")
    brain, whole = (read(data / f"{name}_T1w.nii.gz") for name in names)
    labels = [read(data / f"{name}_dseg.nii.gz") for name in names]
    inside, outside = (Volume((v.data > 0).astype(np.uint8), v.grid, v.source) for v in labels)

    def overlap(affine: Affine) -> float:
        moved = Chain(Affine.identity(), None, affine).resample(outside, inside.grid, "nearest")
        return dice(inside.data, moved.data)[1]

    return brain, whole, overlap


REAL = pytest.mark.parametrize(("brain_of", "head_of"), [("1104", "IXI161"), ("1107", "IXI216"), ("1110", "IXI362")])


@pytest.mark.data
@REAL
def test_a_real_head_is_aligned_by_its_inside(brain_of: str, head_of: str, data: Path) -> None:
    brain, whole, overlap = brain_and_head(data, brain_of, head_of)
    found = align(brain, whole)
    assert found.start != "outline"
    assert overlap(found.affine) > 0.85  # .89 to .93


@pytest.mark.data
@REAL
def test_a_real_brain_lies_in_a_head_whose_intensities_wrapped(brain_of: str, head_of: str, data: Path) -> None:
    """As in files whose eight bits could not hold what was written: the outline is left, the inside tells nothing."""
    brain, whole, overlap = brain_and_head(data, brain_of, head_of)
    wrapped = replace(whole, data=(whole.data.astype(np.int64) * 7 % 256).astype(np.uint8))
    found = align(brain, wrapped)
    assert found.start == "outline"
    assert overlap(found.affine) > 0.8  # .88 to .90; none of these heads was among those that gave the depths
