"""The guide "Training on your own data" does what it says, on small images."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.training.config import load_config
from lightcrcf.volumes import Volume, write

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "training.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALLER = {
    "spacing_mm = 1.0": "spacing_mm = 5.0",
    "shape = [144, 192, 144]": "shape = [32, 48, 32]",
    "steps = 1500": "steps = 2",
    "steps = 3000": "steps = 1",
    "warmup_steps = 100": "warmup_steps = 1",
    'folder = "our-t1"': 'folder = "our-t1"\nprecision = "f32"',
}
"""What the test changes, so that a run takes seconds."""


def blocks(language: str) -> list[str]:
    return [text for found, text in FENCE.findall(GUIDE.read_text(encoding="utf-8")) if found == language]


def small_recipe() -> str:
    recipe = blocks("toml")[0]
    for old, new in SMALLER.items():
        assert recipe.count(old) == 1, old
        recipe = recipe.replace(old, new)
    return recipe


@pytest.fixture
def scans(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
) -> Path:
    """Six persons in the folders of the guide, one of them seen twice, and its recipe beside them."""
    for person, session in (*((n, 1) for n in range(6)), (0, 2)):
        image, labels = brains(grids((34, 42 + person, 31), (5.0, 4.8, 5.0)), person=person + session - 1)
        folder = tmp_path / "scans" / f"sub-{person}" / f"ses-{session}"
        folder.mkdir(parents=True)
        write(folder / "t1.nii.gz", image)
        write(folder / "t1_labels.nii.gz", labels)
    (tmp_path / "our-t1.toml").write_text(small_recipe(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_recipe_of_the_guide_trains_a_model(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check, train, tune = (line for text in blocks("text")[:2] for line in text.splitlines())
    assert run(shlex.split(check)[1:]) == 0
    said = capsys.readouterr().out
    assert re.search(r"train +2 persons, 2 pairs: \d, \d", said)
    assert re.search(r"monitor +2 persons, 2 pairs", said)
    assert re.search(r"test +2 persons, [26] pairs", said)
    assert run(shlex.split(train)[1:]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    command = shlex.split(last.partition("to use it: ")[2])
    assert run([*command[1:], "--preset", "fast"]) == 0
    record = json.loads((scans / "registered" / "run.json").read_text(encoding="utf-8"))
    assert record["model"]["name"] == "our-t1"
    assert "A watched pair" in (scans / "our-t1" / "report.html").read_text(encoding="utf-8")
    tuned = small_recipe().replace("our-t1", "our-t1-tuned").replace("\n", '\nvariant = "antisymmetric"\n', 1)
    (scans / "our-t1-tuned.toml").write_text(tuned, encoding="utf-8")
    assert run(shlex.split(tune)[1:]) == 0
    assert (scans / "our-t1-tuned" / "our-t1-tuned.safetensors").is_file()


@pytest.mark.parametrize("fragment", blocks("toml")[1:], ids=lambda text: text.splitlines()[1])
def test_the_fragments_of_the_guide_fit_into_its_recipe(fragment: str, tmp_path: Path) -> None:
    table = fragment.splitlines()[0]
    recipe = re.sub(rf"{re.escape(table)}\n(?:(?!\[|#).*\n)*", "", blocks("toml")[0])
    assert table not in recipe
    path = tmp_path / "recipe.toml"
    path.write_text(f"{recipe}\n{fragment}", encoding="utf-8")
    assert load_config(path).name == "our-t1"
