"""The page of keys is what the code reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from lightcrcf.training.config import TrainingConfig
from lightcrcf.training.recipe.keys import key_page, key_rows, sections
from lightcrcf.training.recipe.section import Section
from lightcrcf.training.recipe.words import toml

PAGE = Path(__file__).parents[3] / "docs" / "recipe.md"


def test_the_page_is_current() -> None:
    """python -m lightcrcf.training.recipe.keys docs/recipe.md"""
    assert PAGE.read_text(encoding="utf-8") == key_page()


def test_every_section_is_on_it() -> None:
    assert [title for title, _ in sections(TrainingConfig)] == [
        "At the top",
        "`[data]`",
        "`[[data.cohorts]]`",
        "`[data.cohorts.bids]`",
        "`[data.cohorts.split]`",
        "`[[stages]]`",
        "`[loss]`",
        "`[augment]`",
        "`[run]`",
    ]


class Small(Section):
    """A section.

    Args:
        a, b: of something.
        c: of a list,
            in two lines.
    """

    a: int
    b: float = 0.5
    c: list[int] = Field(default=[])


def test_rows_come_from_the_declarations() -> None:
    assert key_rows(Small) == [
        ("`a`", "integer", "required", "of something."),
        ("`b`", "number", "`0.5`", "of something."),
        ("`c`", "list of integers", "", "of a list, in two lines."),
    ]


def test_a_key_without_a_meaning_is_an_error() -> None:
    class Silent(Small):
        """A section without a word."""

    with pytest.raises(ValueError, match="says nothing of a, b, c"):
        key_rows(Silent)


def test_long_values_are_shortened() -> None:
    assert toml(["a" * 100]) == '["' + "a" * 54 + " ..."
