"""What quality control makes of all pairs of images that one transform aligns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.quality import verdict as quality
from lightcrcf.quality.metrics import Seen, inspect
from lightcrcf.quality.thresholds import group_of
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.inputs import ImagePair
from lightcrcf.registration.plan import Decision
from lightcrcf.transforms.affine import Affine

__all__ = ["Judgement", "judge_pairs"]

Float32 = NDArray[np.float32]

_GRAVEST = ("fail", "check", "pass")


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdict and what it comes from.

    Args:
        metrics: figures of the first pair and of the field.
        qc: the verdict; see `quality.verdict`.
        channels: of each pair its figures and its verdict, for `run.json`; empty if there is one pair.
    """

    metrics: dict[str, Any]
    qc: dict[str, Any]
    channels: list[dict[str, Any]]


def judge_pairs(
    pairs: Sequence[WorkingPair],
    images: Sequence[ImagePair],
    decision: Decision,
    displacement: Float32 | None,
    affine: Affine,
    labels: list[str],
    folded_percent: float | None = None,
) -> Judgement:
    """Measure and judge.

    The worst of all pairs is the verdict: the first pair and the field are judged by the limits of their kind, further
    pairs by how alike their images are, with the limits for any images.

    Args:
        pairs: on the working grid.
        images: the same as they were read.
        decision: how they were registered.
        displacement: (3, d, h, w) on the working grid or its half; None if there is none.
        affine: fixed to moving points.
        labels: remarks on labels that were moved.
        folded_percent: of the field once it was unfolded; None if it was not.
    """
    overlaps = [quality.overlap if alike else quality.containment for alike in decision.kinds_alike]
    seen = [Seen(*each) for each in zip(pairs, overlaps, decision.across, strict=True)]
    weights, across = decision.choice.weights, decision.across[0]
    group = group_of(
        weights.name if weights else None, decision.contents, deformed=displacement is not None,
        cut_out=images[0].cut_out, across=across,
    )  # fmt: skip
    unknown = decision.choice.mismatch if group is None or not across else ()
    evidence, *more = inspect(seen, displacement, unknown)
    evidence.shape_of(affine)
    evidence.labels = labels
    if folded_percent is not None:
        evidence.folding_percent = folded_percent
    verdicts = [quality.verdict(evidence, group), *(quality.verdict(each) for each in more)]
    figures = [each.figures() for each in (evidence, *more)]
    if not more:
        return Judgement(figures[0], verdicts[0], [])
    channels = [{"metrics": f, "qc": qc} for f, qc in zip(figures, verdicts, strict=True)]
    return Judgement(figures[0], _worst(verdicts, [_name(pair) for pair in images]), channels)


def _worst(verdicts: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The first verdict, made as bad as the worst one; the reasons of further pairs say whose they are."""
    graded = sorted(enumerate(verdicts), key=lambda item: _GRAVEST.index(item[1]["verdict"]))
    reasons = [f"{names[n]}: {reason}" if n else reason for n, verdict in graded for reason in verdict["reasons"]]
    return {**verdicts[0], "verdict": graded[0][1]["verdict"], "reasons": reasons}


def _name(pair: ImagePair) -> str:
    fixed, moving = (Path(image.source).name for image in pair.images)
    return f"{moving} onto {fixed}"
