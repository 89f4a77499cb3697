"""What affine alignment compares, whatever the intensities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lightcrcf.affine import pyramid
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]


@pytest.mark.parametrize("largest", [1e37, 3.4e38])
@pytest.mark.parametrize("lowest", [0.2, -1.0])
def test_intensities_near_the_largest_float_are_rescaled_as_any_others(largest: float, lowest: float) -> None:
    shares = np.random.default_rng(3).uniform(lowest, 1, (31, 24, 42)).astype(np.float32)
    tissue = shares > 0.6
    wanted = pyramid._normalise(shares, tissue, masked=False)
    found = pyramid._normalise(shares * np.float32(largest), tissue, masked=False)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.ptp(found) > 1


@pytest.mark.parametrize("times", [3.0, 30.0, 1e6])
def test_a_lesion_leaves_the_tissue_its_range(times: float) -> None:
    """In the affine's images its contrast stays what it was, within a factor of two."""
    image = np.random.default_rng(3).uniform(0.4, 1, (31, 24, 42)).astype(np.float32)
    image[:3] = 0
    tissue = image > 0
    wanted = pyramid._normalise(image, tissue, masked=False)
    image[10:16, 5:12, 20:30] *= np.float32(times)
    found = pyramid._normalise(image, tissue, masked=False)
    others = np.ones(image.shape, bool)
    others[10:16, 5:12, 20:30] = False
    assert np.corrcoef(found[others], wanted[others])[0, 1] > 0.99
    assert np.ptp(found[others]) > 0.5 * np.ptp(wanted[others])
    assert found.max() <= np.float32(1.2)


def source(volume: Volume, mask: Volume | None = None) -> pyramid.AlignmentImage:
    return pyramid.AlignmentImage.prepare(volume, mask)


def test_a_brain_alone_is_compared_with_its_background_and_a_head_with_nothing_beyond(
    brains: BrainMaker, grids: GridMaker
) -> None:
    grid = grids((66, 77, 60), (3.0, 3.0, 3.2), axes="LPS")
    for head, blank_outside in ((False, True), (True, False)):
        sources = source(brains(grid, head=head)[0]), source(brains(grid, person=1, head=head)[0])
        for level in pyramid.build_pyramids(*sources):
            assert (level.fixed.blank_outside, level.moving.blank_outside) == (blank_outside, blank_outside)
            assert level.outlines


def test_background_goes_on_around_a_brain_but_where_a_face_of_the_grid_cuts_it(
    brains: BrainMaker, grids: GridMaker
) -> None:
    whole = brains(grids((66, 77, 60), (3.0, 3.0, 3.2), axes="RAS"))[0]
    cut = Volume(whole.data[:, 25:, :], whole.grid.crop((0, 25, 0), (66, 52, 60)))
    plain, fine = source(whole), pyramid.build_pyramids(source(cut), source(whole))[-1]
    assert plain.extent.closed.all()
    assert not fine.fixed.blank_outside
    assert fine.moving.blank_outside
    shape, step = np.array(fine.fixed.grid.shape), fine.fixed.grid
    unpadded = pyramid.build_pyramids(source(whole), source(whole))[-1].fixed
    a, b, c = unpadded.grid.shape
    wider = shape - [a, b * 52 // 77, c]
    assert wider[0] == wider[2] == 16  # eight at both ends
    assert 7 <= wider[1] <= 9  # and at one
    inside = step.world(np.argwhere(fine.fixed.foreground > 0))
    assert inside[:, 1].min() == pytest.approx(cut.grid.world((0, 0, 0))[1], abs=3.5)  # where it was before
    first, last = fine.fixed.valid[:, 0], fine.fixed.valid[:, -1]
    assert first.any()
    assert last.all()


def test_planes_are_surrounded_beyond_closed_faces_alone(grids: GridMaker) -> None:
    grid = grids((5, 7, 6), (2.0, 3.0, 2.5), axes="ASL", turn=(5, 9, -4))
    planes = [np.full(grid.shape, 0.5, np.float32), np.ones(grid.shape, bool), np.ones(grid.shape, bool)]
    planes[2][2, 3, 4] = False
    closed = np.array([[True, False], [False, False], [True, True]])
    (image, inside, usable), wider = pyramid._pad(planes, grid, closed)
    assert wider.shape == image.shape == inside.shape == usable.shape == (13, 7, 22)
    np.testing.assert_allclose(wider.world((8, 0, 8)), grid.world((0, 0, 0)))
    np.testing.assert_array_equal(image[8:, :, 8:14], planes[0])
    assert image.sum() == pytest.approx(planes[0].sum())
    assert inside.sum() == planes[1].sum()
    assert (~usable).sum() == 1
    assert not usable[10, 3, 12]


def test_windows_that_reach_into_the_unknown_tell_nothing(brains: BrainMaker, grids: GridMaker) -> None:
    """Samples near a hole are left out of local comparison, unless few would be left."""
    grid = grids((66, 77, 60), (3.0, 3.0, 3.2), axes="LPS")
    image = brains(grid, head=True)[0]
    mask = np.ones(grid.shape, np.uint8)
    mask[:, 50:] = 0
    level = pyramid.build_pyramids(source(image, Volume(mask, grid)), source(image))[-1].fixed
    local = pyramid.normalise_locally(level)
    kept, was = (np.flatnonzero(x.any(axis=(0, 2))) for x in (local.valid, level.valid))
    assert len(was) - len(kept) >= 2
    assert not local.samples[local.valid == 0].any()
    few = np.zeros(grid.shape, np.uint8)
    few[::4, ::3, ::3] = 1
    few[30:36, 30:40, 25:32] = 1
    sparse = pyramid.build_pyramids(source(image, Volume(few, grid)), source(image))[-1].fixed
    assert pyramid.normalise_locally(sparse).samples.any()


def test_nan_is_as_a_mask(brains: BrainMaker, grids: GridMaker) -> None:
    grid = grids((66, 77, 60), (3.0, 3.0, 3.2), axes="PIR")
    image = brains(grid, head=True)[0]
    known = np.ones(grid.shape, bool)
    known[40:, :30] = False
    holed = Volume(np.where(known, image.data, np.nan).astype(np.float32), grid)
    one = source(holed)
    assert one.mask is not None
    np.testing.assert_array_equal(one.mask.data, source(image, Volume(known.astype(np.uint8), grid)).mask.data)  # type: ignore[union-attr]


def test_without_a_mask_it_is_the_voxel_size_that_is_doubted(brains: BrainMaker, grids: GridMaker) -> None:
    brain, _ = brains(grids((25, 31, 22), (6.0, 6.1, 6.2)))
    source = pyramid.AlignmentImage.prepare(brain, None)
    error = pyramid._nothing_to_align(source)
    assert "check the voxel sizes in both headers" in str(error)
    masked = pyramid._nothing_to_align(replace(source, mask=Volume(np.zeros(brain.data.shape), brain.grid)))
    assert "expected a mask that is nonzero over the anatomy" in str(masked)
