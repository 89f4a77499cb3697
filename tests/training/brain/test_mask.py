"""Training of the network that finds brains: what it sees, what it is told, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightcrcf.cli.main import run
from lightcrcf.errors import InputError
from lightcrcf.training.brain.data import (
    brain_of_labels,
    labelled_head,
    sample_example,
    skull_stripped_head,
    synthetic_head,
)
from lightcrcf.training.brain.mask import is_brain_mask, load_brain_config, loss
from lightcrcf.weights.brain import read_brain_weights

RECIPE = """
task = "brain-mask"
name = "mine"
root = "persons"
shape = [16, 32, 16]
steps = 3
folder = "run"
made_up = 0.3
precision = "f32"

[[cohorts]]
folder = "."
image = "person-{id}_T1w.nii.gz"
labels = "person-{id}_dseg.nii.gz"
train = ["0", "1"]
monitor = ["2"]

[[cohorts]]
folder = "."
image = "person-{id}_T1w.nii.gz"
train = ["3"]
"""
SHAPE = (64, 80, 64)


@pytest.fixture
def brain_recipe(persons: Path, tmp_path: Path) -> Path:
    (tmp_path / "persons").symlink_to(persons)
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def test_the_mask_closes_what_labels_leave_open() -> None:
    inside = np.zeros((30, 30, 30), np.bool_)
    inside[5:25, 5:25, 5:25] = True
    inside[14:16, 5:20] = False  # a furrow, 4 mm wide
    inside[8:10, 8:10, 8:10] = False  # a hole
    mask = brain_of_labels(inside, np.array([2.0, 2.0, 2.0]))
    assert mask[8:10, 8:10, 8:10].all()
    assert mask[15, 10:18, 15].all()
    assert not mask[:5].any()
    assert not mask[25:].any()


@pytest.mark.parametrize("seed", range(6))
def test_examples_are_unit_images_with_their_masks(seed: int, persons: Path) -> None:
    image, labels = persons / "person-0_T1w.nii.gz", persons / "person-0_dseg.nii.gz"
    for head in (labelled_head(image, labels), skull_stripped_head(image)):
        seen, again = (sample_example(head, SHAPE, np.random.default_rng(seed)) for _ in range(2))
        assert seen.image.shape == seen.known.shape == seen.mask.shape == SHAPE
        assert (seen.image.min(), seen.image.max() <= 1) == (0, True)
        assert set(np.unique(seen.known)) <= {0, 1}
        assert not seen.image[seen.known == 0].any()
        assert 0.5 < 27e-6 * (seen.mask > 0.5).sum() < 2.5
        np.testing.assert_array_equal(seen.image, again.image)


def test_what_is_made_up_shows_no_brain() -> None:
    seen = [
        sample_example(synthetic_head(np.random.default_rng(s)), (32, 32, 32), np.random.default_rng(s))
        for s in range(8)
    ]
    assert not any(e.mask.any() for e in seen)
    assert len({round(float(e.image.mean()), 4) for e in seen}) == 8


def test_the_loss_falls_towards_the_truth() -> None:
    mask = torch.zeros(1, 1, 8, 8, 8)
    mask[..., 2:6, 2:6, 2:6] = 1
    known = torch.ones_like(mask)
    right, wrong = (float(loss(s * (mask - 0.5), mask, known)) for s in (20, -20))
    assert right < 0.01 < float(loss(torch.zeros_like(mask), mask, known)) < wrong
    known[..., 2:6, 2:6, 2:6] = 0  # what an image does not show is not judged
    assert float(loss(torch.full_like(mask, -20), mask, known)) < 0.01


def test_the_command_trains(brain_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(brain_recipe)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    folder = brain_recipe.parent / "run"
    assert str(folder / "mine.safetensors") in err
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["step"] == 3
    assert len(lines[-1]["dice"]) == 1
    first = read_brain_weights(folder / "mine.safetensors")
    brain_recipe.write_text(RECIPE.replace("made_up", 'start = "run/mine.safetensors"\nmade_up'))
    assert run(["train", str(brain_recipe)]) == 0
    after = read_brain_weights(folder / "mine.safetensors")
    assert not np.array_equal(first["head.weight"], after["head.weight"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[16, 32, 16]", "[16, 30, 16]", "multiples of 16"),
        ("steps = 3", "steps = 0", "steps"),
        ('name = "mine"', 'name = "mine"\nspeed = 3', "speed"),
        ('train = ["3"]', 'train = ["33"]', "person-33"),
    ],
)
def test_bad_recipes_are_one_line(
    old: str, new: str, said: str, brain_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brain_recipe.write_text(RECIPE.replace(old, new))
    assert run(["train", str(brain_recipe)]) == 3
    assert said in capsys.readouterr().err


def test_it_cannot_be_resumed_and_says_so(brain_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(brain_recipe), "--resume"]) == 2
    assert "--resume" in capsys.readouterr().err


def test_the_shipped_recipe_is_valid() -> None:
    path = Path(__file__).parents[3] / "recipes" / "brain-mask.toml"
    assert is_brain_mask(path)
    assert load_brain_config(path).name == path.stem
    assert not is_brain_mask(path.with_name("brain-t1.toml"))
    with pytest.raises(InputError, match="recipes"):
        load_brain_config(path.with_name("brain-t1.toml"))
