"""Does the result deserve trust? A verdict from evidence that needs no labels.

The limits are in `limits.py`; docs/quality.md says where they come from and what they catch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.determinant import jacobian_determinant
from lightcrcf.geometry.explained_kernels import locally_explained
from lightcrcf.geometry.gradients import squared_local_correlation
from lightcrcf.quality.thresholds import BIASED, FIGURES, Limit, limits_for
from lightcrcf.transforms.affine import Affine

__all__ = [
    "Evidence",
    "compared",
    "containment",
    "correlation",
    "deformation_evidence",
    "distance",
    "judge",
    "local_correlation",
    "local_explanation",
    "overlap",
    "verdict",
]

Float32 = NDArray[np.float32]

WINDOW_RADIUS = 2
_VARIANCE_FLOOR = 1e-5
_PLACE = 4  # voxels, half the width of what is a place
_WORSE = 0.9
_NOT_WORSE = 0.005  # what noise, interpolation and smoothness cost where little had to move
_MANY = 3  # so many aspects out of their limits are no coincidence
# Each of these alone may be unusual in a good registration, but hardly two of them.
_DECISIVE = frozenset({"detail", "intensity", "way back", "affine"})
_ASIDE = frozenset({"bias"})  # no evidence against a registration


@dataclass
class Evidence:
    """What quality control looks at. Everything is None until measured.

    Args:
        overlap_before, overlap_after: Dice overlap of the foregrounds, before and after the deformation; for images
            of different kinds (a brain and a whole head) the share of the smaller that lies in the larger.
        correlation_header, correlation_affine, correlation_after: mean squared local correlation in the fixed
            foreground under the headers' alignment, after the affine and after the deformation.
        correlation_global: correlation over all that is foreground in both images in the end, without a smooth factor
            between them (`gain.smooth_gain`); negative where bright and dark are exchanged.
        histogram_distance: mean difference of the two images' intensities there, likewise, rank by rank, in units of
            the range.
        gain_range: the 95th over the 5th percentile of that smooth factor.
        covered: share of the fixed foreground for which the moving image has a value.
        counted_fixed, counted_moving: share of each foreground that the user's masks leave; None without a mask.
        overlap_unmasked, correlation_unmasked: as `overlap_after` and `correlation_after` (after the affine if there
            is no deformation), but over all that both images show, outside of the masks too; None without a mask.
        folding_percent: voxels of the fixed foreground where the field folds.
        jacobian_min, jacobian_p01, jacobian_p99, jacobian_max: of the field's Jacobian determinant there.
        place_ratio_min, place_ratio_max: of its mean over the foreground in cubes of 8 voxels, about as large as the
            windows in which images are compared: the volume ratio of a place that they can say something about.
        displacement_p99_mm: 99th percentile of the displacement in the fixed foreground.
        border_displacement_mm: 99th percentile of the displacement on the border of the working grid.
        there_and_back_mm: how far points of the fixed foreground come back from where they started, through the field
            and through a field that is found coarsely the other way; the mean.
        affine_scales: scales of the affine along right, anterior and superior.
        affine_shears: shears xy, xz, yz of the affine.
        affine_rotation_deg: its rotation.
        mirrored: whether the affine exchanges left and right.
        extent_mm: size of the fixed foreground, the side of a cube of its volume.
        mismatch: why the pair is outside of what the model was trained on, in words.
        labels: what became of labels that were moved, where it gives reason to look, in words.
    """

    overlap_before: float | None = None
    overlap_after: float | None = None
    correlation_header: float | None = None
    correlation_affine: float | None = None
    correlation_after: float | None = None
    correlation_global: float | None = None
    histogram_distance: float | None = None
    gain_range: float | None = None
    covered: float | None = None
    counted_fixed: float | None = None
    counted_moving: float | None = None
    overlap_unmasked: float | None = None
    correlation_unmasked: float | None = None
    folding_percent: float | None = None
    jacobian_min: float | None = None
    jacobian_p01: float | None = None
    jacobian_p99: float | None = None
    jacobian_max: float | None = None
    place_ratio_min: float | None = None
    place_ratio_max: float | None = None
    displacement_p99_mm: float | None = None
    border_displacement_mm: float | None = None
    there_and_back_mm: float | None = None
    affine_scales: tuple[float, float, float] | None = None
    affine_shears: tuple[float, float, float] | None = None
    affine_rotation_deg: float | None = None
    mirrored: bool = False
    extent_mm: float | None = None
    mismatch: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def shape_of(self, affine: Affine) -> None:
        """Fill in what an affine does: rotation @ diag(scales) @ unit upper triangle."""
        rotation, upper = np.linalg.qr(affine.matrix[:3, :3])
        signs = np.sign(np.diag(upper))
        rotation, upper = rotation * signs, upper * signs[:, None]
        scales = np.diag(upper)
        shears = upper / scales[:, None]
        self.affine_scales = float(scales[0]), float(scales[1]), float(scales[2])
        self.affine_shears = float(shears[0, 1]), float(shears[0, 2]), float(shears[1, 2])
        self.mirrored = bool(np.linalg.det(rotation) < 0)
        turn = rotation * (-1.0, 1.0, 1.0) if self.mirrored else rotation
        self.affine_rotation_deg = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))

    def figures(self) -> dict[str, Any]:
        """What was measured, numbers only."""
        words = ("mismatch", "labels", "mirrored")
        return {name: value for name, value in vars(self).items() if value is not None and name not in words}


def local_correlation(fixed: Float32, moved: Float32, mask: NDArray[np.bool_]) -> float:
    """Mean over `mask` of the squared local correlation in windows of 5x5x5 voxels, in [0, 1].

    Args:
        fixed, moved: (D, H, W) of about unit range.
        mask: (D, H, W) of the voxels that count.
    """
    if not mask.any():
        return 0.0
    squared = squared_local_correlation(fixed, moved, WINDOW_RADIUS, _VARIANCE_FLOOR, mask)
    return float(np.mean(squared, dtype=np.float64))


def local_explanation(fixed: Float32, moved: Float32, mask: NDArray[np.bool_]) -> float:
    """Mean over `mask` of the share of `moved` that `fixed` explains in such windows, in [0, 1]: across contrasts."""
    return float(locally_explained(fixed, moved, WINDOW_RADIUS)[mask].mean()) if mask.any() else 0.0


def correlation(fixed: Float32, moved: Float32) -> float:
    """Correlation of (N,) intensities, in [-1, 1]; 0 if there are none or they are constant."""
    if not fixed.size:
        return 0.0
    f, m = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (fixed, moved))
    # Not `f @ m`: BLAS sums in as many parts as it has threads, so that the last digits would depend on the process.
    ff, mm, fm = (float((a * b).sum()) for a, b in ((f, f), (m, m), (f, m)))
    size = float(np.sqrt(ff * mm))
    return fm / size if size > 0 else 0.0


def distance(fixed: Float32, moved: Float32) -> float:
    """Mean distance of two samples rank by rank, in their own unit: the Wasserstein-1 distance at 19 ranks.

    Example:
        >>> round(distance(np.arange(9, dtype=np.float32), np.arange(9, dtype=np.float32) + 2), 6)
        2.0
    """
    if not fixed.size:
        return 1.0
    ranks = np.linspace(5, 95, 19)
    return float(np.mean(np.abs(np.percentile(fixed, ranks) - np.percentile(moved, ranks))))


def overlap(fixed: NDArray[np.bool_], moved: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks; 0 if both are empty."""
    total = int(fixed.sum()) + int(moved.sum())
    return 2.0 * int((fixed & moved).sum()) / total if total else 0.0


