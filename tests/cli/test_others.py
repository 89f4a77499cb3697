"""`lightcrcf models`, `info`, `train` and `demo`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.demo.phantom import deformed_copy, phantom
from lightcrcf.volumes import write
from lightcrcf.weights.store import load, names


def test_models_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in listed] == names()
    assert run(["models", "list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names())
    for model in listed:
        assert run(["models", "show", model["name"]]) == 0
        assert model["sha256"] in capsys.readouterr().out
        assert run(["models", "show", model["name"], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["card"] == load(model["name"]).card


def test_a_model_is_given_a_template(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path / "template.nii.gz", phantom(4.0)[0])
    output = tmp_path / "new" / "mine.safetensors"
    output.parent.mkdir()
    words = ["models", "add-template", "brain", str(tmp_path / "template.nii.gz"), "--output", str(output)]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["template"] == list(phantom(4.0)[0].grid.shape)
    made, before = load(str(output)), load("brain")
    assert (made.name, made.preparation, made.profile) == (before.name, before.preparation, before.profile)
    assert made.template is not None
    assert made.template.data.max() == 255
    assert np.corrcoef(made.template.data.ravel(), phantom(4.0)[0].data.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("model", "output", "code"),
    [("brain", "mine.onnx", 2), ("cardiac-cine", "mine.safetensors", 2), ("none", "mine.safetensors", 2)],
)
def test_a_template_that_cannot_be_added_is_one_line(
    model: str, output: str, code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(tmp_path / "template.nii.gz", phantom(4.0)[0])
    words = ["models", "add-template", model, str(tmp_path / "template.nii.gz"), "--output", str(tmp_path / output)]
    assert run(words) == code
    assert capsys.readouterr().err.count("\n") == 1
    words = [
        "models",
        "add-template",
        "brain",
        str(tmp_path / "no.nii"),
        "--output",
        str(tmp_path / "a.safetensors"),
    ]
    assert run(words) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["template.nii.gz"]


def test_an_unknown_model_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", "no-such-model"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_info_tells_versions_and_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["engines"][0] == "native"
    assert facts["threads"] >= 1
    assert "numpy" in facts["packages"]
    assert list(facts["models"]) == names()
    assert run(["info"]) == 0
    assert facts["instruction_set"] in capsys.readouterr().out


def test_training_without_pytorch_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["train", "recipe.toml"]) == 2
    assert 'pip install ".[train]"' in capsys.readouterr().err


def test_training_without_its_recipe_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    assert run(["train", "no-such-recipe.toml"]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_the_demo_measures_itself_and_leaves_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = deformed_copy(*phantom(spacing_mm=4.0), seed=7)
    monkeypatch.setattr("lightcrcf.demo.run.make_pair", lambda: small)
    assert run(["demo", "--out", str(tmp_path / "demo"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    before, affine, deformable = outcome["stages"]
    assert before["mean_mm"] > 5 * affine["mean_mm"]
    assert deformable["mean_mm"] <= 1.1 * affine["mean_mm"]
    assert affine["dice"] > before["dice"]
    left = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"report.html", "points.csv", "fixed.nii.gz", "moving_labels.nii.gz", "run.json"} <= left
