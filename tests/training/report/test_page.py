"""The page of a training run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.training.config import TrainingConfig, load_config
from lightcrcf.training.monitor import Watched
from lightcrcf.training.origin import Origin, Persons, Start
from lightcrcf.training.report.log import TRAIN, Log
from lightcrcf.training.report.page import Group, State, write_report
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume

STAGES = "[[stages]]\nsteps = 10\n\n[[stages]]\nsteps = 20\n"


@pytest.fixture
def config(recipe: Callable[..., Path]) -> TrainingConfig:
    found = load_config(recipe(STAGES))
    found.run.folder.mkdir()
    return found


@pytest.fixture(scope="module")
def watched(grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]]) -> Watched:
    """Two persons and a wavy field that folds in one place."""
    grid = grids((32, 48, 32), (5.0, 4.8, 5.2))
    fixed, moving = (brains(grid, person=person)[0] for person in (0, 1))
    x = np.linspace(0, 3 * np.pi, 16, dtype=np.float32)
    displacement = np.zeros((3, 16, 24, 16), np.float32)
    displacement[0] = 0.4 * np.sin(x)[:, None, None]
    displacement[0, 8, 12, 8] += 3
    chain = Chain(Affine.identity(), DisplacementField(grid.half(), displacement), Affine.identity())
    affine = np.asarray(moving.data, np.float32)
    return Watched(("<b>Ann</b>", "Bob"), fixed, moving, chain.resample(moving, grid, "linear"), affine, chain)


def write_log(folder: Path, *records: dict[str, object]) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(record) + "\n" for record in records)


def page(config: TrainingConfig, watched: Watched, step: int = 20, start: Start | None = None) -> str:
    origin = Origin(start, (Persons("scans", ["a", "<i>c</i>"], ["d", "e"], [], []),))
    state = State(config, origin, step, 2, config.run.folder / "tiny.safetensors")
    said: list[str] = []
    write_report(state, [Group("monitor", "2 pairs of 2 persons.", watched)], said.append)
    assert not said
    return (config.run.folder / "report.html").read_text(encoding="utf-8")


def test_it_shows_scores_curves_and_the_pair(config: TrainingConfig, watched: Watched) -> None:
    losses = [{"step": s, "loss": 1 / s, "learning_rate": 1e-3, "seconds_per_step": 0.5} for s in range(2, 21, 2)]
    scores = [{"dice": d, "dice_affine": 0.4, "folding_percent": f} for d, f in ((0.5, 1.0), (0.7, 0.5), (0.6, 0.25))]
    write_log(config.run.folder, *losses, *({"step": 6 * n, "monitor": s} for n, s in enumerate(scores, 1)))
    text = page(config, watched)
    cells = re.findall(r"<tr><th>Dice</th>(.*?)</tr>", text)[0]
    assert re.findall(r">([\d.]+)<", cells) == ["0.4000", "0.5000", "0.7000", "0.6000"]  # affine, first, best, now
    titles = re.findall(r"<figcaption><b>([^<]+)</b>", text)
    assert titles == ["Dice", "Folding", "Loss", "Learning rate", "Seconds a step"]
    assert text.count('class="mark"') == 5  # the second stage began at step 10
    assert "running" in text
    assert "about 5 s left" in text
    assert "Dice: 0.7 at step 12" in text
    for caption in ("fixed", "moving, as given", "moved by the network", "difference, after the network"):
        assert f"<figcaption>{caption}</figcaption>" in text
    assert "Space folds at" in text
    used = set(re.findall(r'class="im ([acs]1-\w+|[acs]d-\w+)', text))
    assert used
    assert all(f".{name}{{background-image:url(data:" in text for name in used)


def test_names_are_text_and_nothing_is_loaded_or_run(config: TrainingConfig, watched: Watched) -> None:
    text = page(config, watched)
    assert "&lt;b&gt;Ann&lt;/b&gt;" in text
    assert "&lt;i&gt;c&lt;/i&gt;" in text
    assert "<b>Ann" not in text
    assert not re.search(r"<script|\bsrc=|href=\"http|url\((?!data:)", text)
    assert len(text) < 1_000_000


def test_the_end_and_the_start_are_told(config: TrainingConfig, watched: Watched) -> None:
    start = Start("a.safetensors", "brain", "0" * 64, "skull-stripped brain", (1.0, 1.0, 1.5))
    text = page(config, watched, step=30, start=start)
    assert "done" in text
    assert "left</p>" not in text
    assert "brain, a.safetensors; it was trained on: skull-stripped brain, working grid 1x1x1.5 mm" in text
    assert "--model" in re.findall(r"<pre>(lightcrcf register .*?)</pre>", text)[0]
    assert "random weights" in page(config, watched)


def test_what_speaks_against_the_weights_is_told(config: TrainingConfig, watched: Watched) -> None:
    start = Start("brain", "brain", "0" * 64, "skull-stripped brain", (1.0, 1.0, 1.0))
    write_log(
        config.run.folder, *({"step": 6 * n, "monitor": {"dice": 0.6 - 0.1 * n, "dice_affine": 0.45}} for n in (1, 2))
    )
    assert "Dice is lower than" not in page(config, watched, step=6, start=start)
    text = page(config, watched, start=start)
    assert "Dice is lower than before the network." in text
    assert "Dice is lower than that of the initial weights." in text
    assert "initial weights.<" not in page(config, watched)


def test_a_page_that_fails_does_not_end_the_run(config: TrainingConfig, watched: Watched) -> None:
    broken = replace(watched, chain=Chain(Affine.identity(), None, Affine.identity()))
    said: list[str] = []
    state = State(config, Origin(None, ()), 1, 2, Path("w"))
    write_report(state, [Group("monitor", "", broken)], said.append)
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert not (config.run.folder / "report.html").exists()


def test_of_repeated_steps_the_last_counts(tmp_path: Path) -> None:
    """A run that was killed after its checkpoint repeats some, and may have left half a line."""
    write_log(tmp_path, {"step": 2, "loss": 1.0}, {"step": 4, "loss": 9.0}, {"step": 8, "loss": 9.0})
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 10, "lo\n')
    write_log(tmp_path, {"step": 4, "loss": 0.5}, {"step": 4, "monitor": {"dice": 0.25}})
    log_of_run = Log.read(tmp_path / "log.jsonl", 6)
    steps, values = log_of_run.series(TRAIN, "loss")
    assert (steps.tolist(), values.tolist()) == ([2, 4], [1.0, 0.5])
    assert log_of_run.series("monitor", "dice")[1].tolist() == [0.25]
    assert len(log_of_run.series("monitor", "nothing")[0]) == 0
