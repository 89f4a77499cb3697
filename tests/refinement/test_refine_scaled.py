"""Images and masks at a coarser resolution: what does not count is blended into nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf._core import scale_image
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.rows import level_objective
from lightcrcf.refinement.schedule import Level

SHAPE = (12, 16, 20)


@pytest.mark.parametrize("blocks", [(1, 1, 1), (2, 2, 2), (4, 2, 1)])
def test_means_are_of_the_voxels_that_count(blocks: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    image, mask = rng.random(SHAPE).astype(np.float32), (rng.random(SHAPE) < 0.5).astype(np.float32)
    scaled, counts = scale_image(np.where(mask > 0, image, 1e6).astype(np.float32), mask, blocks)
    d, h, w = (n // b for n, b in zip(SHAPE, blocks, strict=True))
    weights = mask.reshape(d, blocks[0], h, blocks[1], w, blocks[2]).mean(axis=(1, 3, 5))
    sums = (image * mask).reshape(d, blocks[0], h, blocks[1], w, blocks[2]).mean(axis=(1, 3, 5))
    assert counts is not None
    np.testing.assert_allclose(counts, weights, atol=1e-6)
    np.testing.assert_allclose(scaled[weights > 0], (sums / np.maximum(weights, 1e-9))[weights > 0], rtol=1e-5)


@pytest.mark.parametrize("blocks", [(1, 1, 1), (2, 2, 2)])
def test_the_image_goes_on_around_what_counts(blocks: tuple[int, int, int]) -> None:
    """So that interpolation at its edge reads tissue, and what lies further away is 0."""
    mask = np.zeros(SHAPE, np.float32)
    mask[:, :4] = 1
    scaled, counts = scale_image(np.where(mask > 0, np.float32(0.7), np.float32(-50)), mask, blocks)
    first = 4 // blocks[1]
    assert counts is not None
    assert counts.any(axis=(0, 2)).sum() == first
    np.testing.assert_allclose(scaled[:, : first + 3], 0.7, rtol=1e-5)
    assert not scaled[:, first + 3 :].any()


def test_without_a_mask_it_is_the_mean_of_all() -> None:
    image = np.random.default_rng(3).random(SHAPE).astype(np.float32)
    np.testing.assert_array_equal(scale_image(image, None, (1, 1, 1))[0], image)
    assert scale_image(image, None, (2, 2, 2))[1] is None
    whole = np.ones(SHAPE, np.float32)
    for blocks in ((1, 1, 1), (2, 4, 2)):
        np.testing.assert_allclose(scale_image(image, whole, blocks)[0], scale_image(image, None, blocks)[0], rtol=1e-5)


@pytest.mark.parametrize("metric", ["lncc", "mse"])
@pytest.mark.parametrize("scale", [1, 2])
def test_what_masks_leave_out_neither_counts_nor_pulls(scale: int, metric: str) -> None:
    """Whatever is there: no bit of the objective or the force differs."""
    rng = np.random.default_rng(5)
    fixed, moving = (rng.random((24, 28, 20)).astype(np.float32) for _ in range(2))
    mask = np.ones(fixed.shape, np.float32)
    mask[8:16, :10] = 0
    found = []
    for value in (0.0, 1.0, 50.0):
        filled = [np.where(mask > 0, image, np.float32(value)) for image in (fixed, moving)]
        images = Images(filled[0], filled[1], mask, mask)
        objective = level_objective([images], Level(scale, 1, metric=metric), (2, 2, 2))  # type: ignore[arg-type]
        score, force = objective.evaluate(None), np.empty((3, *objective.fixed.shape), np.float32)
        objective.force(force)
        found.append((score, force))
    for score, force in found[1:]:
        assert score == found[0][0]
        np.testing.assert_array_equal(force, found[0][1])


def test_the_background_of_a_masked_image_weighs_less_and_masks_count_as_ever() -> None:
    rng = np.random.default_rng(7)
    fixed, moving = (np.clip(rng.normal(0.4, 0.3, SHAPE), 0, None).astype(np.float32) for _ in range(2))
    mask = np.ones(SHAPE, np.float32)
    mask[:4] = 0
    faint, plain = Level(1, 1, background=0.05), Level(1, 1)
    here = Images(fixed, moving, fixed_mask=mask, masked=(True, False))
    there = Images(fixed, moving, moving_mask=mask, masked=(True, False))
    inside = np.where(fixed > 0, np.float32(1), np.float32(0.05))
    objective = level_objective([here], faint, (2, 2, 2))
    np.testing.assert_array_equal(objective.fixed_mask, mask * inside)
    assert objective.moving_mask is None
    objective = level_objective([there], faint, (2, 2, 2))
    np.testing.assert_array_equal(objective.fixed_mask, inside)
    np.testing.assert_array_equal(objective.moving_mask, mask)
    np.testing.assert_array_equal(level_objective([here], plain, (2, 2, 2)).fixed_mask, mask)


def test_over_many_voxels_noise_averages_out_once_they_are_larger_than_its_own() -> None:
    images = Images(np.ones(SHAPE, np.float32), np.ones(SHAPE, np.float32), noise=Noise(0.04, 0.01, (1.0, 8.0)))
    noise = [level_objective([images], Level(scale, 1), (2, 2, 2)).noise for scale in (1, 2, 4)]
    assert noise == pytest.approx([0.05, 0.005 + 0.01, 0.04 / 64 + 0.01 / 8])
    assert level_objective([images], Level(4, 1), (2, 2, 1)).noise == pytest.approx(0.04 / 16 + 0.01 / 2)


def test_two_masks_of_one_image_do_not_move_it() -> None:
    """One mask ends three voxels further in, on one side: its edge is no anatomy."""
    texture = np.empty((3, 40, 44, 48), np.float32)
    smooth(np.random.default_rng(2).random(texture.shape).astype(np.float32), gaussian_taps((2.0, 2.0, 2.0)), texture)
    image = np.clip(0.5 + 6 * (texture[0] - 0.5), 0.2, 1)
    place = np.stack(np.indices(image.shape)) - np.array([20, 22, 24]).reshape(3, 1, 1, 1)
    radius = np.sqrt((place**2).sum(axis=0))
    fixed = np.where(radius < 16, image, 0).astype(np.float32)
    moving = np.where(radius < np.where(place[1] > 0, 13, 16), image, 0).astype(np.float32)
    schedule = (Level(2, 10, radius=2), Level(1, 8, 0.5, 2.4, 0.74, radius=2, momentum=0.6, background=0.05))
    pulled, spared = (
        np.abs(refine(fixed, moving, None, schedule=schedule, masked=(masked, masked)).displacement)[:, radius < 12]
        for masked in (False, True)
    )
    assert spared.mean() < 0.5 * pulled.mean()
    assert spared.mean() < 0.2
