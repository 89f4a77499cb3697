"""The limits of quality control: one table for all images, and narrower ones that were measured for each model.

The measured ones lie in `limits.json`, which `python -m lightcrcf_bench.quality.calibration` writes from a record;
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

from lightcrcf.preprocessing.foreground import ImageType

__all__ = ["BIASED", "FIGURES", "HEAD_LITRES", "Limit", "group_of", "limits_for", "narrowed"]

Side = Literal["low", "high"]
Aspect = Literal["place", "coverage", "detail", "intensity", "field", "way back", "affine", "masks", "bias"]

_MOST_DIGITS = 6
HEAD_LITRES = 8.0
"""Of foreground; an abdomen has more than 10."""
_SLAB_LITRES = 1.3  # of a head; the T2 of thick slices at hand show 1.5 and more


@dataclass(frozen=True)
class Limit:
    """From where on a figure is unusual.

    Args:
        side: which values are suspicious.
        reason: in plain words, with {value} and {limit}.
        aspect: what the figure is evidence of; figures of one aspect speak once, since they go wrong together.
        check: beyond it a result must be looked at; None to judge nothing.
        fail: beyond it a result is wrong.
        digits: of the figure in words.
    """

    side: Side
    aspect: Aspect
    reason: str
    check: float | None = None
    fail: float | None = None
    digits: int = 2

    def beyond(self, value: float, limit: float | None) -> bool:
        """Whether a value lies on the suspicious side of a limit; what is not a number does."""
        if limit is None:
            return False
        return not (value >= limit if self.side == "low" else value <= limit)

    def clearly_beyond(self, value: float) -> bool:
        """Whether a value lies beyond the limit for a check by more than chance takes it there."""
        if self.check is None:
            return False
        size = abs(self.check)
        return self.beyond(value, self.check - 0.04 * size if self.side == "low" else self.check + 0.1 * size)

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
            >>> limit = Limit("low", "place", "", 0.9895)
            >>> [limit.digits_for(value) for value in (0.5, 0.9874, 0.98945, 0.9895)]
            [2, 4, 5, 4]
        """
        if self.check is None or not math.isfinite(value):
            return self.digits
        gap = abs(value - self.check)
        return next((n for n in range(self.digits, _MOST_DIGITS + 1) if 3 * 10.0**-n <= gap), self.digits + 2)


BIASED = 2.0
"""From so large a range of the smooth factor on, intensities are not held against what unbiased images have."""

_MASK = (
    "the {role} mask leaves only {{value}} of the {role} foreground; {{limit}} or more is usual: 0 marks what must not "
    "count, so invert a mask that is 1 in the lesion"
)

FIGURES: dict[str, Limit] = {
    "overlap": Limit(
        "low", "place", "the foregrounds overlap by {value}; {limit} or more is usual", 0.85, 0.7
    ),
    "covered": Limit(
        "low", "coverage", "the moving image covers only {value} of the fixed foreground; {limit} or more is usual",
        0.7, 0.1,
    ),
    "correlation": Limit(
        "low", "detail", "the images resemble each other little (mean squared local correlation {value}; {limit} or "
        "more is usual)", 0.15, 0.05
    ),
    "correlation_global": Limit(
        "low", "intensity", "bright and dark do not correspond (correlation {value}; {limit} or more is usual): "
        "another contrast, or not the same anatomy", 0.6
    ),
    "histogram_distance": Limit(
        "high", "intensity", "the intensities of the images differ by {value} of their range; up to {limit} is usual",
        0.15
    ),
    "gain_range": Limit(
        "high", "bias", "a smooth factor lies between the intensities, {value} times larger in one place than in "
        "another; up to {limit} is usual: correct the bias field before", BIASED
    ),
    "counted_fixed": Limit("low", "masks", _MASK.format(role="fixed"), 1 / 3),
    "counted_moving": Limit("low", "masks", _MASK.format(role="moving"), 1 / 3),
    "overlap_unmasked": Limit(
        "low", "masks", "with what the masks leave out the foregrounds overlap by {value}; {limit} or more is usual",
        0.85, 0.5
    ),
    "unmasked_share": Limit(
        "low", "masks", "what the masks leave out is not aligned: with it the squared local correlation is only "
        "{value} of that within them; {limit} or more is usual", 0.75, 0.35
    ),
    "folding_percent": Limit("high", "field", "{value} % of the field folds; up to {limit} is usual", 0.5, 2.0),
    "jacobian_p01": Limit(
        "low", "field", "a hundredth of the foreground is squeezed to {value} of its volume or less; {limit} or more "
        "is usual", 0.05, 0.02
    ),
    "jacobian_p99": Limit(
        "high", "field", "a hundredth of the foreground is stretched to {value} times its volume or more; up to "
        "{limit} is usual", 6.0, 12.0
    ),
    "place_ratio_min": Limit(
        "low", "field", "a place of 8 voxels' width is squeezed to {value} of its volume; {limit} or more is usual",
        0.05, 0.02
    ),
    "place_ratio_max": Limit(
        "high", "field", "a place of 8 voxels' width is stretched to {value} times its volume; up to {limit} is usual",
        8.0, 20.0, digits=1
    ),
    "displacement_p99_mm": Limit(
        "high", "field", "places move by {value} mm; up to {limit} is usual", digits=1
    ),
    "border_displacement_mm": Limit(
        "high", "field", "the field moves the border by {value} mm; up to {limit} is usual: is part of the anatomy cut "
        "off?", digits=1,
    ),
    "there_and_back_mm": Limit(
        "high", "way back", "a registration the other way disagrees by {value} mm on average; up to {limit} is usual",
        digits=1
    ),
    "disagreement": Limit(
        "high", "way back", "a registration the other way disagrees by {value} of the anatomy's size; up to {limit} is "
        "usual", 0.12
    ),
    "affine_stretch": Limit(
        "high", "affine", "the affine stretches or shrinks by a factor of {value}; up to {limit} is usual", 1.6
    ),
    "affine_shear": Limit("high", "affine", "the affine shears by {value}; up to {limit} is usual", 0.45),
    "affine_rotation_deg": Limit(
        "high", "affine", "the affine turns by {value} degrees; up to {limit} is usual: are the headers right about "
        "the orientation?", 100.0, digits=0
    ),
}  # fmt: skip
"""What is judged, in the order in which reasons are given, with limits for any images."""

