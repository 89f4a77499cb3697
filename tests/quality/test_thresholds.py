"""How limits are worded: with digits that tell a value from its limit."""

from __future__ import annotations

import re

import pytest

from lightcrcf.quality.thresholds import FIGURES, Limit


@pytest.mark.parametrize("value", [0.9874, 0.9894, 0.98949, 0.9])
def test_a_value_and_its_limit_are_never_told_alike(value: float) -> None:
    limit = Limit("low", "place", "{value}; {limit} or more is usual", 0.9895)
    found, usual = map(float, re.findall(r"\d\.\d+", limit.words(value)))
    assert found < usual
    assert limit.passes(value).startswith(f"{usual:.{limit.digits_for(value)}f}")


def test_far_from_its_limit_a_value_has_the_digits_of_its_figure() -> None:
    assert "by 0.30; 0.85 or more" in FIGURES["overlap"].words(0.3)
    assert FIGURES["overlap"].passes(0.3) == "0.85 or more"


def test_what_is_no_number_can_be_told() -> None:
    assert "nan" in FIGURES["overlap"].words(float("nan"))
