"""`lightcrcf train`: start, stop, go on; one line for what is wrong."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.cli.main import run
from lightcrcf.weights import store


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_trains_and_leaves_a_model(recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = recipe(2)
    assert run(["train", str(config)]) == 0
    out, err = capsys.readouterr()
    folder = config.parent / "run"
    assert out == ""
    begins, first, dice, saved, ends = err.splitlines()  # stderr is no terminal here
    assert begins == f"training tiny, 2 steps, 3 images, 2 to monitor; log: {folder / 'log.jsonl'}"
    assert re.fullmatch(r"step 2 of 2: loss -?[\d.e-]+, [\d.]+ s a step, 0 s left", first)
    assert re.fullmatch(r"step 2 of 2: Dice 0\.\d{4} \(affine 0\.\d{4}\), folding [\d.e-]+ %", dice)
    assert saved == f"step 2 of 2: checkpoint {folder / 'checkpoint.safetensors'}"
    assert re.fullmatch(r"trained in \d+ (s|min); weights: (.*)", ends)
    assert ends.endswith(str(folder / "tiny.safetensors"))
    assert names(folder) == {"cache", "checkpoint.safetensors", "log.jsonl", "tensorboard", "tiny.safetensors"}
    step, scores = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert step["step"] == scores["step"] == 2
    assert {"loss", "similarity", "regularity", "folding", "learning_rate", "seconds_per_step"} <= step.keys()
    assert {"dice", "dice_affine", "folding_percent"} == scores["monitor"].keys()
    assert run(["models", "show", str(folder / "tiny.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spacing_mm"] == [5.0, 5.0, 5.0]


def test_a_longer_schedule_goes_on_where_the_shorter_one_ended(
    recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe(2)
    assert run(["train", str(config)]) == 0
    first = store.load(config.parent / "run" / "tiny.safetensors").sha256
    assert run(["train", str(config)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["train", str(config), "--resume"]) == 0  # nothing left to do
    assert store.load(config.parent / "run" / "tiny.safetensors").sha256 == first
    recipe("[[stages]]\nsteps = 2\nlearning_rate = 1e-3\n\n[[stages]]\nsteps = 1\n")
    assert run(["train", str(config), "--resume"]) == 0
    assert store.load(config.parent / "run" / "tiny.safetensors").sha256 != first


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("window = 5", "widow = 5", 3, "loss.widow"),
        ('train = ["0", "1", "2"]', 'train = ["0", "7"]', 3, "person-7"),
        ('root = "persons"', 'root = "nowhere"', 3, "nowhere"),
        ('precision = "f32"', 'precision = "f32"\nfolder = "again"', 3, "broken TOML"),
    ],
)
def test_what_is_wrong_is_one_line(
    old: str, new: str, code: int, said: str, recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe()
    config.write_text(config.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert run(["train", str(config)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert not list(config.parent.rglob("*.safetensors"))


# A shell that starts the tests in the background would have it ignore SIGINT.
HEARS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from lightcrcf.cli.main import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(recipe: Callable[..., Path]) -> None:
    config = recipe(100_000)
    folder = config.parent / "run"
    words = [sys.executable, "-c", HEARS_CTRL_C, "train", str(config)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "log.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    *lines, last = err.splitlines()
    assert (process.returncode, last) == (130, "interrupted")
    assert lines[0].startswith("training tiny, 100000 steps")
    assert lines[-1].endswith(str(folder / "checkpoint.safetensors"))
    assert names(folder) == {"cache", "checkpoint.safetensors", "log.jsonl", "tensorboard"}
    _, metadata = store.read_tensors(folder / "checkpoint.safetensors")
    assert int(metadata["step"]) >= 2
