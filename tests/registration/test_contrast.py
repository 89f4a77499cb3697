"""Images of two contrasts: told from ones of one, and registered all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.cli.main import run
from lightcrcf.errors import UsageError
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import upsample
from lightcrcf.options import Options
from lightcrcf.preprocessing.intensity_mapping import conditional_means, map_intensities
from lightcrcf.refinement.acceptance import gains
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.rows import level_objective
from lightcrcf.refinement.schedule import Level, plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.contrast import REMARK, ContrastComparison, compare_contrasts
from lightcrcf.registration.register import register
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import write_affine
from lightcrcf.volumes import Volume
from lightcrcf.weights import store
from lightcrcf_bench.quality.corruptions import Sample, corrupt

Texture = Callable[..., tuple[NDArray, NDArray, NDArray]]
Pair = tuple[Volume, Volume]
Map = Callable[[NDArray], NDArray]

CONTRASTS: dict[str, Map] = {
    "inverted": lambda f: 1.2 - f,
    "parabola": lambda f: 0.2 + 6 * (f - 0.45) ** 2,
    "falling": lambda f: 1.2 * np.exp(-3 * f),
    "arch": lambda f: 0.1 + np.sin(3.5 * f),
}


def in_contrast(image: NDArray, name: str) -> NDArray:
    """The tissue of an image in another contrast."""
    return np.where(image > 0.02, np.clip(CONTRASTS[name](image), 0.05, 1.25), 0).astype(np.float32)


def volume_in_contrast(volume: Volume, name: str) -> Volume:
    data = volume.data.astype(np.float32)
    return replace(volume, data=in_contrast(data / np.float32(data.max()), name))


def working(fixed: NDArray, moving: NDArray) -> WorkingPair:
    grid = Grid(fixed.shape, np.diag([2.0, 2.0, 2.0, 1.0]))  # type: ignore[arg-type]
    volumes = Volume(fixed, grid), Volume(moving, grid)
    return WorkingPair.prepare(*volumes, (None, None), Affine.identity(), None, RegistrationCache())


def noisy(image: NDArray, seed: int, sigma: float = 0.02) -> NDArray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.where(image > 0, np.maximum(image + noise, 0.01), 0).astype(np.float32)


# Shades


@pytest.mark.parametrize("name", CONTRASTS)
def test_another_contrast_is_recoloured(texture: Texture, name: str) -> None:
    fixed, *_ = texture()
    seen = in_contrast(fixed, name)
    tissue = fixed > 0.05
    back = map_intensities(seen, conditional_means(fixed, seen))
    assert np.corrcoef(back[tissue], fixed[tissue])[0, 1] > (0.98 if name == "inverted" else 0.5)


def test_shades_are_learned_where_voxels_count(texture: Texture) -> None:
    fixed, *_ = texture()
    seen, weight = in_contrast(fixed, "inverted"), np.ones(fixed.shape, np.float32)
    corrupted = seen.copy()
    corrupted[:10], weight[:10] = 0.3, 0
    np.testing.assert_allclose(
        map_intensities(seen, conditional_means(fixed, corrupted, weight))[12:],
        map_intensities(seen, conditional_means(fixed, seen))[12:],
        atol=0.05,
    )
    nothing = np.zeros_like(fixed)
    assert np.isfinite(conditional_means(nothing, nothing)).all()


# What is decided


@pytest.mark.parametrize("name", ["inverted", "falling"])
def test_two_contrasts_are_told_from_one(texture: Texture, name: str) -> None:
    moving, fixed, _ = texture()
    pair = working(noisy(fixed, 1), noisy(in_contrast(moving, name), 2))
    assert compare_contrasts(pair).two_contrasts


def head(seed: int) -> tuple[NDArray, NDArray]:
    """Return a ball of 144 mm with coarse texture, and how deep its voxels lie, on a grid of 4 mm."""
    coarse = np.random.default_rng(seed).uniform(0.2, 0.9, (14, 14, 14)).astype(np.float32)
    data = np.repeat(np.repeat(np.repeat(coarse, 3, 0), 3, 1), 3, 2)
    places = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in data.shape), indexing="ij"))
    depth = 72 - 4 * np.linalg.norm(places, axis=0)
    return np.where(depth > 0, data, 0).astype(np.float32), depth


@pytest.mark.parametrize(("thickness_mm", "told"), [(28.0, True), (100.0, False)])
def test_what_lies_below_the_skin_tells_the_contrast_of_heads(thickness_mm: float, told: bool) -> None:
    fixed, depth = head(0)
    moving = np.where(depth > thickness_mm, in_contrast(fixed, "inverted"), fixed)
    grid = Grid(fixed.shape, np.diag([4.0, 4.0, 4.0, 1.0]))
    volumes = Volume(noisy(fixed, 1), grid), Volume(noisy(moving, 2), grid)
    pair = WorkingPair.prepare(*volumes, (None, None), Affine.identity(), None, RegistrationCache())
    assert not compare_contrasts(pair).two_contrasts
    assert compare_contrasts(pair, heads=True).two_contrasts == told


def test_a_head_too_small_to_have_a_deep_part_is_compared_whole(texture: Texture) -> None:
    moving, fixed, _ = texture()
    pair = working(noisy(fixed, 1), noisy(in_contrast(moving, "inverted"), 2))
    assert compare_contrasts(pair, heads=True) == compare_contrasts(pair)


@pytest.mark.parametrize("change", [lambda f: f, lambda f: 0.4 * f, np.square, lambda f: 1.25 * np.sqrt(f)])
def test_one_contrast_stays_one_whatever_its_scale_and_noise(texture: Texture, change: Map) -> None:
    moving, fixed, _ = texture()
    for sigma in (0.0, 0.05):
        found = compare_contrasts(
            working(noisy(fixed, 1, sigma), noisy(change(np.maximum(moving, 0)).astype(np.float32), 2, sigma))
        )
        assert not found.two_contrasts
        assert found.plain > 0.9 * found.mapped > 0.2


def test_images_that_have_nothing_in_common_are_left_to_the_usual_way(texture: Texture) -> None:
    (fixed, *_), (moving, *_) = texture(), texture(seed=9)
    noise = np.random.default_rng(0).random(fixed.shape).astype(np.float32)
    assert not compare_contrasts(working(noise + np.float32(0.1), moving)).two_contrasts
    assert not ContrastComparison(0.0, 0.0).two_contrasts


@pytest.mark.parametrize("value", ["both", "", None, 1])
def test_other_words_are_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"similarity: expected one of auto, same, any, got .*; correct the name"):
        Options(similarity=value).check()


def test_any_needs_a_model_for_it_or_none(pair: Pair, coarse_model: Path) -> None:
    for model in ("auto", "none", "brain"):
        Options(similarity="any", model=model).check()
    for refused in (lambda: Options(similarity="any", model="hippocampus-mr").check(),
                    lambda: register(*pair, model=coarse_model, similarity="any")):  # fmt: skip
        with pytest.raises(UsageError, match=r"similarity: expected with any, no model or one that runs.*, got .*"):
            refused()


@pytest.mark.parametrize("command", ["register", "batch", "label", "bids"])
def test_commands_take_three_words(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "register": ["--fixed", "a.nii", "--moving", "b.nii"],
        "batch": ["--to", "a.nii", "b.nii"],
        "label": ["a.nii", "--atlases", str(tmp_path)],
        "bids": [str(tmp_path), str(tmp_path / "out"), "participant"],
    }[command]
    out = [] if command == "bids" else ["--out", str(tmp_path / "out")]
    assert run([command, *files, *out, "--similarity", "other"]) == 2
    assert "--similarity" in capsys.readouterr().err


# The refinement


@pytest.mark.parametrize("preset", ["default", "accurate"])
def test_a_plan_across_contrasts_explains_at_all_levels(preset: str) -> None:
    made = plan(preset, None, across=True)
    assert {level.metric for level in made.schedule} == {"explained"}
    assert (made.schedule[-1].image_scale, made.schedule[-1].scale) == (1, 2)
    assert not made.network
    assert not made.template
    assert plan("fast", None, across=True).schedule == ()
    smoother = plan(preset, None, across=True, smoothness=2.0).schedule
    assert all(a.volume >= b.volume and a.force > b.force for a, b in zip(smoother, made.schedule, strict=True))


@pytest.mark.parametrize(("name", "swapped"), [*((name, False) for name in CONTRASTS), ("inverted", True)])
def test_a_known_deformation_is_found_across_contrasts(texture: Texture, name: str, swapped: bool) -> None:
    """Whichever image is in another contrast; but what is one shade in the fixed one cannot be told apart."""
    moving, fixed, right = texture()
    pair = (in_contrast(fixed, name), moving) if swapped else (fixed, in_contrast(moving, name))
    found = refine(
        *(noisy(image, n) for n, image in enumerate(pair)), None, schedule=plan("default", None, across=True).schedule
    )
    tissue = fixed > 0.1
    left = np.linalg.norm(upsample(found.displacement, fixed.shape, (2, 2, 2)) - right, axis=0)[tissue].mean()
    assert left < (0.8 if name == "falling" else 0.55) * np.linalg.norm(right, axis=0)[tissue].mean()
    assert found.objective_after > found.objective_before
    assert found.folding_percent == 0
    assert found.metric == "explained"


def test_masked_voxels_do_not_pull_across_contrasts(texture: Texture) -> None:
    """What a mask leaves out may hold anything."""
    moving, fixed, _ = texture()
    seen, mask = in_contrast(moving, "parabola"), np.ones(fixed.shape, np.float32)
    mask[8:16, 10:20, 10:20] = 0
    corrupted = np.where(mask > 0, fixed, np.float32(1.1))
    schedule = plan("default", None, across=True).schedule
    clean, masked = (
        refine(image, seen, None, schedule=schedule, fixed_mask=mask).displacement for image in (fixed, corrupted)
    )
    np.testing.assert_allclose(masked, clean, atol=1e-3)


def test_a_moved_mask_is_part_of_what_is_explained(texture: Texture) -> None:
    moving, fixed, right = texture()
    mask = np.ones(fixed.shape, np.float32)
    mask[:, :, :12] = 0
    images = Images(fixed, in_contrast(moving, "arch"), None, mask)
    used, fresh = (level_objective([images], Level(1, 1, metric="explained"), (2, 2, 2)) for _ in range(2))
    moved = contiguous(right + np.float32(3))
    before = used.evaluate(None)
    after = used.evaluate(moved)
    assert after == fresh.evaluate(moved) != before  # windows count anew where the mask has moved
    force = np.empty_like(moved)
    used.force(force)
    assert np.isfinite(force).all()
    assert force.any()


@pytest.mark.parametrize("name", ["parabola", "falling", "arch"])
def test_only_a_deformation_that_explains_more_is_made(texture: Texture, name: str) -> None:
    moving, fixed, right = texture()
    seen = in_contrast(moving, name)
    pair = working(noisy(fixed, 1), noisy(seen, 2))
    start = np.round(pair.images[0].grid.voxels(pair.grid.world((0, 0, 0)))).astype(int)
    sizes = zip(pair.grid.shape, start, right.shape[1:], strict=True)
    places = [np.clip(np.arange(n) + first, 0, size - 1) for n, first, size in sizes]
    field = np.ascontiguousarray(right[(slice(None), *np.ix_(*places))])
    assert gains([pair], field, ["explained"])
    assert not gains([pair], -field, ["explained"])
    same = working(noisy(fixed, 1), noisy(in_contrast(fixed, name), 2))
    for share in (0.0, 0.02, 0.3, 1.0):
        assert not gains([same], np.float32(share) * field, ["explained"])


# From end to end


@pytest.fixture(scope="module")
def other(pair: Pair) -> Pair:
    """The moving brain of the generated pair in another contrast."""
    return pair[0], volume_in_contrast(pair[1], "falling")


@pytest.fixture(scope="module")
def aligned(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The affine of both brains in one contrast, as a file."""
    path = tmp_path_factory.mktemp("affine") / "affine.tfm"
    write_affine(path, register(*pair, model="none", preset="fast").transform.after)
    return str(path)


