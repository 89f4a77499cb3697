"""The verdict: each figure alone, and each reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.similarity import correlation, local_correlation, overlap
from lightcrcf.quality.thresholds import calibrated
from lightcrcf.quality.transform_metrics import field_metrics
from lightcrcf.quality.verdict import Quality, judge, judge_by_group

SHAPE = (17, 22, 13)
GOOD: dict[str, Any] = {
    "overlap_before": 0.94,
    "overlap_after": 0.97,
    "correlation_header": 0.05,
    "correlation_affine": 0.3,
    "correlation_after": 0.6,
    "folding_percent": 0.01,
    "affine_scales": (0.95, 1.0, 1.05),
}


def verdict(remarks: Sequence[str] = (), **metrics: Any) -> Quality:
    return judge_by_group(QualityMetrics(**metrics), remarks=remarks)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(5).random(SHAPE).astype(np.float32)


def test_an_image_correlates_with_any_linear_function_of_itself(image: np.ndarray) -> None:
    inside = np.zeros(SHAPE, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    assert local_correlation(image, 0.2 - 0.7 * image, inside) > 0.99
    assert local_correlation(image, image[::-1].copy(), inside) < 0.1


def test_local_correlation_is_that_of_numpy_in_one_window(image: np.ndarray) -> None:
    other = np.sqrt(image) + image[::-1]
    mask = np.zeros(SHAPE, bool)
    mask[8, 9, 6] = True
    window = np.s_[6:11, 7:12, 4:9]
    expected = np.corrcoef(image[window].ravel(), other[window].ravel())[0, 1] ** 2
    assert local_correlation(image, other, mask) == pytest.approx(expected, rel=0.01)  # the floor takes a little


def test_the_correlation_is_the_same_to_the_bit_however_many_threads_blas_has() -> None:
    """Threads of BLAS belong to the process: `run.json` must not depend on what else it has done."""
    fixed, moved = np.random.default_rng(3).random((2, 200_000), dtype=np.float32)
    found = []
    for threads in (1, 2, 5):
        with threadpool_limits(threads, "blas"):
            found.append(correlation(fixed, fixed + moved))
    assert found[0] == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert found[1:] == found[:1] * 2


def test_nothing_to_look_at_gives_zero_and_no_figures(image: np.ndarray) -> None:
    nowhere = np.zeros(SHAPE, bool)
    assert local_correlation(image, image, nowhere) == 0
    assert overlap(nowhere, nowhere) == 0
    metrics = field_metrics(np.zeros((3, *SHAPE), np.float32), nowhere, np.full(3, 2.0))
    assert metrics.measured() == {"border_displacement_mm": 0.0}


def test_overlap_is_dice() -> None:
    a, b = np.zeros((2, *SHAPE), bool)
    a[2:6], b[4:6] = True, True
    assert overlap(a, b) == pytest.approx(2 * 2 / (4 + 2))


def test_only_the_fixed_foreground_counts() -> None:
    u = np.zeros((3, *SHAPE), np.float32)
    u[0, 10:12] = 4.0  # voxels 11 and 12 lie before voxel 10 afterwards: folded
    mask = np.zeros(SHAPE, bool)
    mask[:6] = True
    part = field_metrics(u, mask, np.full(3, 2.0))
    assert (part.folding_percent, part.displacement_p99_mm, part.jacobian_p01) == (0, 0, 1)
    whole = field_metrics(u, np.ones(SHAPE, bool), np.full(3, 2.0))
    assert whole.folding_percent is not None
    assert whole.folding_percent > 5
    assert whole.displacement_p99_mm == pytest.approx(8.0)


def test_a_good_registration_passes_without_reasons() -> None:
    judged = verdict(**GOOD)
    assert (judged.verdict, judged.reasons) == ("pass", ())


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({"overlap_after": 0.3}, "fail", "overlap by 0.30"),
        ({"overlap_after": 0.8}, "check", "overlap by 0.80"),
        ({"correlation_after": 0.2}, "fail", "less alike"),
        ({"correlation_affine": 0.99, "correlation_after": 0.95}, "check", "less alike"),  # an image and itself
        ({"correlation_affine": 0.1, "correlation_after": 0.12}, "check", "resemble each other little"),
        ({"folding_percent": 1.0}, "check", "1.00 % of the field folds"),
        ({"folding_percent": 3.0}, "fail", "3.00 % of the field folds"),
        ({"affine_scales": (0.5, 1.0, 1.1)}, "check", "stretches or shrinks by a factor of 2.00"),
        ({"affine_scales": (0.9, 1.0, 1.8)}, "check", "stretches or shrinks by a factor of 1.80"),
        ({"remarks": ["no model fits"]}, "check", "no model fits"),
    ],
)
def test_one_bad_figure_is_enough(change: dict[str, Any], word: str, reason: str) -> None:
    judged = verdict(**{**GOOD, **change})
    assert judged.verdict == word
    assert len(judged.reasons) == 1
    assert reason in judged.reasons[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"correlation_affine": 0.1, "correlation_after": 0.12, "correlation_global": 0.3}, "fail"),
        ({"correlation_affine": 0.01, "correlation_after": 0.04}, "fail"),  # as two unlike anatomies
        ({"correlation_global": 0.3, "histogram_distance": 0.4}, "check"),  # one aspect: another contrast, or a bias
        ({"correlation_global": 0.3, "there_and_back_mm": 20.0, "extent_mm": 100.0}, "fail"),
        ({"correlation_global": 0.3, "correlation_affine": 0.1, "correlation_after": 0.149}, "check"),  # but for one
        ({"gain_range": 3.0, "overlap_after": 0.84, "covered": 0.69}, "check"),
        ({"overlap_after": 0.8, "covered": 0.6}, "check"),  # a part of the anatomy
        ({"overlap_after": 0.8, "covered": 0.6, "jacobian_p99": 7.0}, "fail"),
        ({"covered": 0.05}, "fail"),
        ({"jacobian_p99": 19.0}, "fail"),
        ({"jacobian_p01": 0.02}, "check"),
        ({"place_ratio_max": 9.0}, "check"),
        ({"place_ratio_max": 52.0}, "fail"),
        ({"counted_moving": 0.1}, "check"),
        ({"counted_moving": 0.1, "correlation_unmasked": 0.3, "overlap_unmasked": 0.9}, "check"),
        ({"counted_moving": 0.1, "correlation_unmasked": 0.1, "overlap_unmasked": 0.9}, "fail"),
        ({"counted_moving": 0.9, "correlation_unmasked": 0.5, "overlap_unmasked": 0.9}, "pass"),
    ],
)
def test_what_is_grossly_wrong_fails_and_what_is_unusual_is_looked_at(change: dict[str, Any], word: str) -> None:
    assert verdict(**{**GOOD, **change}).verdict == word


def test_masks_by_different_tools_overlap_well_enough() -> None:
    assert calibrated({"overlap": 0.99})["overlap"].check == 0.975
    assert calibrated({"overlap": 0.91})["overlap"].check == 0.91


def test_not_every_voxel_need_be_covered() -> None:
    assert calibrated({"covered": 1.0})["covered"].check == 0.98
    assert calibrated({"covered": 0.9})["covered"].check == 0.9
    assert calibrated({"covered": 0.4})["covered"].check == 0.7  # but much is not known of what is not


def test_a_strong_bias_field_is_not_held_against_the_intensities_of_unbiased_images() -> None:
    figures = {**GOOD, "correlation_after": 0.65, "correlation_global": 0.8, "histogram_distance": 0.1}
    limits = calibrated({"correlation": 0.75, "correlation_global": 0.94, "histogram_distance": 0.05})
    assert judge(QualityMetrics(**figures), limits).verdict == "fail"
    assert judge(QualityMetrics(**figures, gain_range=2.9), limits).verdict == "check"


def test_no_measurement_makes_the_limits_of_volume_ratios_wider() -> None:
    limits = calibrated({"jacobian_p99": 9.2, "jacobian_p01": -0.2, "place_ratio_max": 4.0, "correlation": 0.7})
    assert (limits["jacobian_p99"].check, limits["jacobian_p01"].check) == (6.0, 0.05)
    assert limits["place_ratio_max"].check == 4.0
    assert limits["correlation"].fail == 0.35


def test_the_worst_figure_decides_and_comes_first() -> None:
    judged = verdict(**{**GOOD, "remarks": ["odd"], "folding_percent": 3.0})
    assert judged.verdict == "fail"
    assert judged.reasons[-1] == "odd"


def test_without_a_deformation_the_affine_is_judged() -> None:
    figures = {k: v for k, v in GOOD.items() if "after" not in k and "folding" not in k}
    assert verdict(**figures).verdict == "pass"
    assert verdict(**{**figures, "overlap_before": 0.4}).verdict == "fail"
    assert verdict(**{**figures, "correlation_affine": 0.1}).verdict == "check"
