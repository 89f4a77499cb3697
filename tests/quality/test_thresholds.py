"""How limits are worded: with digits that tell a value from its limit."""

from __future__ import annotations

import re

import pytest

from lightcrcf.preprocessing.foreground import ImageType
from lightcrcf.quality.thresholds import THRESHOLDS, Threshold, group_of, thresholds_for

BRAIN = ImageType(1.2, 0.6, True, "skull-stripped brain")
HEAD = ImageType(4.0, 0.0, False, "whole head or body")
SLAB = ImageType(1.6, 0.0, False, "other")
BODY = ImageType(14.0, 0.0, False, "whole head or body")
CT_HEAD = ImageType(4.0, 0.3, False, "whole head or body", ct=True)
CROP = ImageType(0.05, 0.0, False, "small crop")
ORGAN = ImageType(1.6, 0.6, True, "other")


@pytest.mark.parametrize("value", [0.9874, 0.9894, 0.98949, 0.9])
def test_a_value_and_its_limit_are_never_told_alike(value: float) -> None:
    limit = Threshold("low", "place", "{value}; {limit} or more is usual", 0.9895)
    found, usual = map(float, re.findall(r"\d\.\d+", limit.describe(value)))
    assert found < usual
    assert limit.passing(value).startswith(f"{usual:.{limit.digits_for(value)}f}")


def test_far_from_its_limit_a_value_has_the_digits_of_its_figure() -> None:
    assert "by 0.30; 0.85 or more" in THRESHOLDS["overlap"].describe(0.3)
    assert THRESHOLDS["overlap"].passing(0.3) == "0.85 or more"


def test_what_is_no_number_can_be_told() -> None:
    assert "nan" in THRESHOLDS["overlap"].describe(float("nan"))


@pytest.mark.parametrize(
    ("contents", "group"),
    [
        ((BRAIN, BRAIN), "brain, two contrasts"),
        ((HEAD, HEAD), "head, two contrasts"),
        ((HEAD, SLAB), None),
        ((SLAB, HEAD), None),
        ((SLAB, SLAB), None),
        ((HEAD, ORGAN), None),
        ((HEAD, BODY), None),
        ((BODY, BODY), None),
        ((CT_HEAD, HEAD), None),
        ((CROP, CROP), None),
        ((BRAIN, HEAD), None),
    ],
)
def test_two_contrasts_have_limits_where_they_were_measured(
    contents: tuple[ImageType, ImageType], group: str | None
) -> None:
    assert group_of(None, contents, deformed=True, across=True) == group
    assert group_of(None, contents, deformed=False, across=True) is None
    assert group is None or thresholds_for(group) != THRESHOLDS


def test_brains_of_heads_have_limits_of_their_own() -> None:
    one, two = (
        group_of(model, (BRAIN, BRAIN), deformed=True, cut_out=True, across=model is None) for model in ("brain", None)
    )
    assert (one, two) == ("brain, cut out of a head", "brain, two contrasts, cut out of a head")
    assert thresholds_for(one) not in (THRESHOLDS, thresholds_for("brain"))
    assert thresholds_for(one)["correlation"].check < thresholds_for("brain")["correlation"].check  # type: ignore[operator]
    assert thresholds_for(two) not in (THRESHOLDS, thresholds_for("brain, two contrasts"))


def test_ct_has_no_limits_of_its_own() -> None:
    """Three persons are too few: they were measured, and no limit of theirs held for the third."""
    body = ImageType(14.0, 0.3, False, "whole head or body", ct=True)
    assert group_of(None, (body, body), deformed=True) is None
    assert group_of(None, (CT_HEAD, CT_HEAD), deformed=True) == "head"
    assert group_of(None, (body, BODY), deformed=True, across=True) is None
