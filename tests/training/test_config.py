from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf.training import config as config_module
from lightcrcf.training.config import load_config, starting_weights

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path",
    sorted(set((ROOT / "recipes").glob("*.toml")) - {ROOT / "recipes" / "brain-mask.toml"}),
    ids=lambda p: p.stem,
)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_paths_are_relative_to_the_file(recipe: Callable[..., Path]) -> None:
    path = recipe()
    config = load_config(path)
    assert config.data.root == path.parent / "persons"
    assert config.run.folder == path.parent / "run"


def test_a_stage_overrides_the_loss(recipe: Callable[..., Path]) -> None:
    config = load_config(recipe("[[stages]]\nsteps = 1\nregularity = 0.25\n"))
    loss = config.stages[0].loss(config.loss)
    assert (loss.regularity, loss.window, loss.folding) == (0.25, 5, 5.0)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("window = 5", "widow = 5", "loss.widow"),
        ("shape = [32, 48, 32]", "shape = [30, 48, 32]", "data"),
        ('monitor = ["3", "4"]', 'monitor = ["0", "4"]', "data.cohorts.0"),
        ('name = "tiny"', 'name = "Tiny model"', "name"),
        ('name = "tiny"', 'name = "tiny"\nvariant = "huge"', "huge"),
        ("steps = 4", "steps = 0", "stages.0.steps"),
        ("log_steps = 2", "log_steps = ", "broken TOML"),
        ('monitor = ["3", "4"]', 'monitor = ["3"]', "data.cohorts.0"),
        ('monitor = ["3", "4"]', 'monitor = ["3", "4"]\ntrian = ["0"]', "data.cohorts.0.trian"),
        ('train = ["0", "1", "2"]', 'train = ["0", "1", "0"]', "named twice"),
        ('train = ["0", "1", "2"]', 'train = ["0"]', "no partner"),
        ('train = ["0", "1", "2"]', 'train = ["0", "1", "2"]\ncsv = "a.csv"', "one of layout, image, bids and csv"),
        ('train = ["0", "1", "2"]', 'train = ["0", "1", "2"]\nsplit = {}', "split, or train and monitor"),
        ('monitor = ["3", "4"]', 'exclude = ["3"]', "persons that are found on disk"),
        ('labels = "person-{id}_dseg.nii.gz"', 'labels = "person-{id}_*.nii.gz"', "the wildcards of image"),
        ("learning_rate = 1e-3", "warmup_steps = 5", "at most the stage's 4 steps"),
        ("learning_rate = 1e-3", "learning_rate = 1e-5", "final_learning_rate"),
        ("steps = 4", 'steps = "4"', "stages.0.steps"),
        ("shape = [32, 48, 32]", "shape = [32, 48, 32]\nwindow = [9, 1]", "data.window"),
        ('image = "person-{id}_T1w.nii.gz"', 'image = "person_T1w.nii.gz"', "data.cohorts.0.image"),
        ('image = "person-{id}_T1w.nii.gz"', 'image = "person-{name}_T1w.nii.gz"', "data.cohorts.0.image"),
        (
            'labels = "person-{id}_dseg.nii.gz"',
            "skull_strip_with_labels = true",
            "skull_strip_with_labels]: expected labels",
        ),
        ("window = 5", "window = 4", "loss.window"),
        ("window = 5", 'similarity = "mse"\ncontrast = 1.0', "loss.contrast"),
        ("window = 5", "level_weights = [0, 1, 0, 0]", "level_weights"),
        ("spacing_mm = 5.0", "spacing_mm = nan", "data.spacing_mm"),
        ("regularity = 0.5", "regularity = -1", "loss.regularity"),
        ("learning_rate = 1e-3", "learning_rate = 0", "stages.0.learning_rate"),
        ("learning_rate = 1e-3", "finest = 4", "stages.0.finest"),
        ('precision = "f32"', 'precision = "f16"', "run.precision"),
        ('precision = "f32"', 'precision = "bf16"', "under [run], since data.shape is below 48"),
        ('folder = "run"', "", "run.folder"),
    ],
)
def test_mistakes_are_named_in_one_line(recipe: Callable[..., Path], old: str, new: str, named: str) -> None:
    path = recipe()
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("native", "side", "device", "wanted"),
    [(True, 48, "cpu", "bf16"), (True, 32, "cpu", "f32"), (False, 48, "cpu", "f32"), (False, 32, "cuda", "bf16")],
)
def test_precision_is_what_the_machine_is_fast_at(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, native: bool, side: int, device: str, wanted: str
) -> None:
    monkeypatch.setattr(config_module, "bfloat16_is_native", lambda: native)
    config = load_config(recipe())
    data = config.data.model_copy(update={"shape": (side,) * 3})
    made, asked = (
        config.model_copy(
            update={"data": data, "run": config.run.model_copy(update={"device": device, "precision": p})}
        )
        for p in ("auto", "f32")
    )
    assert (made.precision, asked.precision) == (wanted, "f32")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        load_config(tmp_path / "absent.toml")


def test_a_stage_is_checked_together_with_the_loss(recipe: Callable[..., Path]) -> None:
    path = recipe()
    text = path.read_text(encoding="utf-8").replace("[loss]", "[loss]\nsimilarity = 'mse'")
    path.write_text(text.replace("learning_rate = 1e-3", "contrast = 1.0"), encoding="utf-8")
    with pytest.raises(InputError, match=r"stages\.0\.contrast.*lncc"):
        load_config(path)


def test_weights_of_a_network_that_sees_no_force_may_start_one_that_does(recipe: Callable[..., Path]) -> None:
    config = load_config(recipe()).model_copy(update={"start": "hippocampus-mr", "variant": "force"})
    weights = starting_weights(config)
    assert weights is not None
    assert not weights.config.force
    with pytest.raises(InputError, match="pooling 2x2x1, force"):
        starting_weights(config.model_copy(update={"variant": "thick-slices-force"}))


def test_by_deviation_is_for_windows_alone(recipe: Callable[..., Path]) -> None:
    path = recipe()
    path.write_text(path.read_text().replace("[loss]", '[loss]\nsimilarity = "mse"\nby_deviation = true'), "utf-8")
    with pytest.raises(InputError, match="by_deviation"):
        load_config(path)