def containment(fixed: NDArray[np.bool_], moved: NDArray[np.bool_]) -> float:
    """Share of the smaller mask that lies in the larger one: a brain inside a whole head; 0 if one is empty."""
    smaller = min(int(fixed.sum()), int(moved.sum()))
    return int((fixed & moved).sum()) / smaller if smaller else 0.0


def deformation_evidence(
    evidence: Evidence,
    displacement: Float32,
    mask: NDArray[np.bool_],
    spacing_mm: Any,
    pool: tuple[int, int, int] = (1, 1, 1),
) -> None:
    """Fill in folding, Jacobian and displacement figures of a field.

    Args:
        evidence: to fill in.
        displacement: (3, d, h, w), in its voxels.
        mask: (d, h, w) of the voxels that count.
        spacing_mm: (3,) of its grid.
        pool: voxels of the working grid in one of its voxels, along each axis.
    """
    if not mask.any():
        return
    everywhere = jacobian_determinant(displacement)
    evidence.place_ratio_min, evidence.place_ratio_max = _place_ratios(everywhere, mask, pool)
    determinant = everywhere[mask]
    steps = (np.square(u[mask] * s) for u, s in zip(displacement, np.asarray(spacing_mm, np.float32), strict=True))
    length_mm = np.sqrt(sum(steps, np.float32(0)))
    evidence.folding_percent = 100.0 * float(np.mean(determinant <= 0))
    evidence.jacobian_min, evidence.jacobian_max = float(determinant.min()), float(determinant.max())
    evidence.jacobian_p01, evidence.jacobian_p99 = map(float, np.percentile(determinant, (1, 99)))
    evidence.displacement_p99_mm = float(np.percentile(length_mm, 99))


