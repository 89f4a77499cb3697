"""Which network suits a pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import ImageType
from lightcrcf.registration.models import select_model
from lightcrcf.weights import store
from lightcrcf.weights.preparation import Preparation, Profile

BRAIN = ImageType(1.2, 0.7, True, "skull-stripped brain")
GRIDS = (Grid((160, 200, 165), np.eye(4)), Grid((256, 256, 160), np.eye(4)))
HEAD = ImageType(3.4, 0.0, False, "whole head or body")


def test_two_stripped_brains_get_the_brain_model() -> None:
    choice = select_model("auto", (BRAIN, BRAIN), GRIDS)
    assert choice.weights is not None
    assert choice.weights.name == "brain"
    assert choice.mismatch == ()
    assert "both images look like a skull-stripped brain" in choice.reason


@pytest.mark.parametrize(("fixed", "moving"), [(HEAD, BRAIN), (BRAIN, HEAD)])
def test_what_no_model_knows_gets_none_and_says_so(fixed: ImageType, moving: ImageType) -> None:
    choice = select_model("auto", (fixed, moving), GRIDS)
    assert choice.weights is None
    assert choice.mismatch == (choice.reason,)
    assert f"the fixed image looks like a {fixed.kind}" in choice.reason
    assert f"the moving image looks like a {moving.kind}" in choice.reason
    assert choice.reason.startswith("no model fits: ")


def test_two_images_of_a_kind_that_no_model_knows_are_no_mismatch() -> None:
    choice = select_model("auto", (HEAD, HEAD), GRIDS)
    assert choice.weights is None
    assert choice.reason.startswith("no model fits: both images look like a whole head or body")
    assert choice.mismatch == ()


def test_crops_that_no_model_knows_are_a_mismatch() -> None:
    crop = ImageType(0.06, 0.0, False, "small crop")
    tall = Grid((20, 40, 140), np.eye(4))
    assert select_model("auto", (crop, crop), (tall, tall)).mismatch != ()


def test_another_kind_of_image_is_something_else() -> None:
    other = ImageType(1.4, 0.0, False, "other")
    assert "the moving image looks like something else" in select_model("auto", (BRAIN, other), GRIDS).reason


def test_what_may_be_a_head_beside_a_brain_is_told_how_to_strip() -> None:
    small, crop = ImageType(1.9, 0.0, False, "other"), ImageType(0.06, 0.0, False, "small crop")
    for contents, told in (((BRAIN, small), True), ((HEAD, BRAIN), True), ((BRAIN, crop), False), ((HEAD,) * 2, False)):
        assert ("--stripped" in select_model("auto", contents, GRIDS).reason) == told


def test_none_is_no_mismatch() -> None:
    choice = select_model("none", (HEAD, BRAIN), GRIDS)
    assert choice.weights is None
    assert choice.mismatch == ()


def test_a_model_asked_for_is_taken_with_a_warning_where_it_does_not_fit() -> None:
    choice = select_model("brain", (BRAIN, HEAD), GRIDS)
    assert choice.weights is not None
    assert choice.mismatch == (
        "brain was trained on a skull-stripped brain, but the moving image looks like a whole head or body",
    )


def test_a_file_is_a_model(coarse_model: Path) -> None:
    choice = select_model(coarse_model, (BRAIN, BRAIN), GRIDS)
    assert choice.weights is not None
    assert choice.weights.preparation.spacing_mm == (3.0, 3.0, 3.0)
    assert choice.weights.arrays.keys() == store.load("brain").arrays.keys()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="brain"):
        select_model("brain-t9", (BRAIN, BRAIN), GRIDS)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors"):
        select_model(tmp_path / "none.safetensors", (BRAIN, BRAIN), GRIDS)


CROP = ImageType(0.06, 0.0, False, "small crop")
CINE = Preparation(None, "whole", align=False)
SEEN = Profile(("small crop",), ((150, 256), (170, 260), (6, 18)), ((150, 256), (170, 260), (6, 18)), (0.01, 0.1))


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    """A model of stacks of slices that share a grid."""
    shipped, path = store.load("brain"), tmp_path / "cine.safetensors"
    store.write_weights(
        path, shipped.arrays, name="cine", config=shipped.config, preparation=CINE, content="cine", profile=SEEN
    )
    return path


@pytest.mark.parametrize(
    ("shapes", "content", "said"),
    [
        (((200, 220, 10), (200, 220, 10)), CROP, ()),
        (((200, 220, 10), (200, 220, 11)), CROP, ("do not share a grid",)),
        (((200, 220, 10), (200, 220, 10)), HEAD, ()),
        (((200, 220, 10), (200, 220, 10)), BRAIN, ("looks like a skull-stripped brain",) * 2),
        (((200, 220, 40), (200, 220, 40)), CROP, ("40 voxels where 6 to 18 were seen in training",) * 2),
        (((100, 220, 10), (100, 220, 10)), CROP, ("100 voxels where 150 to 256 were seen in training",) * 2),
    ],
)
def test_a_profile_says_what_is_unlike(
    shapes: tuple[tuple[int, int, int], ...], content: ImageType, said: tuple[str, ...], cine: Path
) -> None:
    grids = Grid(shapes[0], np.eye(4)), Grid(shapes[1], np.eye(4))
    found = select_model(cine, (content, content), grids).mismatch
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))


def test_of_two_models_the_one_that_saw_labels_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped, files = store.load("brain"), {}
    for name, supervision in (("a", "none"), ("b", "labels")):
        files[name] = tmp_path / f"{name}.safetensors"
        store.write_weights(
            files[name], shipped.arrays, name=name, config=shipped.config, preparation=shipped.preparation,
            content=shipped.content, supervision=supervision,  # type: ignore[arg-type]
        )  # fmt: skip
    loaded = {name: store.load(path) for name, path in files.items()}
    monkeypatch.setattr("lightcrcf.registration.models.names", lambda: ["a", "b"])
    monkeypatch.setattr("lightcrcf.registration.models.load", loaded.__getitem__)
    assert select_model("auto", (BRAIN, BRAIN), GRIDS).weights is loaded["b"]


def test_a_model_that_was_not_chosen_is_not_named() -> None:
    body = ImageType(6.0, 0.0, False, "whole head or body")
    tall = Grid((256, 256, 60), np.diag([1.25, 1.25, 7.7, 1]))
    reason = select_model("auto", (body, body), (tall, tall)).reason
    assert "the fixed image has " in reason
    assert "were seen in training" in reason
    assert not any(name in reason for name in store.names())
