"""What quality control measures of a pair, on pairs whose answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.geometry.grid import Grid
from lightcrcf.quality.measure import MeasuredPair, measure
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.similarity import overlap
from lightcrcf.quality.transform_metrics import affine_metrics, is_mirrored
from lightcrcf.quality.verdict import judge_by_group
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.register import register
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume, read
from lightcrcf_bench.quality.corruptions import Sample, corrupt

Pair = tuple[Volume, Volume]


def measured(fixed: Volume, moving: Volume, field: Any = None, affine: Any = None) -> QualityMetrics:
    chain = Affine.identity() if affine is None else Affine(affine)
    working = WorkingPair.prepare(fixed, moving, (None, None), chain, None, RegistrationCache())
    displacement = None if field is None else field(working.grid.half(working.pool).shape)
    return measure([MeasuredPair(working, overlap)], displacement, chain)[0]


def still(shape: tuple[int, ...]) -> Any:
    return np.zeros((3, *shape), np.float32)


def test_an_image_and_itself_agree_in_everything(pair: Pair) -> None:
    found = measured(pair[0], pair[0], still)
    assert found.covered == 1
    assert found.correlation_global == pytest.approx(1)
    assert found.histogram_distance == 0
    assert found.there_and_back_mm == pytest.approx(0, abs=1.0)  # of voxels of 12 mm
    assert found.border_displacement_mm == 0
    assert found.extent_mm == pytest.approx(100, rel=0.1)  # a litre or so
    assert judge_by_group(found).verdict == "pass"


def test_a_shifted_result_disagrees_with_the_way_back_by_the_shift(pair: Pair) -> None:
    def shifted(shape: tuple[int, ...]) -> Any:
        field = still(shape)
        field[1] = 2.0  # half-resolution voxels of 6 mm
        return field

    found = measured(pair[0], pair[0], shifted)
    assert found.there_and_back_mm == pytest.approx(12, abs=1.5)
    assert found.border_displacement_mm == pytest.approx(12, abs=0.1)


def test_a_moving_image_that_ends_half_way_covers_half(pair: Pair) -> None:
    fixed = pair[0]
    shape = (fixed.grid.shape[0] // 2, *fixed.grid.shape[1:])
    half = Volume(np.ascontiguousarray(fixed.data[: shape[0]]), Grid(shape, fixed.grid.affine), "half")
    found = measured(fixed, half, still)
    assert found.covered == pytest.approx(0.5, abs=0.06)
    assert any("covers only" in reason for reason in judge_by_group(found).reasons)


def test_bright_and_dark_exchanged_is_told_by_the_sign(pair: Pair) -> None:
    data = pair[0].data.astype(np.float32)
    inside = data > 0
    found = measured(pair[0], Volume(np.where(inside, 900 - data, 0), pair[0].grid), still)
    assert found.correlation_global is not None
    assert found.correlation_global < 0.3
    assert any("bright and dark do not correspond" in reason for reason in judge_by_group(found).reasons)


def test_a_strong_bias_field_is_no_other_contrast(pair: Pair) -> None:
    fixed, moving = pair
    along = np.linspace(-0.9, 0.9, moving.data.shape[1], dtype=np.float32)[:, None]
    biased = Volume(moving.data * np.exp(along), moving.grid, "biased")
    found = register(fixed, biased, model="none")
    assert found.metrics.correlation_global > 0.85
    assert found.quality.verdict == "check"
    assert [r for r in found.quality.reasons if "correct the bias field" not in r] == []


def test_a_place_is_as_large_as_a_window(pair: Pair) -> None:
    """One voxel that is torn says little; a cube of eight that is says all."""

    def torn(width: int) -> float:
        def field(shape: tuple[int, ...]) -> Any:
            u = still(shape)
            middle = shape[0] // 2
            u[0, middle : middle + width] = 14.0 * np.arange(width)[:, None, None]
            u[0, middle + width :] = 14.0 * width
            return u

        ratio = measured(pair[0], pair[0], field).place_ratio_max
        assert ratio is not None
        return ratio

    assert torn(4) > 10
    assert torn(4) > 1.5 * torn(1)


@pytest.mark.parametrize(
    ("linear", "scales", "turn", "mirrored"),
    [
        (np.diag([1.5, 1.0, 0.5]), (1.5, 1.0, 0.5), 0, False),
        (np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]]), (1.0, 1.0, 1.0), 90, False),
        (np.diag([-1.0, 1.0, 1.0]), (1.0, 1.0, 1.0), None, True),
    ],
)
def test_an_affine_is_taken_apart(linear: Any, scales: Any, turn: float | None, mirrored: bool) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    metrics = affine_metrics(Affine(matrix))
    assert metrics.affine_scales == pytest.approx(scales)
    assert is_mirrored(Affine(matrix)) is mirrored
    if turn is not None:
        assert metrics.affine_rotation_deg == pytest.approx(turn)
    assert (judge_by_group(metrics, mirrored=mirrored).verdict == "fail") is mirrored


def test_noise_and_shuffled_blocks_do_not_pass(pair: Pair) -> None:
    fixed, moving = pair
    random = np.random.default_rng(3)
    shuffled = random.permutation(moving.data.ravel()).reshape(moving.data.shape)
    for data in (shuffled, random.normal(500, 200, moving.data.shape)):
        corrupted = register(fixed, Volume(data, moving.grid, "noise"), model="none")
        assert corrupted.quality.verdict != "pass"
    assert register(fixed, moving, model="none").quality.verdict == "pass"


def lesion(volume: Volume, radius_mm: float) -> np.ndarray:
    """Where a ball within the tissue lies, beside the middle."""
    tissue = np.argwhere(volume.data > 0)
    middle = volume.grid.world(tissue.mean(axis=0)) + np.array([20, 10, 5])
    world = volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1))
    return np.asarray(np.linalg.norm(world - middle, axis=-1) < radius_mm)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_mask_that_marks_the_lesion_with_one_does_not_pass(pair: Pair, role: str) -> None:
    image = pair[0] if role == "fixed" else pair[1]
    inverted = Volume(lesion(image, 18).astype(np.uint8), image.grid)
    found = register(*pair, model="none", **{f"{role}_mask": inverted})
    assert found.metrics.measured()[f"counted_{role}"] < 0.1
    assert found.quality.verdict != "pass"
    assert any(f"the {role} mask leaves only" in r and "invert a mask" in r for r in found.quality.reasons)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_small_lesion_mask_passes_and_what_it_leaves_out_is_looked_at(pair: Pair, role: str) -> None:
    image = pair[0] if role == "fixed" else pair[1]
    where = lesion(image, 18)
    images = {**dict(zip(("fixed", "moving"), pair, strict=True))}
    images[role] = Volume(np.where(where, 500, image.data).astype(np.int16), image.grid)
    mask = Volume((~where).astype(np.uint8), image.grid)
    found = register(images["fixed"], images["moving"], model="none", **{f"{role}_mask": mask})
    assert found.quality.reasons == ()
    assert 0.9 < found.metrics.measured()[f"counted_{role}"] < 1
    assert found.metrics.correlation_unmasked < found.metrics.correlation_after
    assert {"unmasked_share", "overlap_unmasked"} <= {row.figure for row in found.quality.judged}


def test_without_a_mask_nothing_is_said_of_one(pair: Pair) -> None:
    found = register(*pair, model="none", preset="fast")
    assert not {"counted_fixed", "counted_moving", "correlation_unmasked", "overlap_unmasked"} & set(
        found.metrics.measured()
    )


def test_what_is_unknown_is_no_mask_and_counts_as_uncovered(pair: Pair) -> None:
    fixed = pair[0]
    working = WorkingPair.prepare(fixed, fixed, (None, None), Affine.identity(), None, RegistrationCache())
    known = np.ones(working.grid.shape, np.float32)
    known[: known.shape[0] // 2] = 0
    cut = replace(working, moving=working.moving * known, moving_mask=known, moving_known=known)
    found, *_ = measure([MeasuredPair(cut, overlap)], still(working.grid.half(working.pool).shape), Affine.identity())
    assert found.covered == pytest.approx(0.5, abs=0.06)
    assert found.counted_moving is None
    assert found.correlation_unmasked is None
    assert found.overlap_after == pytest.approx(1, abs=0.01)


@pytest.mark.data
def test_whole_heads_that_register_well_pass_and_shuffled_ones_fail(data: Path) -> None:
    splits = json.loads((data / "splits.json").read_text())
    fixed, moving = (read(data / f"ixi-2mm/sub-{person}_T1w.nii.gz") for person in splits["ixi-2mm"]["val"][:2])
    found = register(fixed, moving)
    assert (found.quality.verdict, found.quality.reasons, found.quality.limits) == ("pass", (), "head")
    labels = read(data / f"ixi-2mm/sub-{splits['ixi-2mm']['val'][1]}_dseg.nii.gz")
    shuffled = corrupt("shuffled", Sample(fixed, moving, labels, labels, {}), np.random.default_rng(3)).moving
    assert register(fixed, shuffled).quality.verdict == "fail"
