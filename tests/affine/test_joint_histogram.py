"""Recolouring, information, and whether two images have one contrast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import Fit, affine_system, correlations, exponential, fit, generators
from lightcrcf.affine.joint_histogram import (
    TOP,
    ContrastSimilarity,
    conditional_mean,
    histogram,
    information,
    map_intensities,
    normalised_mutual_information,
)
from lightcrcf.affine.pyramid import AlignmentImage, LevelPair, build_pyramids
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]
HERE = np.eye(4)
START = np.array([[1.01, 0.03, 0, 3.0], [-0.02, 0.98, 0.02, -2.5], [0.02, 0, 1.01, 2.0], [0, 0, 0, 1]])


def in_other_contrast(image: Volume, labels: Volume) -> Volume:
    """Fluid bright, cortex between, white matter dark: no function of a T1 turns monotonically into it."""
    return Volume((np.array([0, 110, 60, 200])[labels.data] + image.data % 7).astype(np.int16), image.grid, "other")


@pytest.fixture(scope="module")
def same(brains: BrainMaker, grids: GridMaker) -> LevelPair:
    image = brains(grids((47, 60, 43), (3.0, 3.0, 3.0)))[0]
    return build_pyramids(*(AlignmentImage.prepare(v, None) for v in (image, Volume(image.data // 2 + 9, image.grid))))[
        2
    ]


@pytest.fixture(scope="module")
def other(brains: BrainMaker, grids: GridMaker) -> LevelPair:
    image, labels = brains(grids((47, 60, 43), (3.0, 3.0, 3.0)))
    return build_pyramids(*(AlignmentImage.prepare(v, None) for v in (image, in_other_contrast(image, labels))))[2]


def test_the_conditional_mean_is_that_of_the_samples() -> None:
    rng = np.random.default_rng(0)
    joint = rng.random((24, 24)) * np.exp(-(np.subtract.outer(np.arange(24), 23 - np.arange(24)) ** 2) / 8)
    found, centres = conditional_mean(joint), np.linspace(0, TOP, 24)
    count, total = joint.sum(axis=0), centres @ joint
    inner = slice(1, -1)
    smooth = [(x[:-2] + 2 * x[1:-1] + x[2:]) / 4 for x in (count, total)]
    np.testing.assert_allclose(found[inner], smooth[1] / smooth[0], rtol=1e-3)
    assert np.all(np.diff(found) < 0)


def test_empty_bins_take_the_mean_of_all() -> None:
    joint = np.zeros((24, 24))
    joint[6, :4] = 1
    assert conditional_mean(joint) == pytest.approx(np.full(24, 6 * TOP / 23))
    assert np.all(np.isfinite(conditional_mean(np.zeros((24, 24)))))


def test_one_contrast_and_others_are_told_apart(same: LevelPair, other: LevelPair) -> None:
    alike = ContrastSimilarity.of(same, same.normalise_locally(), HERE)
    assert alike.same_contrast
    assert alike.plain > 0.95
    assert alike.ratio > 0.95
    unlike = ContrastSimilarity.of(other, other.normalise_locally(), HERE)
    assert not unlike.same_contrast
    assert unlike.mapped > 0.8 > 0.3 > unlike.plain


def test_an_inverted_contrast_has_a_negative_ratio(same: LevelPair) -> None:
    moving = replace(same.moving, image=np.float32(1) - same.moving.image)
    inverted = ContrastSimilarity.of(
        replace(same, moving=moving), replace(same, moving=moving).normalise_locally(), HERE
    )
    assert inverted.ratio < 0
    assert not inverted.same_contrast


def test_recoloured_images_resemble_each_other_and_keep_a_dark_background(other: LevelPair) -> None:
    alike = map_intensities(other, HERE)
    assert alike.mapped is not None
    assert alike.fixed is other.fixed
    assert alike.moving is other.moving
    assert correlations(alike, HERE[None])[0] > 0.9
    for level, was in zip(alike.mapped, (other.fixed, other.moving), strict=True):
        assert np.all(level.image[was.image == 0] == 0)
        assert level.samples is was.samples


def test_a_pair_and_its_swap_agree(other: LevelPair) -> None:
    back = np.linalg.inv(START)
    swapped = replace(other, fixed=other.moving, moving=other.fixed)
    np.testing.assert_allclose(histogram(other, START), histogram(swapped, back).T, atol=1e-12)
    assert information(other, START) == pytest.approx(information(swapped, back), abs=1e-12)
    there = correlations(map_intensities(other, START), START[None])
    np.testing.assert_allclose(there, correlations(map_intensities(swapped, back), back[None]), rtol=1e-6)


def test_information_is_largest_in_place_and_fades_without_overlap(other: LevelPair) -> None:
    shifted, far = np.eye(4), np.eye(4)
    shifted[:3, 3], far[:3, 3] = 6, 900
    assert information(other, HERE) > 1.1 * information(other, shifted)
    apart = replace(
        other, fixed=replace(other.fixed, blank_outside=False), moving=replace(other.moving, blank_outside=False)
    )
    assert information(apart, far) == 1.0


def test_information_of_histograms() -> None:
    independent = np.outer([0.2, 0.3, 0.5], [0.6, 0.4])
    assert normalised_mutual_information(independent) == pytest.approx(1)
    assert normalised_mutual_information(np.diag([0.2, 0.3, 0.5])) == pytest.approx(2)
    assert normalised_mutual_information(np.array([[3.0]])) == 0
    assert normalised_mutual_information(np.zeros((3, 3))) == 0


def test_a_step_goes_down_the_slope_of_the_information(other: LevelPair) -> None:
    """The right-hand side is minus the gradient of the cost, but for what the tables themselves move."""
    units = generators(other.moving.centroid_mm, other.moving.radius_mm)
    system = affine_system(other, START, units, 0.1, "information")
    slope = np.empty(12)
    for n in range(12):
        nearby = [exponential(s * 0.05 * units[n]) @ START for s in (-1, 1)]
        ends = [affine_system(other, matrix, units, 0.1, "information").cost for matrix in nearby]
        slope[n] = (ends[1] - ends[0]) / 0.1
    strain_free = affine_system(other, START, units, 0.0, "information").descent
    prior = system.descent - strain_free
    direction = -(strain_free + 2 * prior)
    assert slope @ direction / (np.linalg.norm(slope) * np.linalg.norm(direction)) > 0.98
    assert np.all(np.linalg.eigvalsh(system.hessian) > 0)


@pytest.mark.parametrize("family", ["rigid", "similarity", "affine"])
def test_fisher_scoring_finds_the_place(other: LevelPair, family: str) -> None:
    start = Fit(exponential(np.tensordot([2.0, -2, 1.5, 2, -1, 2], generators(np.zeros(3), 60.0)[:6], 1)))
    start_cost = affine_system(other, start.matrix, np.zeros((0, 4, 4)), 0.0, "information").cost
    found = fit(other, start, family, iterations=15, tolerance_mm=0.02, prior=0.05, measure="information")
    points = other.fixed.grid.world(np.argwhere(other.fixed.samples > 0)[::50])
    moved = points @ found.matrix[:3, :3].T + found.matrix[:3, 3]
    assert np.linalg.norm(moved - points, axis=1).max() < 0.75  # a quarter of a voxel
    assert found.cost < start_cost - 0.1


def test_nothing_to_compare_costs_infinity(other: LevelPair) -> None:
    far: NDArray[np.float64] = np.eye(4)
    far[:3, 3] = 1000
    apart = replace(
        other, fixed=replace(other.fixed, blank_outside=False), moving=replace(other.moving, blank_outside=False)
    )
    found = fit(apart, Fit(far), "rigid", iterations=5, tolerance_mm=0.1, measure="information")
    assert found.cost == np.inf
