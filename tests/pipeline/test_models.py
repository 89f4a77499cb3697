"""Which network suits a pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.pipeline.foreground import Content
from lightcrcf.pipeline.models import choose_model
from lightcrcf.weights import store

BRAIN = Content(1.2, 0.7, True, "skull-stripped brain")
HEAD = Content(3.4, 0.0, False, "whole head or body")


def test_two_stripped_brains_get_the_brain_model() -> None:
    choice = choose_model("auto", BRAIN, BRAIN)
    assert choice.weights is not None
    assert choice.weights.name == "brain-t1"
    assert choice.mismatch == ()
    assert "both images look like a skull-stripped brain" in choice.reason


@pytest.mark.parametrize(("fixed", "moving"), [(HEAD, BRAIN), (BRAIN, HEAD), (HEAD, HEAD)])
def test_what_no_model_knows_gets_none_and_says_so(fixed: Content, moving: Content) -> None:
    choice = choose_model("auto", fixed, moving)
    assert choice.weights is None
    assert choice.mismatch == (choice.reason,)
    assert f"the fixed image looks like a {fixed.kind}" in choice.reason
    assert f"the moving image looks like a {moving.kind}" in choice.reason
    assert "affine only" in choice.reason


def test_another_kind_of_image_is_something_else() -> None:
    other = Content(1.4, 0.0, False, "other")
    assert "the moving image looks like something else" in choose_model("auto", BRAIN, other).reason


def test_none_is_no_mismatch() -> None:
    choice = choose_model("none", HEAD, BRAIN)
    assert choice.weights is None
    assert choice.mismatch == ()


def test_a_model_asked_for_is_taken_with_a_warning_where_it_does_not_fit() -> None:
    choice = choose_model("brain-t1", BRAIN, HEAD)
    assert choice.weights is not None
    assert choice.mismatch == (
        "brain-t1 was trained on a skull-stripped brain, but the moving image looks like a whole head or body",
    )


def test_a_file_is_a_model(coarse_model: Path) -> None:
    choice = choose_model(coarse_model, BRAIN, BRAIN)
    assert choice.weights is not None
    assert choice.weights.spacing_mm == 3.0
    assert choice.weights.arrays.keys() == store.load("brain-t1").arrays.keys()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="brain-t1"):
        choose_model("brain-t9", BRAIN, BRAIN)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors"):
        choose_model(tmp_path / "none.safetensors", BRAIN, BRAIN)
