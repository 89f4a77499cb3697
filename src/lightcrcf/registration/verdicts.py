"""Quality control of all pairs of images that one transform aligns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightcrcf.quality.label_check import LabelMapRecord, misplaced, warnings_of
from lightcrcf.quality.measure import MeasuredPair, measure
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.similarity import containment, overlap
from lightcrcf.quality.thresholds import group_of
from lightcrcf.quality.transform_metrics import is_mirrored
from lightcrcf.quality.verdict import SEVERITY, Quality, judge_by_group
from lightcrcf.registration.contrast import REMARK
from lightcrcf.registration.deform import Deformation
from lightcrcf.registration.inputs import ImagePair, Inputs
from lightcrcf.registration.prepare import PreparedInputs
from lightcrcf.volumes import UNKNOWN_SIDES

__all__ = ["Judgement", "judge_pairs"]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Metrics and verdict of a registration.

    Args:
        quality: the worst verdict of all pairs.
        metrics: of each pair; those of the transform with the first one.
        verdicts: of each pair.
    """

    quality: Quality
    metrics: tuple[QualityMetrics, ...]
    verdicts: tuple[Quality, ...]


def judge_pairs(
    prepared: PreparedInputs, inputs: Inputs, deformation: Deformation, labels: Sequence[LabelMapRecord]
) -> Judgement:
    """Measure and judge a registration.

    The worst verdict of all pairs counts. The first pair and the transform are judged by the thresholds of their group,
    further pairs by their similarity, with the thresholds for all images.

    Args:
        prepared: images on the working grid, and the plan.
        inputs: the same images as they were read.
        deformation: of the registration.
        labels: label maps that were moved.
    """
    plan, affine, unfolding = prepared.plan, prepared.affine, deformation.unfolding
    overlaps = [overlap if comparable else containment for comparable in plan.comparable]
    pairs = [MeasuredPair(*each) for each in zip(prepared.pairs, overlaps, plan.across, strict=True)]
    folding = None if unfolding is None else unfolding.folded_percent
    metrics = measure(pairs, deformation.displacement, affine, folding_percent=folding)
    group = _group(prepared, inputs, deformation)
    mismatch = [each for each in plan.selection.mismatch if each != REMARK or group is None]
    remarks = (*mismatch, *_unknown_sides(inputs), *_misplaced_labels(inputs), *warnings_of(labels))
    first = judge_by_group(metrics[0], group, remarks=remarks, mirrored=is_mirrored(affine))
    verdicts = (first, *(judge_by_group(each) for each in metrics[1:]))
    return Judgement(_worst(verdicts, [_name(pair) for pair in inputs.pairs]), metrics, verdicts)


def _group(prepared: PreparedInputs, inputs: Inputs, deformation: Deformation) -> str | None:
    """Return the group whose calibrated thresholds apply to the first pair."""
    plan = prepared.plan
    return group_of(
        plan.selection.weights.name if plan.selection.weights else None, plan.contents,
        deformed=deformation.displacement is not None, cut_out=inputs.first.cut_out, across=plan.across[0],
    )  # fmt: skip


def _unknown_sides(inputs: Inputs) -> list[str]:
    """Return a warning for each image whose header does not tell left from right."""
    images = {image.source: image for pair in inputs.pairs for image in pair.shown}
    return [f"{source}: {UNKNOWN_SIDES}" for source, image in images.items() if UNKNOWN_SIDES in image.notes]


def _misplaced_labels(inputs: Inputs) -> list[str]:
    """Return a warning for each label map that seems not to lie on the moving image."""
    pair = inputs.first
    brain = pair.moving if pair.extracted[1] else None
    warnings = [misplaced(labels, pair.shown[1], brain) for labels in inputs.moving_labels]
    return [warning for warning in warnings if warning is not None]


def _worst(verdicts: Sequence[Quality], names: Sequence[str]) -> Quality:
    """Return the first verdict, made as bad as the worst one; reasons of further pairs name them."""
    graded = sorted(enumerate(verdicts), key=lambda item: SEVERITY.index(item[1].verdict))
    reasons = tuple(f"{names[n]}: {reason}" if n else reason for n, verdict in graded for reason in verdict.reasons)
    return replace(verdicts[0], verdict=graded[0][1].verdict, reasons=reasons)


def _name(pair: ImagePair) -> str:
    fixed, moving = (Path(image.source).name for image in pair.images)
    return f"{moving} onto {fixed}"