# Two skull strippers leave one person's brain overlapping by .985 once it is registered: no limit is stricter,
# however well the images that it was measured on were stripped by one. Images that show all of an anatomy say nothing
# of how much of it may be missing.
_NO_STRICTER = {"overlap": 0.975, "covered": 0.98}
# A brain that was cut out of a head has another edge than one that was stripped, and comes from another scanner than
# the one it is registered with: docs/decisions/0021-raw-heads.md.
_WHOLE = "whole head or body"
_CUT_OUT, _TWO = ", cut out of a head", ", two contrasts"
_HALF = ("correlation",)  # half of what each good registration of a model reached is wrong for that model


def group_of(
    model: str | None,
    contents: tuple[ImageType, ImageType],
    *,
    deformed: bool,
    cut_out: bool = False,
    across: bool = False,
) -> str | None:
    """Return by whose measured limits a registration is judged: a model's, those of a kind without one, or None.

    Args:
        model: its name.
        contents: what the fixed and the moving image show.
        deformed: whether there is more than an affine, which no group was measured for.
        cut_out: whether one image is the brain of a head, cut out.
        across: whether the images are of two contrasts.

    Example:
        >>> head, body = (ImageType(litres, 0.0, False, "whole head or body") for litres in (4.2, 14.0))
        >>> group_of("brain-t1", (head, head), deformed=True), group_of(None, (head, head), deformed=True)
        ('brain-t1', 'head')
        >>> group_of("brain-t1", (head, head), deformed=True, cut_out=True)
        'brain-t1, cut out of a head'
        >>> group_of(None, (head, head), deformed=True, across=True)
        'head, two contrasts'
        >>> group_of(None, (head, body), deformed=True), group_of("brain-t1", (head, head), deformed=False)
        (None, None)
    """
    if not deformed:
        return None
    if across:
        model = _of_two_contrasts(contents)
    elif model is None and all(map(_head, contents)):
        model = "head"
    return f"{model}{_CUT_OUT}" if model and cut_out else model


def _of_two_contrasts(contents: tuple[ImageType, ImageType]) -> str | None:
    """Return the kind of two images that were measured across contrasts; none was measured in Hounsfield units."""
    if any(content.ct for content in contents):
        return None
    if all(content.kind == "skull-stripped brain" for content in contents):
        return f"brain{_TWO}"
    return f"head{_TWO}" if any(map(_head, contents)) and all(map(_of_a_head, contents)) else None


def _head(content: ImageType) -> bool:
    return content.kind == _WHOLE and content.foreground_litres <= HEAD_LITRES


def _of_a_head(content: ImageType) -> bool:
    """Whether it may be a head, or a slab of one, as a scan of thick slices shows it."""
    slab = content.kind == "other" and not content.masked and content.foreground_litres >= _SLAB_LITRES
    return slab or _head(content)


def limits_for(group: str | None) -> Mapping[str, Limit]:
    """Return the limits for results of a group, see `group_of`; for any other, those for all images.

    Example:
        >>> limits_for(None)["overlap"].check
        0.85
    """
    return narrowed(_measured().get(group or "none", {}))


def narrowed(measured: Mapping[str, float]) -> Mapping[str, Limit]:
    """Return the limits for all images with some replaced by measured ones.

    What a field may do to volumes is for anatomy to say, and what an image does not cover is not known however often it
    went well: no measurement makes those limits wider. Nor does any make that of the foregrounds' overlap stricter than
    what masks by different tools reach, or ask that all is covered.
    """
    return {
        name: _narrowed(limit, name, measured[name]) if name in measured else limit for name, limit in FIGURES.items()
    }


def _narrowed(limit: Limit, name: str, measured: float) -> Limit:
    if limit.aspect in ("field", "coverage") and limit.check is not None:
        measured = max(measured, limit.check) if limit.side == "low" else min(measured, limit.check)
    measured = min(measured, _NO_STRICTER.get(name, measured))
    return replace(limit, check=measured, fail=measured / 2 if name in _HALF else limit.fail)


@cache
def _measured() -> dict[str, dict[str, float]]:
    text = (resources.files("lightcrcf.quality") / "limits.json").read_text(encoding="utf-8")
    groups: dict[str, Any] = json.loads(text)["limits"]
    return groups