def test_auto_takes_two_contrasts_for_two(pair: Pair, other: Pair, aligned: str) -> None:
    """Then it does what `any` does, and says so."""
    auto, asked = (register(*other, init=aligned, similarity=each) for each in ("auto", "any"))  # type: ignore[arg-type]
    for found in (auto, asked):
        seen = found.record.similarity
        assert seen.contrasts == "any"
        assert seen.correlation < 0.87 * seen.correlation_recoloured
        assert found.record.model.name == "brain"
        assert found.record.engine is not None
        assert found.record.refinement.objective == "explained"
        assert found.quality.limits == "brain, two contrasts"
        assert found.quality.remarks == ()
        assert found.metrics.correlation_after > found.metrics.correlation_affine
    assert auto.transform.field is not None
    assert asked.transform.field is not None
    np.testing.assert_array_equal(auto.transform.field.displacement, asked.transform.field.displacement)
    usual = register(*pair, init=aligned, model="none").transform.field
    assert usual is not None
    here = auto.transform.field.grid.world(np.argwhere(np.ones(auto.transform.field.grid.shape, bool)))
    found, expected = (field.points(here) - here for field in (auto.transform.field, usual))
    assert np.abs(found - expected).mean() < 0.6 * np.abs(expected).mean()


def test_brains_of_two_contrasts_may_pass(pair: Pair, aligned: str) -> None:
    """By limits of their own, where there is a deformation; an affine alone was not measured."""
    inverted = volume_in_contrast(pair[1], "inverted")
    found, quick = (register(pair[0], inverted, init=aligned, preset=preset) for preset in ("default", "fast"))
    alone = register(pair[0], inverted, init=aligned, model="none", preset="fast")
    for each in (found, quick):
        assert (each.quality.verdict, each.quality.limits) == ("pass", "brain, two contrasts")
    assert (alone.quality.verdict, alone.quality.limits) == ("check", None)
    assert REMARK in alone.quality.remarks


