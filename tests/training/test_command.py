"""`lightcrcf train`: start, stop, go on; one line for what is wrong."""

from __future__ import annotations

import json
import re
import shutil
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
    begins, first, dice, saved, ends, model = err.splitlines()  # stderr is no terminal here
    assert begins == f"training tiny, 2 steps, 3 images, 2 to monitor; log: {folder / 'log.jsonl'}"
    assert re.fullmatch(r"step 2 of 2: loss -?[\d.e-]+, [\d.]+ s a step, 0 s left", first)
    assert re.fullmatch(r"step 2 of 2: Dice 0\.\d{4} \(affine 0\.\d{4}\), folding [\d.e-]+ %", dice)
    assert saved == f"step 2 of 2: checkpoint {folder / 'checkpoint.safetensors'}"
    assert re.fullmatch(r"trained in \d+ (s|min); report: (.*)", ends)
    assert ends.endswith(str(folder / "report.html"))
    assert model.startswith(f"model {folder / 'tiny.safetensors'}; to use it: lightcrcf register --fixed ")
    assert f"--model {folder / 'tiny.safetensors'} " in model
    written = {"log.jsonl", "report.html", "tiny.safetensors"}
    assert names(folder) == {"cache", "checkpoint.safetensors", "tensorboard", "training.json"} | written
    step, scores = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert step["step"] == scores["step"] == 2
    assert {"loss", "similarity", "regularity", "folding", "learning_rate", "seconds_per_step"} <= step.keys()
    shown = {"dice", "dice_affine", "correlation", "correlation_affine", "folding_percent", "sdlogj"}
    assert shown == scores["monitor"].keys()
    assert run(["models", "show", str(folder / "tiny.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spacing_mm"] == [5.0, 5.0, 5.0]


def test_a_longer_schedule_goes_on_where_the_shorter_one_ended(
    recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe(2)
    assert run(["train", str(config), "--resume"]) == 0
    assert "run: the training starts from its beginning" in capsys.readouterr().err
    first = store.load(config.parent / "run" / "tiny.safetensors").sha256
    assert run(["train", str(config)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["train", str(config), "--resume"]) == 0  # nothing left to do
    assert "no checkpoint" not in capsys.readouterr().err
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
        ('name = "tiny"', 'name = "tiny"\nstart = "nobody"', 3, "[start]"),
        ('name = "tiny"', 'name = "tiny"\nstart = "no.safetensors"', 3, "no.safetensors"),
        ('name = "tiny"', 'name = "tiny"\nstart = "cardiac-cine"', 3, 'set variant = "thick-slices"'),
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


def test_all_that_is_wrong_is_told_at_once(recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = recipe()
    text = config.read_text(encoding="utf-8").replace("window = 5", "widow = 5").replace("log_steps = 2", "")
    config.write_text(text.replace('train = ["0", "1", "2"]', 'train = ["0", "7"]'), encoding="utf-8")
    assert run(["train", str(config)]) == 3
    first, *mistakes = capsys.readouterr().err.splitlines()
    assert first == f"error: {config}: expected a recipe without mistakes, got 2:"
    assert [line.partition("]")[0] for line in mistakes] == ["  [data.cohorts.0", "  [loss.widow"]
    assert "person-7_T1w.nii.gz is missing" in mistakes[0]
    assert mistakes[1].endswith("expected a known key, got an unknown one; did you mean window?")


def test_a_run_goes_on_without_the_file_of_its_initial_weights(recipe: Callable[..., Path]) -> None:
    for steps in (1, 2):
        config = recipe(steps)
        initial = config.parent / "initial.safetensors"
        config.write_text(f'start = "{initial.name}"\n{config.read_text(encoding="utf-8")}', encoding="utf-8")
        if steps == 1:
            shutil.copy(Path(store.__file__).with_name("models") / "hippocampus-mr.safetensors", initial)
            assert run(["train", str(config)]) == 0
            initial.unlink()
    assert run(["train", str(config)]) != 0
    assert run(["train", str(config), "--resume"]) == 0


def test_it_starts_from_given_weights(recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = recipe(1)
    assert run(["train", str(config), "--init-from", "hippocampus-mr"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("training tiny, 1 steps from hippocampus-mr, 3 images")
    assert said[1].startswith("step 0 of 1: Dice ")  # before it is trained further
    folder = config.parent / "run"
    start = json.loads((folder / "training.json").read_text(encoding="utf-8"))["start"]
    assert (start["source"], start["sha256"]) == ("hippocampus-mr", store.load("hippocampus-mr").sha256)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "hippocampus-mr; it was trained on: " in page
    old, new = (store.load(name).arrays for name in ("hippocampus-mr", folder / "tiny.safetensors"))
    moved = max(float(abs(new[key] - old[key]).max()) for key in old)
    assert 0 < moved < 0.01  # one step of Adam away
    recipe(2)
    assert run(["train", str(config), "--resume"]) == 0  # the record keeps what it started from
    assert "SHA-256 of the initial weights" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--init-from", "nobody"], 2, "expected one of abdomen-mr, brain"),
        (["--init-from", "no.safetensors"], 3, "no.safetensors"),
        (["--init-from", "cardiac-cine"], 3, 'pooling 2x2x1; set variant = "thick-slices" in the recipe'),
        (["--init-from", "brain", "--resume"], 2, "expected it or --resume, got both"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    words: list[str], code: int, said: str, recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe()
    assert run(["train", str(config), *words]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert not (config.parent / "run").exists()


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
    *lines, hint, last = err.splitlines()
    assert (process.returncode, last) == (130, "interrupted")
    assert hint == "what is finished is kept; the same command with --resume goes on from there"
    assert lines[0].startswith("training tiny, 100000 steps")
    assert lines[-1].endswith(str(folder / "checkpoint.safetensors"))
    assert names(folder) == {"cache", "checkpoint.safetensors", "log.jsonl", "tensorboard", "training.json"}
    _, metadata = store.read_tensors(folder / "checkpoint.safetensors")
    assert int(metadata["step"]) >= 2
