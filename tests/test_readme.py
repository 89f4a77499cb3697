"""Every fenced block of the README, and every bash and Python block of the other documents, does what it says.

Blocks run in order in one folder that holds small files of the names that the documents use. Three are not run whole:

- `bash scripts/demo` and `bash scripts/test` would install an environment, and the second would run this very test.
  Here they are checked to be there, to be sound bash, and to end in the commands that `test_others.py` (the demo) and
  this run of pytest (the tests) are.
- `pip install .` would install over the package under test. Its extras are checked against pyproject.toml.

The tutorial's first block is `bash scripts/demo` too; the block after it, `lightcrcf demo`, makes the files that the
rest of the tutorial needs, at full resolution.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightcrcf.cli.main import run
from lightcrcf.demo.phantom import deformed_copy, phantom
from lightcrcf.demo.run import write_inputs

ROOT = Path(__file__).resolve().parents[1]
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = {"bash scripts/demo": "exec lightcrcf demo", "bash scripts/test": "step python -m pytest"}
DEMO = "lightcrcf demo --out demo-output"
INSTALL = re.compile(r"^pip install \S+$")


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return [(language, content.strip()) for language, content in FENCE.findall(path.read_text(encoding="utf-8"))]


def is_special(block: tuple[str, str]) -> bool:
    return block[1] in SCRIPTS or bool(INSTALL.match(block[1]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the documents' commands run: the demo's files at 3 mm."""
    out = tmp_path_factory.mktemp("readme")
    write_inputs(deformed_copy(*phantom(spacing_mm=3.0), seed=7), out)
    return out


def test_every_block_of_the_readme_says_what_it_is() -> None:
    assert {language for language, _ in blocks(README)} == {"bash", "python"}


@pytest.mark.parametrize("command", SCRIPTS)
def test_the_two_commands_are_in_the_readme_and_are_sound(command: str) -> None:
    assert ("bash", command) in blocks(README)
    path = ROOT / command.removeprefix("bash ")
    assert SCRIPTS[command] in path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / "setup")], check=True)


def test_the_extras_that_documents_name_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for path in (*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"):
        for extra in re.findall(r"(?:lightcrcf|\.)\[(\w+)\]", path.read_text(encoding="utf-8")):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"{path.name} names [{extra}]"


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, str]:
    """What each block printed; all run in turn, since each goes on from what those before it left."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    told = dict[str, str]()
    for path in DOCUMENTS:
        for language, content in blocks(path):
            if language not in ("bash", "python") or is_special((language, content)):
                continue
            command = ["bash", "-e", "-c", content] if language == "bash" else [sys.executable, "-c", content]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{path.name}:\n{content}\n{done.stdout}{done.stderr}"
            told[content] = done.stdout
    return told


def test_the_blocks_run(folder: Path, printed: dict[str, str]) -> None:
    assert len(printed) > 20
    left = {path.name for path in folder.iterdir()}
    assert {"result", "labels_in_fixed.nii.gz", "labels_in_moving.nii.gz", "demo-output", "first_points.csv"} <= left
    named = set(re.findall(r"^\| `([\w.]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {path.name for path in (folder / "result").iterdir()}


def test_the_tutorial_shows_what_the_demo_prints(printed: dict[str, str]) -> None:
    """Mean, 95 %, maximum and Dice of each stage agree to a tenth; the template is that of the extra `demo`."""
    shown, found = (_stages(text) for text in (TUTORIAL.read_text(encoding="utf-8"), printed[DEMO]))
    assert list(shown) == list(found) == ["before", "affine", "deformable"]
    for stage, figures in found.items():
        assert shown[stage] == pytest.approx(figures, rel=0.1, abs=0.02)


def test_the_pictures_of_the_demo_are_current(folder: Path, printed: dict[str, str], tmp_path: Path) -> None:
    """`docs/pictures/demo.py` draws them again from the demo's folder; versions of Pillow lose other details."""
    assert DEMO in printed
    script = ROOT / "docs" / "pictures" / "demo.py"
    subprocess.run([sys.executable, str(script), str(folder / "demo-output"), str(tmp_path)], check=True)
    for name in ("demo", "demo-moved", "demo-volume"):
        drawn, kept = (Image.open(place / f"{name}.jpg") for place in (tmp_path, ROOT / "docs" / "figures"))
        assert drawn.size == kept.size
        assert np.abs(np.asarray(drawn, dtype=np.float64) - np.asarray(kept, dtype=np.float64)).mean() < 2, name


def _stages(text: str) -> dict[str, list[float]]:
    """The rows of the demo's table."""
    rows = re.findall(r"^(before|affine|deformable) +([\d. ]+)$", text, re.MULTILINE)
    return {stage: [float(word) for word in figures.split()] for stage, figures in rows}


def test_the_readme_fits_on_two_screens_and_shows_a_brain() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert any(picture.endswith(".jpg") and (ROOT / picture).stat().st_size < 200_000 for picture in pictures)


def test_the_files_that_a_contribution_touches_exist() -> None:
    """Every path under "How to add", below the package unless it begins with another folder of the repository."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## How to add")[2]
    paths = [word for word in re.findall(r"`([\w./-]+/[\w./-]+|\w+\.py)`", text) if not word.startswith(".")]
    assert len(paths) > 30
    for path in paths:
        top = path.partition("/")[0] in ("src", "tests", "docs", "recipes", "benchmarks")
        assert (ROOT / path if top else ROOT / "src" / "lightcrcf" / path).exists(), path


def test_links_lead_somewhere() -> None:
    for path in (*DOCUMENTS, *ROOT.glob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_option_in_the_table_exists_and_every_option_is_in_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["register", "--help"]) == 0
    offered = set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    table = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").partition("## `register`")[2].partition("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `--")]
    assert {option for row in rows for option in re.findall(r"--[a-z-]+", row)} == offered
