"""The verdict of quality control: pass, check or fail, judged from label-free metrics.

The thresholds are in `thresholds.py`; docs/quality.md says where they come from and what they catch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.thresholds import STRONG_BIAS, THRESHOLDS, Threshold, thresholds_for

__all__ = ["SEVERITY", "JudgedMetric", "Quality", "Verdict", "compared", "judge", "judge_by_group"]

Verdict = Literal["pass", "check", "fail"]
SEVERITY: tuple[Verdict, ...] = ("fail", "check", "pass")
"""Verdicts, worst first."""

_MIN_LOSS = 0.005  # of correlation: noise, interpolation and smoothness cost that much where little had to move
_MAX_LOSS_RATIO = 0.9
_MAX_ASPECTS = 3  # so many aspects out of their thresholds are no coincidence
# A good registration may violate one of these, but hardly two of them.
_DECISIVE = frozenset({"detail", "intensity", "way back", "affine"})
_NEUTRAL = frozenset({"bias"})  # no evidence against a registration


@dataclass(frozen=True, kw_only=True)
class JudgedMetric:
    """One metric against its threshold.

    Args:
        figure: its name.
        value: as measured.
        passes: the passing range as text.
        state: pass, check or fail.
    """

    figure: str
    value: float
    passes: str
    state: Verdict


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The verdict on a registration, the entry `qc` of `run.json`.

    Args:
        verdict: pass, check or fail.
        reasons: for a verdict other than pass, the worst first.
        remarks: those of the reasons that come from no metric.
        judged: each metric that has a threshold.
        limits: the group whose calibrated thresholds were used; None for those of all images.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    judged: tuple[JudgedMetric, ...]
    limits: str | None


def judge_by_group(
    metrics: QualityMetrics, group: str | None = None, *, remarks: Sequence[str] = (), mirrored: bool = False
) -> Quality:
    """Judge a registration by the calibrated thresholds of a group.

    Args:
        metrics: of the registration.
        group: see `thresholds.group_of`; None for the thresholds of all images.
        remarks: reasons for a check that come from no metric.
        mirrored: whether the affine exchanges left and right.
    """
    return judge(metrics, thresholds_for(group), remarks=remarks, mirrored=mirrored, group=group)


def judge(
    metrics: QualityMetrics,
    thresholds: Mapping[str, Threshold],
    *,
    remarks: Sequence[str] = (),
    mirrored: bool = False,
    group: str | None = None,
) -> Quality:
    """Judge a registration: it fails if one metric violates its limit for that, or if too much is suspicious at once.

    Too much is three aspects beyond their limits for a check, or two decisive ones clearly beyond.

    Args:
        metrics: of the registration.
        thresholds: by the name of the metric.
        remarks: reasons for a check that come from no metric.
        mirrored: whether the affine exchanges left and right.
        group: the name of the thresholds.
    """
    fails = ["the affine exchanges left and right"] if mirrored else []
    checks: list[str] = []
    aspects: dict[str, bool] = {}  # those beyond their thresholds, and whether clearly
    judged: list[JudgedMetric] = []
    for name, threshold, value in compared(metrics, _fair(metrics, thresholds)):
        state = _state(threshold, value)
        if state != "pass":
            (fails if state == "fail" else checks).append(threshold.describe(value))
            clearly = state == "fail" or threshold.clearly_violates(value)
            aspects[threshold.aspect] = aspects.get(threshold.aspect, False) or clearly
        if threshold.check is not None:
            judged.append(JudgedMetric(figure=name, value=value, passes=threshold.passing(value), state=state))
    if (lost := _lost_similarity(metrics)) is not None:
        (fails if lost[1] else checks).append(lost[0])
    if len(aspects.keys() - _NEUTRAL) >= _MAX_ASPECTS or sum(aspects[a] for a in aspects.keys() & _DECISIVE) > 1:
        fails, checks = [*fails, *checks], []
    verdict: Verdict = "fail" if fails else "check" if checks or remarks else "pass"
    reasons = (*fails, *checks, *remarks)
    return Quality(verdict=verdict, reasons=reasons, remarks=tuple(remarks), judged=tuple(judged), limits=group)


def _state(threshold: Threshold, value: float) -> Verdict:
    if threshold.violates(value, threshold.fail):
        return "fail"
    return "check" if threshold.violates(value, threshold.check) else "pass"


def _fair(metrics: QualityMetrics, thresholds: Mapping[str, Threshold]) -> Mapping[str, Threshold]:
    """Return thresholds that judge intensities under a strong bias field as those of any images."""
    if metrics.gain_range is None or metrics.gain_range <= STRONG_BIAS:
        return thresholds
    return {name: THRESHOLDS[name] if one.aspect == "intensity" else one for name, one in thresholds.items()}


def compared(metrics: QualityMetrics, thresholds: Mapping[str, Threshold]) -> Iterator[tuple[str, Threshold, float]]:
    """Yield name, threshold and value of each metric that was measured."""
    for name, threshold in thresholds.items():
        value: float | None = getattr(metrics, name)
        if value is not None:
            yield name, threshold, float(value)


def _lost_similarity(metrics: QualityMetrics) -> tuple[str, bool] | None:
    """Return a reason if the deformation lowered the similarity, and whether by much; else None."""
    affine, after = metrics.correlation_affine, metrics.correlation_after
    if affine is None or after is None or after >= affine - _MIN_LOSS:
        return None
    reason = f"the deformation made the images less alike than the affine had ({affine:.2f} before, {after:.2f} after)"
    # Images that were nearly equal already can only lose a little; then the affine alone is the better answer.
    return reason, after < _MAX_LOSS_RATIO * affine
