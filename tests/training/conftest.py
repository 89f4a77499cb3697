"""A cohort of generated persons on disk, and a configuration that trains on it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write

RECIPE = """
name = "tiny"

[data]
root = "persons"
spacing_mm = 5.0
shape = [32, 48, 32]

[[data.cohorts]]
folder = "."
image = "person-{{id}}_T1w.nii.gz"
labels = "person-{{id}}_dseg.nii.gz"
train = ["0", "1", "2"]
monitor = ["3", "4"]

[loss]
window = 5
regularity = 0.5
folding = 5.0

{stages}

[run]
folder = "run"
precision = "f32"
checkpoint_steps = 100
validate_steps = 100
log_steps = 2
"""
STAGE = "[[stages]]\nsteps = {steps}\nlearning_rate = 1e-3\n"


@pytest.fixture(scope="session")
def persons(
    tmp_path_factory: pytest.TempPathFactory,
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
) -> Path:
    """Folder of five persons, each held in another way."""
    folder = tmp_path_factory.mktemp("cohort") / "persons"
    folder.mkdir()
    for person in range(5):
        grid = grids((34, 42 + person, 31), (5.0, 4.8, 5.0), axes=("RAS", "LPS")[person % 2], turn=(2 * person, 0, 3))
        image, labels = brains(grid, person=person)
        write(folder / f"person-{person}_T1w.nii.gz", image)
        write(folder / f"person-{person}_dseg.nii.gz", labels)
    return folder


@pytest.fixture
def recipe(persons: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration beside the cohort: stages as TOML, or a number of steps of one stage."""

    def write_recipe(stages: int | str = 4, name: str = "recipe") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        if not (folder / "persons").exists():
            (folder / "persons").symlink_to(persons, target_is_directory=True)
        text = STAGE.format(steps=stages) if isinstance(stages, int) else stages
        path = folder / "tiny.toml"
        path.write_text(RECIPE.format(stages=text), encoding="utf-8")
        return path

    return write_recipe
