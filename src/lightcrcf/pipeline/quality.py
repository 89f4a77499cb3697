"""Does the result deserve trust? A verdict from evidence that needs no labels.

The thresholds are wide: they catch what is plainly wrong. What the figures of good registrations look like is recorded
with the benchmark; a calibrated verdict is future work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.kernels import jacobian_determinant

__all__ = ["Evidence", "containment", "deformation_evidence", "local_correlation", "overlap", "verdict"]

Float32 = NDArray[np.float32]

WINDOW_RADIUS = 2
_VARIANCE_FLOOR = 1e-5
_WORSE = 0.9


@dataclass
class Evidence:
    """What quality control looks at. Everything is None until measured.

    Args:
        overlap_before, overlap_after: Dice overlap of the foregrounds, before and after the deformation; for images
            of different kinds (a brain and a whole head) the share of the smaller that lies in the larger.
        correlation_header, correlation_affine, correlation_after: mean squared local correlation in the fixed
            foreground under the headers' alignment, after the affine and after the deformation.
        folding_percent: voxels of the fixed foreground where the field folds.
        jacobian_p01, jacobian_p99: percentiles of the field's Jacobian determinant in the fixed foreground.
        displacement_p99_mm: 99th percentile of the displacement in the fixed foreground.
        affine_scales: scales of the affine along right, anterior and superior.
        mismatch: why the pair is outside of what the model was trained on, in words.
        labels: what became of labels that were moved, where it gives reason to look, in words.
    """

    overlap_before: float | None = None
    overlap_after: float | None = None
    correlation_header: float | None = None
    correlation_affine: float | None = None
    correlation_after: float | None = None
    folding_percent: float | None = None
    jacobian_p01: float | None = None
    jacobian_p99: float | None = None
    displacement_p99_mm: float | None = None
    affine_scales: tuple[float, float, float] | None = None
    mismatch: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def local_correlation(fixed: Float32, moved: Float32, mask: NDArray[np.bool_]) -> float:
    """Mean over `mask` of the squared local correlation in windows of 5x5x5 voxels, in [0, 1].

    Args:
        fixed, moved: (D, H, W) of about unit range.
        mask: (D, H, W) of the voxels that count.
    """
    if not mask.any():
        return 0.0
    sums = window_mean(np.stack([fixed, moved, fixed * fixed, moved * moved, fixed * moved]), WINDOW_RADIUS)
    f, m, ff, mm, fm = (image[mask] for image in sums)
    covariance = fm - f * m
    variances = np.maximum(ff - f * f, 0) * np.maximum(mm - m * m, 0)
    return float(np.mean(covariance * covariance / (variances + _VARIANCE_FLOOR), dtype=np.float64))


def overlap(fixed: NDArray[np.bool_], moved: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks; 0 if both are empty."""
    total = int(fixed.sum()) + int(moved.sum())
    return 2.0 * int((fixed & moved).sum()) / total if total else 0.0


def containment(fixed: NDArray[np.bool_], moved: NDArray[np.bool_]) -> float:
    """Share of the smaller mask that lies in the larger one: a brain inside a whole head; 0 if one is empty."""
    smaller = min(int(fixed.sum()), int(moved.sum()))
    return int((fixed & moved).sum()) / smaller if smaller else 0.0


def deformation_evidence(evidence: Evidence, displacement: Float32, mask: NDArray[np.bool_], spacing_mm: Any) -> None:
    """Fill in folding, Jacobian and displacement figures of a (3, d, h, w) field in voxels of (3,) `spacing_mm`."""
    if not mask.any():
        return
    determinant = jacobian_determinant(displacement)[mask]
    steps = displacement * np.asarray(spacing_mm, np.float32).reshape(3, 1, 1, 1)
    length_mm = np.sqrt(np.square(steps).sum(axis=0))[mask]
    evidence.folding_percent = 100.0 * float(np.mean(determinant <= 0))
    evidence.jacobian_p01, evidence.jacobian_p99 = (float(np.percentile(determinant, q)) for q in (1, 99))
    evidence.displacement_p99_mm = float(np.percentile(length_mm, 99))


def verdict(evidence: Evidence) -> dict[str, Any]:
    """The verdict ("pass", "check" or "fail") and its reasons in plain words."""
    fails, checks = [], [*evidence.mismatch, *evidence.labels]
    after = evidence.correlation_after if evidence.correlation_after is not None else evidence.correlation_affine
    reached = evidence.overlap_after if evidence.overlap_after is not None else evidence.overlap_before
    if reached is not None and reached < 0.5:
        fails.append(f"the images overlap by only {reached:.2f} (of their foregrounds)")
    elif reached is not None and reached < 0.85:
        checks.append(f"the foregrounds overlap by {reached:.2f}; 0.85 or more is usual")
    affine = evidence.correlation_affine
    if affine is not None and after is not None and after < affine:
        worse = (
            f"the deformation made the images less alike than the affine had ({affine:.2f} before, {after:.2f} after)"
        )
        # Images that were nearly equal already can only lose a little; then the affine alone is the better answer.
        (fails if after < _WORSE * affine else checks).append(worse)
    if after is not None and after < 0.15:
        checks.append(f"the images resemble each other little (mean squared local correlation {after:.2f})")
    if evidence.folding_percent is not None and evidence.folding_percent > 2.0:
        fails.append(f"{evidence.folding_percent:.1f} % of the field folds")
    elif evidence.folding_percent is not None and evidence.folding_percent > 0.5:
        checks.append(f"{evidence.folding_percent:.2f} % of the field folds")
    if evidence.affine_scales is not None:
        least, most = min(evidence.affine_scales), max(evidence.affine_scales)
        if least < 0.6 or most > 1.6:
            checks.append(f"the affine stretches by {least:.2f} to {most:.2f}")
    word = "fail" if fails else "check" if checks else "pass"
    return {"verdict": word, "reasons": [*fails, *checks], "judged": []}
