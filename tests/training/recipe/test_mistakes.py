"""All mistakes of a recipe at once: key, expected, got."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightcrcf.errors import InputErrors
from lightcrcf.training.config import load_config

WRONG = """
name = "Own model"
colour = 1
[data]
root = "images"
spacing_mm = -1
shape = [50, 64, 48]
[[data.cohorts]]
folder = "a"
image = "{id}.nii"
lables = "{id}_seg.nii"
split = {monitor = 0.2, train = 0.2}
[[data.cohorts]]
folder = "b"
image = "{id}.nii"
train = ["1", "2"]
[loss]
regularity = "much"
similarity = "mse"
[[stages]]
steps = 60
warmup_steps = 100
contrast = 1.0
[[stages]]
steps = "90"
learning_rate = 5e-5
[run]
batch = true
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.toml"
    path.write_text(WRONG, encoding="utf-8")
    for name in ("a/1.nii", "a/2.nii", "b/1.nii"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    return path


def test_all_are_told_in_the_order_of_the_recipe(wrong: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        load_config(wrong, files=True)
    found = {error.subject: (error.expected, error.got) for error in caught.value.each}
    assert list(found) == [
        "[name]",
        "[colour]",
        "[data.spacing_mm]",
        "[data.shape]",
        "[data.cohorts.0.lables]",
        "[data.cohorts.0.split.train]",
        "[data.cohorts.1]",
        "[loss.regularity]",
        "[stages.0.warmup_steps]",
        "[stages.0.contrast]",
        "[stages.1.steps]",
        "[stages.1.final_learning_rate]",
        "[run.batch]",
        "[run.folder]",
    ]
    assert found["[data.spacing_mm]"] == ('number above 0, three numbers above 0 or "native"', "-1")
    assert found["[data.shape]"] == ("multiples of [16, 16, 16] with the variant default", "[50, 64, 48]")
    assert found["[stages.1.steps]"] == ("integer from 1", '"90"')
    assert found["[run.batch]"] == ("integer from 1", "true")
    assert found["[run.folder]"] == ("path", "nothing")
    assert found["[data.cohorts.1]"][1] == "2.nii is missing"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("old", "new", "alone"),
    [
        ('image = "{id}.nii"\nlables', 'imgae = "{id}.nii"\nlables', "[data.cohorts.0.imgae]"),
        ('folder = "a"', "folder = 3", "[data.cohorts.0.folder]"),
        ("[data]", 'variant = "huge"\n[data]', "[variant]"),
    ],
)
def test_consequences_of_a_mistake_are_not_told(old: str, new: str, alone: str, wrong: Path) -> None:
    """Neither that there is no image, nor the shape that another variant may take."""
    wrong.write_text(WRONG.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputErrors) as caught:
        load_config(wrong, files=True)
    subjects = [error.subject for error in caught.value.each]
    assert alone in subjects
    section = alone.rpartition(".")[0] or "[data.shape"
    assert not {f"{section}.image]", f"{section}]"} & set(subjects)


def test_known_fields_that_count_nothing_are_a_mistake(wrong: Path) -> None:
    wrong.write_text(WRONG.replace("[loss]", "[augment]\nknown_probability = 0.5\n[loss]"), encoding="utf-8")
    with pytest.raises(InputErrors) as caught:
        load_config(wrong)
    found = {error.subject: error.got for error in caught.value.each}
    assert found["[loss.known]"] == "0.0"


def test_a_recipe_without_its_sections_names_them(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text('name = "a"\nstage = 1\n', encoding="utf-8")
    with pytest.raises(InputErrors) as caught:
        load_config(path)
    assert [error.subject for error in caught.value.each] == ["[stage]", "[data]", "[stages]", "[run]"]
    assert caught.value.each[0].remedy == "did you mean stages?"
