"""docs/cli.md names the options that commands have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lightcrcf.cli.main import run


@pytest.mark.parametrize("command", ["apply", "batch", "bids", "label", "register", "template"])
def test_every_option_is_in_the_document_and_the_other_way_round(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    offered = set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    document = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    table = document.partition(f"## `{command}`")[2].partition("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `--")]
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row)} == offered
