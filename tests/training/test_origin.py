"""What a run starts from, whom it trains on, and that a resumed run is the same."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf.training.config import TrainingConfig, load_config
from lightcrcf.training.origin import Origin


@pytest.fixture
def found(recipe: Callable[..., Path], persons: Path) -> Callable[[], TrainingConfig]:
    """A recipe that finds its persons in a folder of its own."""
    path = recipe()
    folder = path.parent / "found"
    shutil.copytree(persons, folder)
    text = path.read_text(encoding="utf-8").replace('root = "persons"', 'root = "found"')
    text = text.replace('train = ["0", "1", "2"]', "").replace('monitor = ["3", "4"]', "split = {monitor = 0.4}")
    path.write_text(text, encoding="utf-8")
    return lambda: load_config(path, files=True)


def test_persons_are_recorded(found: Callable[[], TrainingConfig], tmp_path: Path) -> None:
    Origin.of(found()).recorded(tmp_path, resume=False)
    values = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    (cohort,) = values["cohorts"]
    assert values["start"] is None
    assert sorted(cohort["train"] + cohort["monitor"]) == list("01234")
    assert len(cohort["monitor"]) == 2


def test_a_resumed_run_has_the_same_persons(found: Callable[[], TrainingConfig], tmp_path: Path) -> None:
    config = found()
    first = Origin.of(config).recorded(tmp_path, resume=False)
    assert Origin.of(config).recorded(tmp_path, resume=True).cohorts == first.cohorts
    folder = config.data.root
    for what in ("T1w", "dseg"):
        shutil.copy(folder / f"person-0_{what}.nii.gz", folder / f"person-9_{what}.nii.gz")
    with pytest.raises(InputError, match=r"got .* in (train|none) instead of (train|none); restore the files"):
        Origin.of(found()).recorded(tmp_path, resume=True)


def test_a_damaged_record_is_refused(found: Callable[[], TrainingConfig], tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="got a damaged file"):
        Origin.of(found()).recorded(tmp_path, resume=True)


def test_the_command_names_images_that_are_there(found: Callable[[], TrainingConfig]) -> None:
    words = shlex.split(Origin.of(found()).command(Path("our model.safetensors")))
    assert words[:3] == ["lightcrcf", "register", "--fixed"]
    assert Path(words[3]).is_file()
    assert Path(words[5]).is_file()
    assert words[3] != words[5]
    assert words[7] == "our model.safetensors"
