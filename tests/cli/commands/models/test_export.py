"""`lightcrcf export`."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from lightcrcf.cli.main import run


def test_writes_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", "hippocampus-mr", "--format", "onnx"]) == 0
    onnx.checker.check_model(str(tmp_path / "hippocampus-mr.onnx"))
    capsys.readouterr()
    assert run(["export", "hippocampus-mr", "--output", "other.onnx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == "other.onnx"
    assert (tmp_path / "other.onnx").read_bytes() == (tmp_path / "hippocampus-mr.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hippocampus-mr.onnx", "other.onnx"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["no-such-model"], 2, "no-such-model"),
        (["brain", "--format", "tflite"], 2, "tflite"),
        (["brain", "--output", "nowhere/a.onnx"], 3, "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["export", *words]) == code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
