"""Progress on a terminal, a few lines in a log, and JSON that programs can read."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from lightcrcf import progress as throttle
from lightcrcf.cli.console import print_json, print_table, resumable, show_progress


def test_a_log_has_the_title_once_the_inputs_are_good_and_then_a_stage_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    with show_progress("registering b with a") as progress:
        for stage in ("read", "choose model"):
            progress(stage, 0.0)
        assert capsys.readouterr() == ("", "")
        for number, stage in enumerate(("affine", "prepare", "refine", "write")):
            now[0] += 20.0
            progress(stage, number / 4)
    assert capsys.readouterr() == ("", "registering b with a ...\nrefine (50%)\n")


def test_a_terminal_sees_stages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("a title for logs") as progress:
        progress("affine", 0.25)
    out, err = capsys.readouterr()
    assert out == ""
    assert "affine" in err


def test_json_has_no_nan_and_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], 3: "µm", "c": np.float64(0.5)})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "3": "µm", "c": 0.5}
    assert "µm" in text


def test_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("a", 10), ("longer", 7)])
    print_table(("name", "value"), [("a", "text")], numbers=False)
    assert capsys.readouterr().out == "name     n\na       10\nlonger   7\nname  value\na     text\n"


def test_an_interrupted_command_says_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), resumable("the same command with --resume"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "what is finished is kept; the same command with --resume goes on from there\n"
    with pytest.raises(ValueError, match="1"), resumable("the same"):
        raise ValueError(1)
    assert capsys.readouterr().err == ""
