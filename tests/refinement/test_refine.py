"""The second stage, on small generated images: what it raises, what it must not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates

from lightcrcf._core import count_folds, local_deviations, repair_folds, smooth_folds
from lightcrcf.errors import UsageError
from lightcrcf.evaluation.regularity import folding_percent
from lightcrcf.geometry.determinant import jacobian_determinant
from lightcrcf.geometry.kernels import upsample
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.rows import level_objective
from lightcrcf.refinement.schedule import Level, plan
from lightcrcf.weights.preparation import Preparation

SHAPE = (34, 41, 37)
QUICK = (Level(4, 20, radius=2), Level(2, 15, radius=2), Level(1, 6, radius=2))
Error = Callable[[NDArray, NDArray, NDArray | None], float]
Texture = Callable[..., tuple[NDArray, NDArray, NDArray]]


@pytest.mark.parametrize("metric", ["lncc", "mse"])
def test_it_aligns_from_nothing_without_folds(textured: tuple[NDArray, NDArray], metric: Any, error: Error) -> None:
    schedule = tuple(Level(v.scale, v.steps, radius=v.radius, metric=metric) for v in QUICK)
    refined = refine(*textured, None, schedule=schedule)
    assert refined.displacement.shape == (3, *SHAPE)
    assert error(*textured, refined.displacement) < 0.25 * error(*textured, None)
    assert refined.objective_after > refined.objective_before
    assert refined.folding_percent == folding_percent(refined.displacement) == 0
    assert len(refined.steps) == len(refined.seconds) == 3


@pytest.mark.parametrize("metric", ["lncc", "mse", "explained"])
@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1)])
def test_forces_of_full_resolution_find_a_field_on_half_the_grid(
    textured: tuple[NDArray, NDArray], error: Error, metric: Any, pool: tuple[int, int, int]
) -> None:
    coarse = refine(*textured, None, schedule=QUICK[:2], pool=pool)
    level = Level(2, 8, finer_images=True, force_sigma=0.7, field_sigma=0.3, radius=2, metric=metric)
    found = refine(*textured, coarse.displacement, schedule=(level,), pool=pool)
    assert found.displacement.shape == coarse.displacement.shape
    assert found.scale == 1
    assert found.objective_after > found.objective_before
    assert found.folding_percent == 0
    before, after = (error(*textured, _upsampled(each.displacement, pool)) for each in (coarse, found))
    assert after < 0.8 * before


def _upsampled(displacement: NDArray, pool: tuple[int, int, int]) -> NDArray:
    """Return a displacement at full resolution, by SciPy: means of blocks lie between the voxels."""
    where = [(index - 0.5 * (factor - 1)) / factor for index, factor in zip(np.indices(SHAPE), pool, strict=True)]
    return np.stack(
        [map_coordinates(u, where, order=1, mode="nearest") * n for u, n in zip(displacement, pool, strict=True)]
    )


def test_the_objective_and_its_force_are_those_of_the_upsampled_field() -> None:
    rng = np.random.default_rng(3)
    fixed, moving = (gaussian_filter(rng.random(SHAPE), 1.0).astype(np.float32) for _ in range(2))
    coarse = np.stack([gaussian_filter(rng.normal(0, 4, (17, 21, 19)), 2.0) for _ in range(3)]).astype(np.float32)
    half = level_objective([Images(fixed, moving)], Level(2, 1, finer_images=True), (2, 2, 2))
    full = level_objective([Images(fixed, moving)], Level(1, 1), (2, 2, 2))
    assert half.evaluate(coarse) == full.evaluate(upsample(coarse, SHAPE, (2, 2, 2)))
    averaged, fine = np.empty((3, 17, 21, 19), np.float32), np.empty((3, *SHAPE), np.float32)
    half.force(averaged)
    full.force(fine)
    blocks = np.pad(fine, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="constant", constant_values=np.nan)
    wanted = np.nanmean(blocks.reshape(3, 17, 2, 21, 2, 19, 2), axis=(2, 4, 6))
    np.testing.assert_allclose(averaged, wanted, atol=1e-6 * np.abs(fine).max())


def test_local_contrast_aligns_too(textured: tuple[NDArray, NDArray], error: Error) -> None:
    fixed, moving = textured
    plain = refine(fixed, moving, None, schedule=QUICK)
    both = refine(fixed, moving, None, schedule=tuple(replace(level, contrast=1.0) for level in QUICK))
    assert both.objective_after > both.objective_before
    assert not np.array_equal(both.displacement, plain.displacement)
    assert error(fixed, moving, both.displacement) < 0.35 * error(fixed, moving, None)
    assert both.folding_percent == 0


def test_local_contrast_is_the_deviation_under_a_gaussian(textured: tuple[NDArray, NDArray]) -> None:
    found = local_deviations(textured, (None, None), 0.7)
    wanted = []
    for image in textured:
        mean, square = (gaussian_filter(x, 0.7, mode="nearest", truncate=5) for x in (image, image * image))
        wanted.append(np.sqrt(np.maximum(square - mean * mean, 0)))
    largest = max(d.max() for d in wanted)
    for mine, reference in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, reference / largest, atol=0.04)  # the kernel's Gaussian is cut at 2.6 sigma


def test_a_mask_hides_the_contrast_of_its_edge_too() -> None:
    image = np.full((16, 17, 18), 0.3, np.float32)
    image[5:9, 6:10, 7:11] = 1.2
    mask = (image < 1).astype(np.float32)
    seen, hidden = (local_deviations((image, image), (kept, None), 0.7)[0] for kept in (None, mask))
    assert seen.max() == 1
    assert hidden[mask > 0].max() < 1e-2


def test_the_model_says_whether_local_contrast_counts() -> None:
    asked = plan("default", Preparation(None, contrast=0.5)).schedule
    assert {level.contrast for level in asked} == {0.5}
    assert {level.contrast for level in plan("default", Preparation(None, align=False, contrast=0.5)).schedule} == {0.0}
    with pytest.raises(ValueError, match="not by mse"):
        Level(1, 3, metric="mse", contrast=1.0)


def test_it_starts_from_a_half_resolution_field(textured: tuple[NDArray, NDArray], error: Error) -> None:
    half = refine(*textured, None, schedule=QUICK[:2])
    assert half.displacement.shape == (3, 17, 21, 19)
    kept = half.displacement.copy()
    full = refine(*textured, half.displacement, schedule=QUICK[2:])
    assert error(*textured, full.displacement) < error(*textured, upsample(half.displacement, SHAPE))
    refine(
        *textured, half.displacement, schedule=(replace(QUICK[1], scale=2), QUICK[2])
    )  # steps at the start's own scale
    np.testing.assert_array_equal(half.displacement, kept)


@pytest.mark.parametrize("metric", ["lncc", "mse"])
def test_nothing_to_start_from_is_a_start_of_zeros(textured: tuple[NDArray, NDArray], metric: Any) -> None:
    masks = {
        "fixed_mask": (textured[0] < 0.9).astype(np.float32),
        "moving_mask": (textured[1] < 0.9).astype(np.float32),
    }
    schedule = tuple(replace(level, metric=metric) for level in QUICK if level.scale <= 2)
    zero = np.zeros((3, 17, 21, 19), np.float32)
    one, two = (refine(*textured, start, schedule=schedule, **masks) for start in (None, zero))
    assert one.objective_before == pytest.approx(two.objective_before)
    np.testing.assert_array_equal(one.displacement, two.displacement)


def test_a_schedule_that_begins_coarser_starts_from_the_gist(textured: tuple[NDArray, NDArray]) -> None:
    """Noise in the start is gone from the means."""
    half = refine(*textured, None, schedule=QUICK[:2]).displacement
    noisy = half + np.random.default_rng(2).normal(scale=0.4, size=half.shape).astype(np.float32)
    found = refine(*textured, noisy, schedule=(Level(4, 20, radius=2), Level(2, 0), Level(1, 0))).displacement
    clean, start = upsample(half, SHAPE), upsample(noisy, SHAPE)
    assert np.abs(found - clean).mean() < 0.7 * np.abs(start - clean).mean()


def test_axes_that_are_not_pooled_keep_their_voxels(error: Error, texture: Texture) -> None:
    fixed, moving, _ = texture((34, 42, 9))
    refined = refine(fixed, moving, None, schedule=QUICK[:2], pool=(2, 2, 1))
    assert refined.displacement.shape == (3, 17, 21, 9)
    refined = refine(fixed, moving, refined.displacement, schedule=QUICK[2:], pool=(2, 2, 1))
    assert error(fixed, moving, refined.displacement) < 0.6 * error(fixed, moving, None)


def test_a_start_that_cannot_be_improved_is_given_back(textured: tuple[NDArray, NDArray]) -> None:
    zero = np.zeros((3, 17, 21, 19), np.float32)
    refined = refine(textured[0], textured[0], zero, schedule=(Level(2, 5), Level(1, 5)))
    assert refined.objective_after >= refined.objective_before
    assert np.abs(refined.displacement).max() < 0.05


def test_images_without_structure_move_nothing() -> None:
    flat = np.full(SHAPE, 0.5, np.float32)
    refined = refine(flat, flat, None, schedule=QUICK)
    assert not refined.displacement.any()


def test_it_never_folds_more_than_its_start(textured: tuple[NDArray, NDArray]) -> None:
    rough = np.random.default_rng(5).normal(scale=0.6, size=(3, 17, 21, 19)).astype(np.float32)
    start = folding_percent(upsample(rough, SHAPE))
    assert start > 0
    wild = (Level(1, 20, step=1.0, momentum=0.9, force_sigma=0.3, field_sigma=0.0, radius=1),)
    assert refine(*textured, rough, schedule=wild).folding_percent <= start
    still = np.zeros_like(rough)
    assert refine(*textured, still, schedule=wild).folding_percent == 0


@pytest.mark.parametrize("which", ["fixed_mask", "moving_mask"])
def test_masked_lesions_do_not_pull(textured: tuple[NDArray, NDArray], which: str) -> None:
    place = np.indices(SHAPE)
    lesion = ((place - np.array([17, 20, 14]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 30
    fixed, moving = (image.copy() for image in textured)
    (fixed if which == "fixed_mask" else moving)[lesion] = 1.2
    mask = (((place - np.array([17, 20, 14]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) >= 60).astype(np.float32)
    masks: dict[str, Any] = {which: mask}
    healthy = refine(*textured, None, schedule=QUICK).displacement
    with_mask, without = (refine(fixed, moving, None, schedule=QUICK, **m).displacement for m in (masks, {}))
    core = (slice(None), slice(15, 20), slice(18, 23), slice(12, 17))
    assert np.abs(with_mask - healthy)[core].mean() < 0.5 * np.abs(without - healthy)[core].mean()


def test_two_runs_give_the_same_bytes(textured: tuple[NDArray, NDArray]) -> None:
    one, two = (refine(*textured, None, schedule=QUICK).displacement for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("scales", [(), (1, 2), (3,), (8, 4)])
def test_schedules_that_do_not_fit_are_refused(textured: tuple[NDArray, NDArray], scales: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="schedule"):
        refine(*textured, np.zeros((3, 17, 21, 19), np.float32), schedule=tuple(Level(s, 1) for s in scales))


NETWORK, IDENTITY, NONE = (Preparation(None, refinement_init=start) for start in ("network", "identity", "none"))  # type: ignore[arg-type]
HALF = Preparation(None, refinement_scale=2)


@pytest.mark.parametrize(
    ("preset", "preparation", "steps", "scales", "network"),
    [
        ("fast", NETWORK, None, [1], True),
        ("fast", IDENTITY, None, [1], True),
        ("fast", None, None, [], False),
        ("fast", IDENTITY, 3, [1], True),
        ("fast", None, 3, [8, 4, 2, 1], False),
        ("fast", None, 0, [], False),
        ("default", NETWORK, None, [8, 4, 2, 1], True),
        ("default", IDENTITY, None, [8, 4, 2, 1], False),
        ("default", None, None, [8, 4, 2, 1], False),
        ("default", NONE, None, [], True),
        ("default", HALF, None, [2, 1], True),
        ("accurate", HALF, None, [2, 2, 1], True),
        ("fast", HALF, None, [1], True),
        ("accurate", NONE, 4, [1], True),
        ("accurate", IDENTITY, 0, [], True),
    ],
)
def test_a_plan_starts_where_the_model_says(
    preset: str, preparation: Preparation | None, steps: int | None, scales: list[int], network: bool
) -> None:
    made = plan(preset, preparation, steps=steps)
    assert [level.image_scale for level in made.schedule] == scales
    assert made.network == network
    if steps:
        assert made.schedule[-1].steps == steps
    assert {level.metric for level in made.schedule} <= {"lncc"}


def test_frames_of_one_person_are_compared_by_their_intensities() -> None:
    made = plan("default", Preparation(None, align=False))
    assert {level.metric for level in made.schedule} == {"mse"}
    assert plan("accurate", None).schedule[-1].steps > plan("default", None).schedule[-1].steps


def test_few_folds_of_the_result_are_smoothed_away() -> None:
    field = np.zeros((3, 24, 26, 28), np.float32)
    field[0, 12, 13, 14] = 3.0  # what stands behind it comes before it
    assert count_folds(field) > 0
    relieved, kept = field.copy(), field.copy()
    assert smooth_folds(relieved, 0) == count_folds(relieved) == 0
    assert 0 < relieved[0, 12, 13, 14] < 3.0
    far = np.ones(field.shape, bool)
    far[:, 3:22, 4:23, 5:24] = False
    assert not relieved[far].any()
    assert smooth_folds(kept, count_folds(field)) > 0
    assert np.array_equal(kept, field)


def held_back_twin(candidate: NDArray, field: NDArray) -> NDArray | None:
    """`repair_folds`, looking at all voxels each time."""
    candidate, before = candidate.copy(), jacobian_determinant(field)
    for tries, (share, width) in enumerate([(0.5, 5)] * 3 + [(1.0, 5), (1.0, 7), (1.0, 9)]):
        now = jacobian_determinant(candidate)
        if tries >= 3 and (now > 0).all():
            break
        near = binary_dilation((now <= 0.05) & (now < before), np.ones((width,) * 3))
        candidate[:, near] += np.float32(share) * (field[:, near] - candidate[:, near])
    return candidate if count_folds(candidate) <= count_folds(field) else None


@pytest.mark.parametrize("size", [0.15, 0.3, 0.6, 3.0])
def test_steps_are_held_back_where_they_would_fold(size: float) -> None:
    """Rough fields and rough steps: some fold nowhere, and some must be taken back."""
    rng = np.random.default_rng(3)
    for roughness in (0.0, 0.25):
        field = (roughness * rng.standard_normal((3, 12, 14, 16))).astype(np.float32)
        candidate = field + (size * rng.standard_normal(field.shape)).astype(np.float32)
        expected = held_back_twin(candidate, field)
        accepted = repair_folds(candidate, field, np.empty(field.shape[1:], np.float32))
        assert accepted == (expected is not None)
        if expected is not None:
            np.testing.assert_array_equal(candidate, expected)


def test_a_step_that_folds_somewhere_is_taken_elsewhere() -> None:
    """What three halvings leave folded goes back altogether; the rest of the step stays."""
    field = np.zeros((3, 24, 26, 28), np.float32)
    candidate = np.full_like(field, 0.25)
    candidate[:, 10:14, 11:15, 12:16] += np.random.default_rng(1).normal(scale=30, size=(3, 4, 4, 4)).astype(np.float32)
    assert repair_folds(candidate, field, np.empty(field.shape[1:], np.float32))
    assert count_folds(candidate) == 0
    assert not candidate[:, 10:14, 11:15, 12:16].any()
    assert (candidate[:, :5] == 0.25).all()


def test_momentum_climbs_further_in_as_many_steps(textured: tuple[NDArray, NDArray]) -> None:
    plain, carried = (
        refine(*textured, None, schedule=(Level(4, 20, radius=2), Level(2, 6, step=0.2, momentum=momentum)))
        for momentum in (0.0, 0.5)
    )
    assert plain.steps == carried.steps
    assert carried.objective_after > plain.objective_after


@pytest.mark.parametrize("preset", ["default", "accurate"])
def test_some_contrast_is_looked_at_where_models_ask_for_none(preset: str) -> None:
    schedule = plan(preset, IDENTITY).schedule
    assert {level.contrast for level in schedule if level.scale > 2} == {0.25}
    assert {level.contrast for level in schedule if level.scale <= 2} == {0.0}
    assert {level.contrast for level in plan(preset, replace(NETWORK, contrast=1.0)).schedule} == {1.0}
    assert all(level.contrast > 0 for level in plan(preset, None).schedule)