def _place_ratios(determinant: Float32, mask: NDArray[np.bool_], pool: tuple[int, int, int]) -> tuple[float, float]:
    """Smallest and largest mean over the masked part of cubes that lie in the mask by half or more."""
    size = (max(1, _PLACE // pool[0]), max(1, _PLACE // pool[1]), max(1, _PLACE // pool[2]))
    inside = mask.astype(np.float32)
    share, total = _pairs(block_mean(inside, size)), _pairs(block_mean(determinant * inside, size))
    full = share >= min(0.5, float(share.max()))
    ratios = total[full] / share[full]
    return float(ratios.min()), float(ratios.max())


def _pairs(blocks: Float32) -> Float32:
    """Means of two neighbours along each axis that has them."""
    for axis in range(3):
        if blocks.shape[axis] > 1:
            low, high = (np.take(blocks, range(k, blocks.shape[axis] - 1 + k), axis=axis) for k in (0, 1))
            blocks = np.asarray((low + high) / 2, np.float32)
    return blocks


def verdict(evidence: Evidence, group: str | None = None) -> dict[str, Any]:
    """The verdict on a registration.

    Args:
        evidence: what was measured.
        group: by whose limits to judge; see `limits.group_of`.

    Returns:
        "verdict", "pass", "check" or "fail" (a figure beyond its limit for that; or out of their limits three aspects,
        or clearly two that are decisive); "reasons" in plain words, the gravest first; "remarks", those of them that
        are no figures; "judged", each figure with what passes and its state; "limits", the group.
    """
    remarks = [*evidence.mismatch, *evidence.labels]
    return {**judge(evidence.figures(), remarks, limits_for(group), mirrored=evidence.mirrored), "limits": group}


def judge(
    figures: Mapping[str, Any], remarks: Sequence[str], limits: Mapping[str, Limit], *, mirrored: bool = False
) -> dict[str, Any]:
    """`verdict` from figures as `run.json` has them.

    Args:
        figures: by name; see `Evidence`.
        remarks: reasons to look that are no figures.
        limits: of the figures; see `limits.limits_for`.
        mirrored: whether the affine exchanges left and right.
    """
    fails: list[str] = []
    checks: list[str] = []
    aspects: dict[str, bool] = {}  # those that are out of their limits, and whether clearly
    judged: list[dict[str, Any]] = []
    if mirrored:
        fails.append("the affine exchanges left and right")
    for name, limit, value in compared(figures, _fair(figures, limits)):
        failed, checked = limit.beyond(value, limit.fail), limit.beyond(value, limit.check)
        state = "fail" if failed else "check" if checked else "pass"
        if state != "pass":
            (fails if failed else checks).append(limit.words(value))
            aspects[limit.aspect] = aspects.get(limit.aspect, False) or failed or limit.clearly_beyond(value)
        if limit.check is not None:
            judged.append({"figure": name, "value": value, "passes": limit.passes(value), "state": state})
    worse = _worse(figures)
    if worse:
        (fails if worse[1] else checks).append(worse[0])
    if len(aspects.keys() - _ASIDE) >= _MANY or sum(aspects[name] for name in aspects.keys() & _DECISIVE) > 1:
        fails, checks = [*fails, *checks], []
    word = "fail" if fails else "check" if checks or remarks else "pass"
    reasons = [*fails, *checks, *remarks]
    return {"verdict": word, "reasons": reasons, "remarks": list(remarks), "judged": judged}


def _fair(figures: Mapping[str, Any], limits: Mapping[str, Limit]) -> Mapping[str, Limit]:
    """Return limits that let a strong bias field change intensities as far as any images may differ in them."""
    if figures.get("gain_range", 1.0) <= BIASED:
        return limits
    return {name: FIGURES[name] if limit.aspect == "intensity" else limit for name, limit in limits.items()}


def compared(figures: Mapping[str, Any], limits: Mapping[str, Limit]) -> Iterator[tuple[str, Limit, float]]:
    """Each figure that was measured with its limit; of the overlap and the correlation the last one counts."""
    values: dict[str, Any] = {name: value for name, value in figures.items() if value is not None}
    values["overlap"] = values.get("overlap_after", values.get("overlap_before"))
    values["correlation"] = values.get("correlation_after", values.get("correlation_affine"))
    scales, shears = values.get("affine_scales"), values.get("affine_shears")
    values["affine_stretch"] = max(max(abs(s), 1 / abs(s)) for s in scales) if scales else None
    values["affine_shear"] = max(map(abs, shears)) if shears else None
    unmasked, within = values.get("correlation_unmasked"), values["correlation"]
    values["unmasked_share"] = min(1.0, unmasked / within) if unmasked is not None and within else None
    back, extent = values.get("there_and_back_mm"), values.get("extent_mm")
    values["disagreement"] = back / extent if back is not None and extent else None
    for name, limit in limits.items():
        if values.get(name) is not None:
            yield name, limit, float(values[name])


def _worse(figures: Mapping[str, Any]) -> tuple[str, bool] | None:
    """What to say if the deformation took the images further apart, and whether that is much."""
    affine, after = figures.get("correlation_affine"), figures.get("correlation_after")
    if affine is None or after is None or after >= affine - _NOT_WORSE:
        return None
    told = f"the deformation made the images less alike than the affine had ({affine:.2f} before, {after:.2f} after)"
    # Images that were nearly equal already can only lose a little; then the affine alone is the better answer.
    return told, after < _WORSE * affine
