"""Thresholds of quality control: one table for all images, and narrower ones calibrated for each model.

The calibrated ones lie in `limits.json`, which `python -m lightcrcf_bench.quality.calibration` writes from a record;
docs/quality.md describes how.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal

from lightcrcf.preprocessing.foreground import ImageType

__all__ = [
    "MAX_HEAD_LITRES",
    "STRONG_BIAS",
    "THRESHOLDS",
    "Threshold",
    "calibrated",
    "group_of",
    "is_head",
    "thresholds_for",
]

Side = Literal["low", "high"]
Aspect = Literal["place", "coverage", "detail", "intensity", "field", "way back", "affine", "masks", "bias"]

_MAX_DIGITS = 6
MAX_HEAD_LITRES = 8.0
"""Foreground of a head, at most; an abdomen has more than 10."""


@dataclass(frozen=True)
class Threshold:
    """The value from which on a metric is suspicious.

    Args:
        side: whether low or high values are suspicious.
        reason: sentence for a verdict, with {value} and {limit}.
        aspect: what the metric is evidence of; metrics of one aspect count once, since they go wrong together.
        check: beyond it a result needs a look; None to judge nothing.
        fail: beyond it a result is wrong.
        digits: decimals in text.
    """

    side: Side
    aspect: Aspect
    reason: str
    check: float | None = None
    fail: float | None = None
    digits: int = 2

    def violates(self, value: float, limit: float | None) -> bool:
        """Return whether a value lies on the suspicious side of a limit; NaN does."""
        if limit is None:
            return False
        return not (value >= limit if self.side == "low" else value <= limit)

    def clearly_violates(self, value: float) -> bool:
        """Return whether a value lies beyond the limit for a check by more than chance explains."""
        if self.check is None:
            return False
        size = abs(self.check)
        return self.violates(value, self.check - 0.04 * size if self.side == "low" else self.check + 0.1 * size)

    def describe(self, value: float) -> str:
        """Return the reason for this value.

        Example:
            >>> THRESHOLDS["overlap"].describe(0.8491)
            'the foregrounds overlap by 0.8491; 0.8500 or more is usual'
        """
        limit = 0.0 if self.check is None else self.check
        digits = self.digits_for(value)
        return self.reason.format(value=f"{value:.{digits}f}", limit=f"{limit:.{digits}f}")

    def passing(self, value: float) -> str:
        """Return the passing range as text, with as many digits as `describe` uses for this value."""
        if self.check is None:
            return ""
        return f"{self.check:.{self.digits_for(value)}f} or {'more' if self.side == 'low' else 'less'}"

    def digits_for(self, value: float) -> int:
        """Return the decimals that distinguish a value from the limit: `digits`, or more where they are close.

        Example:
            >>> threshold = Threshold("low", "place", "", 0.9895)
            >>> [threshold.digits_for(value) for value in (0.5, 0.9874, 0.98945, 0.9895)]
            [2, 4, 5, 4]
        """
        if self.check is None or not math.isfinite(value):
            return self.digits
        gap = abs(value - self.check)
        return next((n for n in range(self.digits, _MAX_DIGITS + 1) if 3 * 10.0**-n <= gap), self.digits + 2)


STRONG_BIAS = 2.0
"""Range of the smooth gain from which on intensities are judged by the thresholds for all images."""

_MASK = (
    "the {role} mask leaves only {{value}} of the {role} foreground; {{limit}} or more is usual: 0 marks what must not "
    "count, so invert a mask that is 1 in the lesion"
)

THRESHOLDS: dict[str, Threshold] = {
    "overlap": Threshold(
        "low", "place", "the foregrounds overlap by {value}; {limit} or more is usual", 0.85, 0.7
    ),
    "covered": Threshold(
        "low", "coverage", "the moving image covers only {value} of the fixed foreground; {limit} or more is usual",
        0.7, 0.1,
    ),
    "correlation": Threshold(
        "low", "detail", "the images resemble each other little (mean squared local correlation {value}; {limit} or "
        "more is usual)", 0.15, 0.05
    ),
    "correlation_global": Threshold(
        "low", "intensity", "bright and dark do not correspond (correlation {value}; {limit} or more is usual): "
        "another contrast, or not the same anatomy", 0.6
    ),
    "histogram_distance": Threshold(
        "high", "intensity", "the intensities of the images differ by {value} of their range; up to {limit} is usual",
        0.15
    ),
    "gain_range": Threshold(
        "high", "bias", "a smooth factor lies between the intensities, {value} times larger in one place than in "
        "another; up to {limit} is usual: correct the bias field before", STRONG_BIAS
    ),
    "counted_fixed": Threshold("low", "masks", _MASK.format(role="fixed"), 1 / 3),
    "counted_moving": Threshold("low", "masks", _MASK.format(role="moving"), 1 / 3),
    "overlap_unmasked": Threshold(
        "low", "masks", "with what the masks leave out the foregrounds overlap by {value}; {limit} or more is usual",
        0.85, 0.5
    ),
    "unmasked_share": Threshold(
        "low", "masks", "what the masks leave out is not aligned: with it the squared local correlation is only "
        "{value} of that within them; {limit} or more is usual", 0.75, 0.35
    ),
    "folding_percent": Threshold("high", "field", "{value} % of the field folds; up to {limit} is usual", 0.5, 2.0),
    "jacobian_p01": Threshold(
        "low", "field", "a hundredth of the foreground is squeezed to {value} of its volume or less; {limit} or more "
        "is usual", 0.05, 0.02
    ),
    "jacobian_p99": Threshold(
        "high", "field", "a hundredth of the foreground is stretched to {value} times its volume or more; up to "
        "{limit} is usual", 6.0, 12.0
    ),
    "place_ratio_min": Threshold(
        "low", "field", "a place of 8 voxels' width is squeezed to {value} of its volume; {limit} or more is usual",
        0.05, 0.02
    ),
    "place_ratio_max": Threshold(
        "high", "field", "a place of 8 voxels' width is stretched to {value} times its volume; up to {limit} is usual",
        8.0, 20.0, digits=1
    ),
    "displacement_p99_mm": Threshold(
        "high", "field", "places move by {value} mm; up to {limit} is usual", digits=1
    ),
    "border_displacement_mm": Threshold(
        "high", "field", "the field moves the border by {value} mm; up to {limit} is usual: is part of the anatomy cut "
        "off?", digits=1,
    ),
    "there_and_back_mm": Threshold(
        "high", "way back", "a registration the other way disagrees by {value} mm on average; up to {limit} is usual",
        digits=1
    ),
    "disagreement": Threshold(
        "high", "way back", "a registration the other way disagrees by {value} of the anatomy's size; up to {limit} is "
        "usual", 0.12
    ),
    "affine_stretch": Threshold(
        "high", "affine", "the affine stretches or shrinks by a factor of {value}; up to {limit} is usual", 1.6
    ),
    "affine_shear": Threshold("high", "affine", "the affine shears by {value}; up to {limit} is usual", 0.45),
    "affine_rotation_deg": Threshold(
        "high", "affine", "the affine turns by {value} degrees; up to {limit} is usual: are the headers right about "
        "the orientation?", 100.0, digits=0
    ),
}  # fmt: skip
"""Thresholds for all images, in the order in which reasons are given; names of `QualityMetrics` and its properties."""

# Two skull strippers leave one person's brain overlapping by .985 after registration: no threshold is stricter, however
# high the overlap of images stripped by one tool. Images of a whole anatomy do not tell how much of it may be missing.
_STRICTEST = {"overlap": 0.975, "covered": 0.98}
# A brain that was extracted from a head has another edge than a stripped one, and comes from another scanner than the
# image it is registered with: docs/decisions/0021-raw-heads.md.
_HEAD = "whole head or body"
_EXTRACTED, _TWO_CONTRASTS = ", cut out of a head", ", two contrasts"
_FAIL_AT_HALF = ("correlation",)  # half of what each good registration of a model reached is wrong for that model


def group_of(
    model: str | None,
    contents: tuple[ImageType, ImageType],
    *,
    deformed: bool,
    cut_out: bool = False,
    across: bool = False,
) -> str | None:
    """Return the group whose calibrated thresholds apply: a model's, that of a kind of image, or None.

    Args:
        model: its name.
        contents: image types of the fixed and the moving image.
        deformed: whether there is a deformation; no group was calibrated for affine results.
        cut_out: whether one image is a brain extracted from a head.
        across: whether the images are of two contrasts.

    Example:
        >>> head, body = (ImageType(litres, 0.0, False, "whole head or body") for litres in (4.2, 14.0))
        >>> group_of("brain", (head, head), deformed=True), group_of(None, (head, head), deformed=True)
        ('brain', 'head')
        >>> group_of("brain", (head, head), deformed=True, cut_out=True)
        'brain, cut out of a head'
        >>> group_of(None, (head, head), deformed=True, across=True)
        'head, two contrasts'
        >>> group_of(None, (head, body), deformed=True), group_of("brain", (head, head), deformed=False)
        (None, None)
    """
    if not deformed:
        return None
    if across:
        model = _group_of_two_contrasts(contents)
    elif model is None and all(map(is_head, contents)):
        model = "head"
    return f"{model}{_EXTRACTED}" if model and cut_out else model


def _group_of_two_contrasts(contents: tuple[ImageType, ImageType]) -> str | None:
    """Return the group of a pair of two contrasts.

    None was calibrated with CT, nor with slabs of different persons: there a field went wrong within a good outline.
    """
    if any(content.ct for content in contents):
        return None
    if all(content.kind == "skull-stripped brain" for content in contents):
        return f"brain{_TWO_CONTRASTS}"
    return f"head{_TWO_CONTRASTS}" if all(map(is_head, contents)) else None


def is_head(content: ImageType) -> bool:
    """Return whether an image shows a whole head."""
    return content.kind == _HEAD and content.foreground_litres <= MAX_HEAD_LITRES


def thresholds_for(group: str | None) -> Mapping[str, Threshold]:
    """Return the thresholds of a group, see `group_of`; for any other those for all images.

    Example:
        >>> thresholds_for(None)["overlap"].check
        0.85
    """
    return calibrated(_calibration().get(group or "none", {}))


def calibrated(limits: Mapping[str, float]) -> Mapping[str, Threshold]:
    """Return the thresholds for all images with some limits replaced by calibrated ones.

    The limits of volume change and coverage never become wider: anatomy sets the former, and no calibration shows what
    an image does not cover. Those of overlap and coverage never become stricter than masks by different tools allow.

    Args:
        limits: for a check, by the name of the metric.
    """
    return {name: _calibrated(one, name, limits[name]) if name in limits else one for name, one in THRESHOLDS.items()}


def _calibrated(threshold: Threshold, name: str, limit: float) -> Threshold:
    if threshold.aspect in ("field", "coverage") and threshold.check is not None:
        limit = max(limit, threshold.check) if threshold.side == "low" else min(limit, threshold.check)
    limit = min(limit, _STRICTEST.get(name, limit))
    return replace(threshold, check=limit, fail=limit / 2 if name in _FAIL_AT_HALF else threshold.fail)


@cache
def _calibration() -> dict[str, dict[str, float]]:
    text = (resources.files("lightcrcf.quality") / "limits.json").read_text(encoding="utf-8")
    groups: dict[str, dict[str, float]] = json.loads(text)["limits"]
    return groups
