"""docs/cli.md names the options that commands have, and no document names a command or an option that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from lightcrcf.cli.main import app, run

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
COMMAND = re.compile(r"(?:^|[`$&|] *)lightcrcf +([^`|&;()\n]*)", re.MULTILINE)


@pytest.mark.parametrize("command", ["apply", "batch", "bids", "label", "register", "template", "train"])
def test_every_option_is_in_the_document_and_the_other_way_round(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    offered = set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    document = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = document.partition(f"## `{command}`")[2].partition("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `--")]
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row)} == offered


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `lightcrcf ...`, in blocks and in running text."""
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        yield line.split()


def unknown(words: list[str]) -> list[str]:
    """What of a command line the program does not have."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return [] if re.fullmatch(r"COMMAND|--debug|--help|--version", rest[0]) else [rest[0]]
        command = command.commands[rest.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    return [word for word in rest if word.startswith("--") and word.partition("=")[0].strip(",.") not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_document_names_is_there(page: Path) -> None:
    wrong = {" ".join(words): unknown(words) for words in commands(page.read_text(encoding="utf-8"))}
    assert not {line: words for line, words in wrong.items() if words}


def test_what_is_not_there_is_found() -> None:
    text = "`lightcrcf register --fixed F --maske M`, then\n\n```bash\nlightcrcf warpify x \\\n    --y\n```\n"
    assert [unknown(words) for words in commands(text)] == [["--maske"], ["warpify"]]
    assert sum(len(list(commands(page.read_text(encoding="utf-8")))) for page in PAGES) > 100
