import sys
from pathlib import Path

import pytest

from lightcrcf.errors import InputError
from lightcrcf_bench.accuracy import environments
from lightcrcf_bench.accuracy.environments import REQUIREMENTS, Environments
from lightcrcf_bench.accuracy.peers import TOOLS
from lightcrcf_bench.measure import CommandError


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replaces processes: making an environment makes its folder; a tool called "missing" cannot be had."""
    seen: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], limit_seconds: float) -> None:
        seen.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()
        if "missing==1" in command:
            raise CommandError("no matching distribution")

    monkeypatch.setattr(environments, "run", run)
    monkeypatch.setitem(REQUIREMENTS, "missing", ("missing==1",))
    return seen


def test_an_environment_is_made_once(commands: list[tuple[str, ...]], tmp_path: Path) -> None:
    said: list[str] = []
    places = Environments(tmp_path / "new", said.append)
    assert places.python("greedy") == tmp_path / "new/greedy/bin/python"
    assert commands[0][1:3] == ("-m", "venv")
    assert commands[1][-1] == REQUIREMENTS["greedy"][0]
    places.python("greedy")
    assert len(commands) == 2
    assert len(said) == 1


def test_another_release_makes_it_anew(
    commands: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Environments(tmp_path).python("greedy")
    monkeypatch.setitem(REQUIREMENTS, "greedy", ("picsl-greedy==2",))
    Environments(tmp_path).python("greedy")
    assert commands[-1][-1] == "picsl-greedy==2"


def test_what_cannot_be_installed_is_told_and_leaves_nothing(commands: list[tuple[str, ...]], tmp_path: Path) -> None:
    for _ in range(2):  # tried again the next time
        with pytest.raises(InputError, match="missing==1 to be installed, got no matching distribution"):
            Environments(tmp_path).python("missing")
    assert not list(tmp_path.iterdir())
    assert len(commands) == 4


def test_without_a_folder_it_is_this_one() -> None:
    assert Environments(None).python("greedy") == Path(sys.executable)


def test_every_tool_can_be_installed_with_its_release_pinned() -> None:
    assert REQUIREMENTS.keys() >= TOOLS.keys()
    pinned = {name for names in REQUIREMENTS.values() for name in names}
    assert all("==" in name or name == "numpy" for name in pinned)
