"""One level of the alignment: its system of equations, its motions, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

from lightcrcf.affine.gauss_newton import Fit, affine_system, correlations, exponential, fit, generators
from lightcrcf.affine.pyramid import AlignmentImage, LevelPair, build_pyramids, weight_by_agreement
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]
START = np.array([[1.02, 0.05, 0, 6.0], [-0.04, 0.97, 0.03, -5.0], [0.02, 0, 1.03, 4.0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def middle(pair: tuple[Volume, Volume]) -> LevelPair:
    fixed, moving = (AlignmentImage.prepare(volume, None) for volume in pair)
    return build_pyramids(fixed, moving)[1]


def test_the_exponential_is_that_of_scipy() -> None:
    step = np.tensordot(np.random.default_rng(0).normal(size=12) * 20, generators(np.array([3.0, -5.0, 9.0]), 60.0), 1)
    np.testing.assert_allclose(exponential(step), expm(step), rtol=1e-12, atol=1e-12)


def test_motions_turn_about_the_centre_and_cannot_mirror() -> None:
    centre = np.array([12.0, -7.0, 30.0])
    units = generators(centre, 50.0)
    for unit in units[3:]:
        np.testing.assert_allclose(exponential(40 * unit)[:3] @ [*centre, 1], centre, atol=1e-9)
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert np.linalg.det(exponential(np.tensordot(rng.normal(size=12) * 100, units, 1))) > 0


@pytest.mark.parametrize("family", ["translation", "rigid", "similarity", "affine"])
def test_every_family_lowers_the_cost(middle: LevelPair, family: str) -> None:
    start = fit(middle, Fit(START), family, iterations=0, tolerance_mm=0.1)
    found = fit(middle, start, family, iterations=8, tolerance_mm=0.1)
    assert found.cost < start.cost
    linear = np.linalg.solve(START[:3, :3].T, found.matrix[:3, :3].T).T
    kept = {"translation": np.eye(3), "rigid": linear.T @ linear, "similarity": linear @ linear.T}
    if family == "translation":
        np.testing.assert_allclose(linear, np.eye(3), atol=1e-9)
    elif family != "affine":
        gram = kept[family]
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(3), atol=1e-9)
        assert family == "similarity" or gram[0, 0] == pytest.approx(1)


def test_a_step_goes_down_the_slope_of_the_cost(middle: LevelPair) -> None:
    """The system's right-hand side is minus half the cost's gradient: checked by moving the start."""
    units = generators(middle.fixed.centroid_mm, middle.fixed.radius_mm)
    system = affine_system(middle, START, units, prior=0.1)
    slope = np.empty(12)
    for n in range(12):
        ends = [affine_system(middle, exponential(s * 0.05 * units[n]) @ START, units, prior=0.1).cost for s in (-1, 1)]
        slope[n] = (ends[1] - ends[0]) / 0.1
    direction = -2 * system.descent
    assert slope @ direction / (np.linalg.norm(slope) * np.linalg.norm(direction)) > 0.99
    np.testing.assert_allclose(slope, direction, atol=0.1 * np.abs(slope).max())


def test_the_prior_pulls_towards_rigid(middle: LevelPair) -> None:
    def strain(prior: float) -> float:
        found = fit(middle, Fit(np.eye(4)), "affine", iterations=15, tolerance_mm=0.01, prior=prior)
        return float(np.abs(np.log(np.linalg.svd(found.matrix[:3, :3])[1])).max())

    assert strain(100.0) < 0.2 * strain(0.0)


def test_no_overlap_and_no_contrast_cost_infinity(middle: LevelPair) -> None:
    far = np.eye(4)
    far[:3, 3] = 1000
    apart = replace(
        middle, fixed=replace(middle.fixed, blank_outside=False), moving=replace(middle.moving, blank_outside=False)
    )
    assert fit(apart, Fit(far), "rigid", iterations=5, tolerance_mm=0.1).cost == np.inf
    assert correlations(apart, far[None]).tolist() == [0.0]
    flat = replace(middle, moving=replace(middle.moving, image=np.ones_like(middle.moving.image)))
    assert fit(flat, Fit(np.eye(4)), "rigid", iterations=5, tolerance_mm=0.1).cost == np.inf
    huge = fit(middle, Fit(np.diag([3.0, 3.0, 3.0, 1.0])), "affine", iterations=5, tolerance_mm=0.1)
    assert huge.cost == np.inf


def test_a_pair_and_its_swap_agree(middle: LevelPair) -> None:
    swapped = replace(middle, fixed=middle.moving, moving=middle.fixed)
    there = correlations(middle, START[None])
    np.testing.assert_allclose(there, correlations(swapped, np.linalg.inv(START)[None]), rtol=1e-12)


def test_what_disagrees_is_trusted_less(brains: BrainMaker, grids: GridMaker) -> None:
    image = brains(grids((50, 62, 44), (3.0, 3.0, 3.0)))[0]
    world = image.grid.world(np.moveaxis(np.indices(image.grid.shape), 0, -1))
    there: NDArray[np.bool_] = np.linalg.norm(world - (30, 20, 0), axis=-1) < 22
    swapped = np.where(there & (image.data > 0), 900 - image.data, image.data)
    sources = AlignmentImage.prepare(image, None), AlignmentImage.prepare(Volume(swapped, image.grid), None)
    pair = build_pyramids(*sources)[2].normalise_locally()
    weight = weight_by_agreement(pair, np.eye(4)).fixed.samples
    order = image.grid.canonical()
    inside = (pair.fixed.samples > 0) & order.array(there)
    outside = (pair.fixed.samples > 0) & ~order.array(there)
    assert weight[inside].mean() < 0.6 * weight[outside].mean()