@pytest.mark.parametrize("kind", ["half missing", "noise", "shuffled", "turned, no affine"])
def test_spoiled_brains_of_two_contrasts_do_not_pass(pair: Pair, kind: str) -> None:
    inverted = volume_in_contrast(pair[1], "inverted")
    given = Sample(pair[0], inverted, pair[0], inverted, {})
    corrupted = corrupt(kind, given, np.random.default_rng(1))
    assert register(corrupted.fixed, corrupted.moving, **corrupted.options).quality.verdict != "pass"


def test_auto_looks_and_records_what_it_saw(pair: Pair) -> None:
    found = register(*pair, preset="fast", model="none")
    seen = found.record.similarity
    assert seen.contrasts == "same"
    assert seen.correlation > 0.9 * seen.correlation_recoloured > 0.1


def test_one_contrast_gives_the_same_with_auto_and_same(pair: Pair, coarse_model: Path) -> None:
    for model in ("none", str(coarse_model)):
        one, two = (register(*pair, model=model, similarity=each) for each in ("auto", "same"))  # type: ignore[arg-type]
        assert one.transform.field is not None
        assert two.transform.field is not None
        np.testing.assert_array_equal(one.transform.field.displacement, two.transform.field.displacement)
        assert one.metrics == two.metrics


def test_a_named_model_is_used_whatever_the_contrast(pair: Pair, coarse_model: Path) -> None:
    assert store.load(coarse_model).name == "coarse"
    found = register(*pair, model=coarse_model, preset="fast")
    assert found.record.model.name == "coarse"
    assert found.record.similarity.contrasts == "same"
