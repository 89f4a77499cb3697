"""The limits of quality control: one table for all images, and narrower ones that were measured for each model.

The measured ones lie in `limits.json`, which `python -m lightcrcf.benchmark.quality_calibration` writes from a record;
docs/quality.md says how.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

__all__ = ["FIGURES", "Limit", "limits_for", "narrowed"]

Side = Literal["low", "high"]

_MOST_DIGITS = 6


@dataclass(frozen=True)
class Limit:
    """From where on a figure is unusual.

    Args:
        side: which values are suspicious.
        reason: in plain words, with {value} and {limit}.
        check: beyond it a result must be looked at; None to judge nothing.
        fail: beyond it a result is wrong.
        digits: of the figure in words.
    """

    side: Side
    reason: str
    check: float | None = None
    fail: float | None = None
    digits: int = 2

    def beyond(self, value: float, limit: float | None) -> bool:
        """Whether a value lies on the suspicious side of a limit; what is not a number does."""
        if limit is None:
            return False
        return not (value >= limit if self.side == "low" else value <= limit)

    def words(self, value: float) -> str:
        """Return the reason for this value.

        Example:
            >>> FIGURES["overlap"].words(0.8491)
            'the foregrounds overlap by 0.8491; 0.8500 or more is usual'
        """
        limit = 0.0 if self.check is None else self.check
        digits = self.digits_for(value)
        return self.reason.format(value=f"{value:.{digits}f}", limit=f"{limit:.{digits}f}")

    def passes(self, value: float) -> str:
        """Return what passes, in words, with as many digits as `words` has for this value."""
        if self.check is None:
            return ""
        return f"{self.check:.{self.digits_for(value)}f} or {'more' if self.side == 'low' else 'less'}"

    def digits_for(self, value: float) -> int:
        """Return how many digits tell the value and the limit apart: `digits`, or more where they are close.

        Example:
            >>> limit = Limit("low", "", 0.9895)
            >>> [limit.digits_for(value) for value in (0.5, 0.9874, 0.98945, 0.9895)]
            [2, 4, 5, 4]
        """
        if self.check is None or not math.isfinite(value):
            return self.digits
        gap = abs(value - self.check)
        return next((n for n in range(self.digits, _MOST_DIGITS + 1) if 3 * 10.0**-n <= gap), self.digits + 2)


_MASK = (
    "the {role} mask leaves only {{value}} of the {role} foreground; {{limit}} or more is usual: 0 marks what must not "
    "count, so invert a mask that is 1 in the lesion"
)
_UNMASKED = {"overlap_unmasked": "overlap", "correlation_unmasked": "correlation"}
"""Figures over all that is known, and those within the masks whose measured limits they share."""

FIGURES: dict[str, Limit] = {
    "overlap": Limit(
        "low", "the foregrounds overlap by {value}; {limit} or more is usual", 0.85, 0.5
    ),
    "covered": Limit(
        "low", "the moving image covers only {value} of the fixed foreground; {limit} or more is usual", 0.7
    ),
    "correlation": Limit(
        "low", "the images resemble each other little (mean squared local correlation {value}; {limit} or more is "
        "usual)", 0.15
    ),
    "correlation_global": Limit(
        "low", "bright and dark do not correspond (correlation {value}; {limit} or more is usual): another contrast, "
        "or not the same anatomy", 0.6
    ),
    "histogram_distance": Limit(
        "high", "the intensities of the images differ by {value} of their range; up to {limit} is usual", 0.15
    ),
    "counted_fixed": Limit("low", _MASK.format(role="fixed"), 1 / 3),
    "counted_moving": Limit("low", _MASK.format(role="moving"), 1 / 3),
    "overlap_unmasked": Limit(
        "low", "with what the masks leave out the foregrounds overlap by {value}; {limit} or more is usual", 0.85
    ),
    "correlation_unmasked": Limit(
        "low", "with what the masks leave out the images resemble each other little (mean squared local correlation "
        "{value}; {limit} or more is usual): it was not aligned", 0.15
    ),
    "folding_percent": Limit("high", "{value} % of the field folds; up to {limit} is usual", 0.5, 2.0),
    "jacobian_p01": Limit("low", "places are squeezed to {value} of their volume; {limit} is usual"),
    "jacobian_p99": Limit("high", "places are stretched to {value} times their volume; {limit} is usual", 6.0),
    "displacement_p99_mm": Limit("high", "places move by {value} mm; up to {limit} is usual", digits=1),
    "border_displacement_mm": Limit(
        "high", "the field moves the border by {value} mm; up to {limit} is usual: is part of the anatomy cut off?",
        digits=1,
    ),
    "there_and_back_mm": Limit(
        "high", "a registration the other way disagrees by {value} mm on average; up to {limit} is usual", digits=1
    ),
    "disagreement": Limit(
        "high", "a registration the other way disagrees by {value} of the anatomy's size; up to {limit} is usual", 0.2
    ),
    "affine_stretch": Limit(
        "high", "the affine stretches or shrinks by a factor of {value}; up to {limit} is usual", 1.6
    ),
    "affine_shear": Limit("high", "the affine shears by {value}; up to {limit} is usual", 0.45),
    "affine_rotation_deg": Limit(
        "high", "the affine turns by {value} degrees; up to {limit} is usual: are the headers right about the "
        "orientation?", 100.0, digits=0
    ),
}  # fmt: skip
"""What is judged, in the order in which reasons are given, with limits for any images."""


def limits_for(model: str | None) -> Mapping[str, Limit]:
    """The limits for results of a shipped model; for any other, those for all images.

    Example:
        >>> limits_for(None)["overlap"].check
        0.85
    """
    return narrowed(_measured().get(model or "none", {}))


def narrowed(measured: Mapping[str, float]) -> Mapping[str, Limit]:
    """The limits for all images with some replaced by measured ones."""
    known = {**measured, **{name: measured[of] for name, of in _UNMASKED.items() if of in measured}}
    return {name: replace(limit, check=known[name]) if name in known else limit for name, limit in FIGURES.items()}


@cache
def _measured() -> dict[str, dict[str, float]]:
    text = (resources.files("lightcrcf.pipeline") / "limits.json").read_text(encoding="utf-8")
    groups: dict[str, Any] = json.loads(text)["limits"]
    return groups
