"""Several candidates for one field, and how they are merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lightcrcf._core import LevelObjective
from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.gradients import squared_local_correlation
from lightcrcf.geometry.kernels import warp
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.rows import level_objective
from lightcrcf.refinement.schedule import CandidateKind, Level

SHAPE = (34, 41, 37)
QUICK = (Level(4, 20, radius=2), Level(2, 15, radius=2), Level(1, 6, radius=2))
Error = Callable[[NDArray, NDArray, NDArray | None], float]
Texture = Callable[..., tuple[NDArray, NDArray, NDArray]]


def test_of_two_fields_the_better_one_is_taken_in_each_place(texture: Texture) -> None:
    fixed, moving, right = map(contiguous, texture())
    front = np.arange(SHAPE[0]).reshape(-1, 1, 1) < SHAPE[0] // 2
    wrong = right + np.float32(4)
    one, other = (np.where(side, right, wrong).astype(np.float32) for side in (front, ~front))
    objective = level_objective([Images(fixed, moving)], Level(1, 0), (2, 2, 2))
    found, _ = objective.merge([one, other], None)
    tissue = fixed > 0.1
    off = [float(np.abs(u - right)[:, tissue].mean()) for u in (found, one, other)]
    assert off[0] < 0.6 * min(off[1:])  # their mean is no better than they are
    np.testing.assert_allclose(objective.merge([one, one], None)[0], one, atol=1e-5)
    four, _ = objective.merge([wrong, one, other, wrong], None)
    assert float(np.abs(four - right)[:, tissue].mean()) < min(off[1:])


def test_the_first_candidate_is_the_forward_one() -> None:
    level = Level(2, 5, force_sigma=1.5, field_sigma=0.5)
    plain, wide = (1.5, 0.5), (2.2, 0.7)
    assert level.candidates() == (CandidateKind(False, plain),)
    assert [each.sigmas for each in replace(level, alternative_sigmas=wide).candidates()] == [plain, wide]
    every = replace(level, alternative_sigmas=wide, bidirectional=True).candidates()
    assert [(each.backward, each.sigmas) for each in every] == [
        (False, plain), (True, plain), (False, wide), (True, wide)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "most"),
    [
        ({"bidirectional": True}, 1.2),
        ({"alternative_sigmas": (2.2, 0.7)}, 1.2),
        ({"bidirectional": True, "alternative_sigmas": (2.2, 0.7)}, 1.5),
    ],
)
def test_all_candidates_lead_to_one_place(
    textured: tuple[NDArray, NDArray], change: dict[str, Any], most: float, error: Error
) -> None:
    several = tuple(replace(level, **change) if level.scale > 1 else level for level in QUICK)
    one, two = (refine(*textured, None, schedule=schedule) for schedule in (QUICK, several))
    assert two.steps[0] > one.steps[0]
    assert not np.array_equal(two.displacement, one.displacement)
    assert two.folding_percent == 0
    assert error(*textured, two.displacement) < most * error(*textured, one.displacement)
    assert error(*textured, two.displacement) < 0.2 * error(*textured, None)


def test_a_template_field_counts_where_it_is_better(textured: tuple[NDArray, NDArray], error: Error) -> None:
    """Candidates that hardly move, and a field that is right."""
    short = tuple(replace(level, steps=1, step=0.05, bidirectional=level.scale > 1) for level in QUICK)
    right = downsample(refine(*textured, None, schedule=QUICK).displacement, (2, 2, 2))
    alone = refine(*textured, None, schedule=short)
    assert alone.template_accepted is None
    helped = refine(*textured, None, schedule=short, template_field=right)
    assert helped.template_accepted is True
    assert error(*textured, helped.displacement) < 0.5 * error(*textured, alone.displacement)


def test_a_template_field_that_spoils_the_merge_is_left_out(texture: Texture) -> None:
    """Noise leaves little to tell a right field from a wrong one, and what lies between both is wrong too."""
    fixed, moving, right = map(contiguous, texture())
    noisy = moving + np.random.default_rng(1).normal(scale=0.3, size=moving.shape).astype(np.float32)
    objective = level_objective([Images(fixed, noisy)], Level(1, 0), (2, 2, 2))
    for far, expected in ((0.2, True), (8.0, False)):
        found, counts = objective.merge([right, right], right + np.float32(far))
        assert counts is expected
        assert np.array_equal(found, objective.merge([right, right], None)[0]) is not expected


def test_a_merge_below_the_ratio_is_replaced(textured: tuple[NDArray, NDArray]) -> None:
    """Asked for more than a merge can reach, the best candidate goes on as if it had been the only one."""
    smoother = replace(QUICK[1], alternative_sigmas=(2.2, 0.7))
    settling = replace(QUICK[1], steps=2)
    one, joined, asked = (
        refine(*textured, None, schedule=schedule)
        for schedule in ((QUICK[1],), (smoother, settling), (smoother, replace(settling, min_merge_ratio=10.0)))
    )
    np.testing.assert_array_equal(asked.displacement, one.displacement)
    assert asked.objective_after == one.objective_after
    assert not np.array_equal(joined.displacement, one.displacement)
    assert (one.merge_accepted, joined.merge_accepted, asked.merge_accepted) == (None, True, False)


def merged_twin(objective: LevelObjective, moving: NDArray, fields: list[NDArray], radius: int) -> NDArray:
    """Average the fields with weights of a softmax of smoothed local correlations."""
    similar = [squared_local_correlation(objective.fixed, warp(moving[None], u)[0], radius, 1e-6) for u in fields]
    for _ in range(2):
        similar = [gaussian_filter(each, 1.5, mode="nearest", radius=4) for each in similar]
    weights = np.exp((np.stack(similar) - np.max(similar, axis=0)) / 0.2)
    return np.einsum("ndhw,ncdhw->cdhw", weights / weights.sum(axis=0), fields)


def test_a_merge_is_a_softmax_of_smoothed_local_correlations(texture: Texture) -> None:
    fixed, moving, right = map(contiguous, texture())
    fields = [right, np.zeros_like(right), right + np.float32(2)]
    level = Level(1, 0, radius=2)
    objective = level_objective([Images(fixed, moving)], level, (2, 2, 2))
    found, _ = objective.merge(fields, None)
    np.testing.assert_allclose(found, merged_twin(objective, moving, fields, 2), atol=1e-4)


def test_candidates_by_squared_differences_are_merged(textured: tuple[NDArray, NDArray]) -> None:
    levels = [replace(level, metric="mse", alternative_sigmas=(2.2, 0.7)) for level in QUICK[:2]]
    settling = Level(2, 2, metric="mse", min_merge_ratio=0.9)
    assert refine(*textured, None, schedule=(*levels, settling)).merge_accepted is True


def test_candidates_may_change_from_level_to_level(textured: tuple[NDArray, NDArray], error: Error) -> None:
    first, second, last = QUICK
    levels = (
        replace(first, bidirectional=True),
        replace(second, alternative_sigmas=(2.2, 0.7)),
        last,
    )  # as many, other ways
    refined = refine(*textured, None, schedule=levels)
    assert refined.folding_percent == 0
    assert error(*textured, refined.displacement) < 0.2 * error(*textured, None)


def test_the_last_level_may_be_bidirectional(textured: tuple[NDArray, NDArray]) -> None:
    refined = refine(*textured, None, schedule=tuple(replace(level, bidirectional=True) for level in QUICK))
    objective = level_objective([Images(*textured, noise=Noise.of(*textured))], QUICK[-1], (2, 2, 2))
    assert refined.objective_after == pytest.approx(objective.evaluate(refined.displacement))
    assert refined.objective_after > refined.objective_before
