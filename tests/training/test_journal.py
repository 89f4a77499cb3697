"""What a run leaves to look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import UsageError
from lightcrcf.training.journal import Journal
from lightcrcf.training.loop import train


def events(folder: Path) -> dict[str, list[int]]:
    """Steps of each series of TensorBoard events, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    series = {tag: [event.step for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    return series | {tag: [event.step for event in reader.Images(tag)] for tag in reader.Tags()["images"]}


def test_tensorboard_reads_scalars_and_pictures(recipe: Callable[..., Path]) -> None:
    config = recipe(4)
    train(config)
    found = events(config.parent / "run")
    assert found["train/loss"] == [2, 4]
    assert found["monitor/dice"] == [4]
    assert found["monitor/fixed, moving, moved 0"] == [4]


def test_after_a_kill_the_events_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    first = Journal(tmp_path, tensorboard=True)
    for step in (1, 2, 3):
        first.write(step, "train", {"loss": 1.0})
    first.close()
    second = Journal(tmp_path, tensorboard=True, step=2)
    second.write(2, "train", {"loss": 0.5})
    second.close()
    assert events(tmp_path)["train/loss"] == [1, 2]


def test_without_tensorboard_there_is_the_log(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tensorboard=False)
    journal.write(3, "train", {"loss": 0.25})
    journal.write(3, "monitor", {"dice": 0.5})
    journal.picture(3, "pair", np.zeros((4, 5), np.float32))
    journal.close()
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 3, "loss": 0.25}, {"step": 3, "monitor": {"dice": 0.5}}]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_missing_tensorboard_is_told_before_the_run_folder_is_made(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(4)
    monkeypatch.setattr("lightcrcf.training.loop.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"run.tensorboard: expected the package tensorboard, .* set it to false, or"):
        train(config)
    assert not (config.parent / "run").exists()
