"""Cases of good and corrupted registrations, the limits that come of them, and what is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.quality.thresholds import THRESHOLDS, thresholds_for
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.quality import calibration as calibration
from lightcrcf_bench.quality.anatomies import ANATOMIES, MIXTURES, anatomy_of, loaded
from lightcrcf_bench.quality.corruptions import KINDS, Sample, corrupt
from lightcrcf_bench.quality.limits import evaluate, fit, is_good, mixtures_text

Pair = tuple[Volume, Volume]
GOOD_DICE = {"hippocampus": 0.65}


def case(number: int, kind: str = "good", *, split: str = "train", dice: float = 0.8, **figures: Any) -> dict[str, Any]:
    shown = {"overlap_after": 0.95, "correlation_affine": 0.3, "correlation_after": 0.7, "correlation_global": 0.95}
    return {
        "number": number, "anatomy": "hippocampus", "split": split, "kind": kind, "fixed": "a", "moving": "b",
        "preset": "default", "model": "hippocampus-mr-labels", "refused": None, "dice": dice,
        "figures": shown | figures, "remarks": [],
    }  # fmt: skip


def good_cases() -> list[dict[str, Any]]:
    return [case(n, correlation_after=0.6 + 0.02 * n, overlap_after=0.95 + 0.002 * n) for n in range(11)]


def sample(pair: Pair) -> Sample:
    labels = [Volume((v.data > 300).astype(np.uint8), v.grid, f"labels of {v.source}") for v in pair]
    return Sample(*pair, *labels, {})


@pytest.mark.parametrize("kind", KINDS)
def test_spoiling_changes_the_moving_side_only_and_is_the_same_every_time(kind: str, pair: Pair) -> None:
    given = sample(pair)
    kept = given.moving.data.copy()
    first, second = (corrupt(kind, given, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(given.moving.data, kept)
    assert first.fixed is given.fixed
    np.testing.assert_array_equal(first.moving.data, second.moving.data)
    changed = first.moving.data.shape != kept.shape or not np.array_equal(first.moving.data, kept)
    assert changed or not first.moving.grid.isclose(given.moving.grid)
    assert first.moving.grid.isclose(first.moving_labels.grid)
    assert first.moving.source.startswith("corrupted ")


def test_a_mirrored_anatomy_has_left_and_right_exchanged(pair: Pair) -> None:
    given = sample(pair)
    mirrored = corrupt("mirrored", given, np.random.default_rng(0))
    canonical = given.moving.canonical()
    np.testing.assert_array_equal(mirrored.moving.data, canonical.data[::-1])
    assert mirrored.moving.grid.isclose(canonical.grid)


def test_thin_slabs_are_shuffled_too(pair: Pair) -> None:
    moving = pair[1]
    slab = np.ascontiguousarray(moving.data[:, :, 8:13])
    thin = Volume(slab, moving.grid.crop((0, 0, 8), (slab.shape[0], slab.shape[1], slab.shape[2])))
    shuffled = corrupt("shuffled", sample((pair[0], thin)), np.random.default_rng(1)).moving.data
    assert np.mean(shuffled != slab) > 0.1  # most of it is air
    np.testing.assert_array_equal(np.sort(shuffled, axis=None), np.sort(slab, axis=None))


def test_turned_cases_are_not_aligned_and_turn_by_sixty_degrees(pair: Pair) -> None:
    turned = corrupt("turned, no affine", sample(pair), np.random.default_rng(1))
    assert turned.options == {"init": "none"}
    turn = turned.moving.grid.directions @ np.linalg.inv(pair[1].grid.directions)
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(60)


def test_limits_come_from_training_persons_and_leave_some_room() -> None:
    cases = [*good_cases(), case(50, split="val", correlation_after=0.1), case(51, "noise", correlation_after=0.1)]
    limits = fit(cases, GOOD_DICE)
    assert set(limits) == {"hippocampus-mr-labels"}
    assert limits["hippocampus-mr-labels"]["overlap"] == pytest.approx(0.95 - 6 * 0.01)
    assert (
        limits["hippocampus-mr-labels"]["correlation"] == THRESHOLDS["correlation"].check
    )  # no wider than for any image
    assert "folding_percent" not in limits["hippocampus-mr-labels"]
    assert fit(good_cases()[:7], GOOD_DICE) == {}


def test_what_good_cases_reach_is_no_further_limited_by_what_any_images_may_have() -> None:
    cases = [case(n, affine_shears=[0.0, 0.0, 0.40 + 0.01 * n]) for n in range(11)]
    assert fit(cases, GOOD_DICE)["hippocampus-mr-labels"]["affine_shear"] == pytest.approx(0.5 + 6 * 0.05)


def test_heads_without_a_model_have_limits_of_their_own() -> None:
    heads = [{**found, "model": None, "limits": "head"} for found in good_cases()]
    others = [{**found, "model": None, "limits": None} for found in good_cases()]
    assert set(fit([*heads, *others], GOOD_DICE)) == {"head"}


def test_pairs_of_a_mixture_make_the_limits_of_its_group_only() -> None:
    """Heads of two contrasts may seem to be of one; they are judged by its limits, and leave them as they are."""
    heads = [{**found, "model": None, "limits": "head"} for found in good_cases()]
    seem = [{**found, "anatomy": "head contrasts", "figures": {"overlap_after": 0.86}} for found in heads]
    are = [{**found, "limits": "head, two contrasts"} for found in seem]
    success = GOOD_DICE | {"head contrasts": 0.45}
    assert fit([*heads, *seem], success) == fit(heads, success)
    assert set(fit([*heads, *are], success)) == {"head", "head, two contrasts"}


def test_mixtures_are_told_with_and_without_mirrored_ones() -> None:
    counts = {key: {"cases": 0, "not_passed": 0} for key in ("spoiled but right", "failed by themselves")}
    found = counts | {
        "good": {"cases": 4, "passed": 3},
        "bad": {"cases": 5, "not_passed": 4},
        "by kind": {"mirrored": {"cases": 1, "not_passed": 0}, "noise": {"cases": 4, "not_passed": 4}},
    }
    text = mixtures_text({"measured": "2026-01-02", "mixtures": {"ct": {"train": found, "val": found}}})
    assert "| ct | other | 3 of 4 (75.0 %) | 4 of 5 (80.0 %) | 4 of 4 (100.0 %) |" in text


def test_what_went_wrong_by_itself_is_no_good_case() -> None:
    assert is_good(case(0), GOOD_DICE)
    assert not is_good(case(0, dice=0.5), GOOD_DICE)
    assert not is_good(case(0, "noise"), GOOD_DICE)


def test_the_summary_counts_good_bad_and_failed_cases_of_one_split() -> None:
    cases = [
        case(0, split="val"),
        case(1, split="val", correlation_after=0.65),
        case(2, "noise", split="val", dice=0.2, correlation_after=0.31),
        case(3, "mirrored", split="val", dice=0.1),
        case(4, split="val", dice=0.2),
        {**case(5, "shuffled", split="val"), "refused": "no tissue in common", "figures": {}, "dice": None},
        case(6),
        case(7, "noise", split="val"),
        case(8, "noise", split="val", correlation_after=0.31),
    ]
    limits = {"hippocampus-mr-labels": {"correlation": 0.6}}
    assert evaluate(cases, limits, "val", GOOD_DICE) == {
        "good": {"cases": 2, "passed": 2},
        "bad": {"cases": 3, "not_passed": 2},
        "spoiled but right": {"cases": 2, "not_passed": 1},
        "failed by themselves": {"cases": 1, "not_passed": 0},
        "by kind": {
            "mirrored": {"cases": 1, "not_passed": 0},
            "noise": {"cases": 1, "not_passed": 1},
            "shuffled": {"cases": 1, "not_passed": 1},
        },
    }


@pytest.mark.data
def test_half_of_the_cases_are_spoiled_in_every_way_and_splits_never_mix(data: Path) -> None:
    planned = calibration.plans(data, 240)
    assert planned == calibration.plans(data, 240)
    kinds = Counter(plan.kind for plan in planned)
    assert kinds.pop("good") == 240
    assert set(kinds) == {"other anatomy", *KINDS}
    assert min(kinds.values()) >= 30
    splits = json.loads((data / "splits.json").read_text())
    for plan in planned:
        subjects = splits[plan.anatomy][plan.split]
        assert plan.fixed.removesuffix("_ED").removesuffix("_ES") in subjects
    assert {(plan.anatomy, plan.split) for plan in planned} == {
        (anatomy.name, split) for anatomy in ANATOMIES for split in ("train", "val")
    }


@pytest.mark.data
def test_a_short_calibration_has_as_many_of_each_data_set(data: Path) -> None:
    planned = calibration.plans(data, 0, each=8, presets=("default",))
    good = Counter((plan.anatomy, plan.split) for plan in planned if plan.kind == "good")
    assert good == {(anatomy.name, split): 8 for anatomy in ANATOMIES for split in ("train", "val")}
    assert {plan.kind for plan in planned} == {"good", "other anatomy", *KINDS}
    assert {plan.preset for plan in planned} == {"default"}
    assert [plan.number for plan in planned] == list(range(len(planned)))


@pytest.mark.data
def test_cases_of_mixtures_stay_the_same_however_many_there_are(data: Path) -> None:
    few, many = (calibration.mixed(data, each) for each in (5, 12))
    assert {plan.number: plan for plan in few}.items() <= {plan.number: plan for plan in many}.items()
    assert len({plan.number for plan in many}) == len(many)
    assert min(plan.number for plan in many) >= 10_000
    assert {plan.kind for plan in many} == {"good", "other anatomy", *KINDS} - {"other contrast"}
    splits = json.loads((data / "splits.json").read_text())
    for plan in many:
        name, subject = plan.fixed.split("/")
        assert plan.anatomy == "ct" or subject in splits[anatomy_of(name).place][plan.split]
        assert plan.kind == "other anatomy" or (plan.fixed.split("/")[0], plan.moving.split("/")[0]) in next(
            mixture.sources for mixture in MIXTURES if mixture.name == plan.anatomy
        )


@pytest.mark.data
def test_labels_of_a_mixture_lie_on_their_images_and_have_the_same_codes(data: Path) -> None:
    plan = next(p for p in calibration.mixed(data, 6) if p.anatomy == "cut out, contrasts" and p.kind == "mirrored")
    found = calibration.sample_of(plan, data)
    for image, labels in ((found.fixed, found.fixed_labels), (found.moving, found.moving_labels)):
        assert image.grid.isclose(labels.grid)
        assert not np.isin(labels.data, (44, 45, 81, 95)).any()
        assert (labels.data >= 100).any()


def test_a_ct_without_labels_has_its_lungs_outlined_and_may_be_taken_again(tmp_path: Path) -> None:
    place = np.moveaxis(np.indices((60, 50, 40)), 0, -1)
    body = np.linalg.norm((place - (29.5, 24.5, 19.5)) / (26, 21, 60), axis=-1) < 1
    lungs = [np.linalg.norm((place - (x, 24, 20)) / (8, 12, 15), axis=-1) < 1 for x in (18, 41)]
    bubble = np.linalg.norm((place - (29.5, 12, 20)) / 3, axis=-1) < 1
    data = np.where(lungs[0] | lungs[1] | bubble, -800, np.where(body, 40, -1000)).astype(np.int16)
    (tmp_path / "ct").mkdir()
    write(tmp_path / "ct" / "sub-a_CT.nii.gz", Volume(data, Grid(data.shape, np.diag([6.0, 6.0, 6.0, 1.0]))))
    image, labels = loaded(anatomy_of("ct"), "a", tmp_path, 1)
    assert labels.source.startswith("outline of ")
    np.testing.assert_array_equal(labels.data > 0, lungs[0] | lungs[1])
    again, _ = loaded(anatomy_of("ct-again"), "a", tmp_path, 1)
    np.testing.assert_array_equal(again.data, loaded(anatomy_of("ct-again"), "a", tmp_path, 1)[0].data)
    assert 1 < np.linalg.norm(again.grid.world((0, 0, 0)) - image.grid.world((0, 0, 0))) < 100
    assert 10 < (again.data - image.data)[body].std() < 30


@pytest.mark.data
def test_a_head_is_shown_in_another_contrast_with_all_that_lies_around_its_brain(data: Path) -> None:
    head, labels = loaded(anatomy_of("ixi-2mm"), "IXI048", data, 1)
    shown, onto = loaded(anatomy_of("ixi-T2"), "IXI048", data, 1)
    assert shown.grid.isclose(onto.grid)
    liquor, white = (np.median(shown.data[np.isin(onto.data, codes)]) for codes in ((51, 52), range(81, 96)))
    assert liquor > 1.2 * white
    here, there = (np.percentile(v.data[of.data == 0], 95) for v, of in ((head, labels), (shown, onto)))
    assert min(here, there) > 30


@pytest.mark.data
def test_a_few_cases_are_run_kept_and_judged(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(data), "--out", str(tmp_path / "q.json"), "--cases", "5", "--most", "2"]
    assert calibration.main(words) == 0
    first = json.loads((tmp_path / "q.json").read_text())
    assert [c["kind"] for c in first["cases"]] == ["good", "other anatomy"]
    assert first["summary"]["train"]["good"] == {"cases": 1, "passed": 1}
    assert first["summary"]["train"]["bad"] == {"cases": 1, "not_passed": 1}
    assert calibration.main([*words[:-1], "1", "--limits", str(tmp_path / "limits.json")]) == 0
    again = json.loads((tmp_path / "q.json").read_text())
    assert again["cases"][:2] == first["cases"]
    assert len(again["cases"]) == 3
    assert json.loads((tmp_path / "limits.json").read_text()) == {"record": "q.json", "limits": {}}


def test_without_data_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check --data"):
        calibration.plans(tmp_path, 5)


@pytest.mark.parametrize("model", [None, "brain", "hippocampus-mr-labels", "a file of one's own"])
def test_the_limits_of_the_product_are_figures_that_are_measured(model: str | None) -> None:
    limits = thresholds_for(model)
    assert list(limits) == list(THRESHOLDS)
    for name, limit in limits.items():
        assert limit.side == THRESHOLDS[name].side
        if limit.check is not None and limit.fail is not None:
            assert limit.violates(limit.fail, limit.check) or limit.fail == limit.check
