"""`lightcrcf template`: every option arrives, the exit codes hold, and what came out is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightcrcf.batch.options import BatchOptions
from lightcrcf.cli.main import run
from lightcrcf.errors import UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.template.recipe import Recipe
from lightcrcf.volumes import Volume, write

QUICK = ["--model", "none", "--preset", "fast", "--iterations", "1"]


@pytest.fixture(scope="module")
def images(
    grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Two small persons."""
    folder = tmp_path_factory.mktemp("images")
    for person in range(2):
        write(folder / f"p{person}.nii.gz", brains(grids((25, 31, 22), (6.0, 6.1, 6.2)), person=person)[0])
    return [str(folder / f"p{person}.nii.gz") for person in range(2)]


def test_a_template_and_what_apply_makes_of_it(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["template", *images, "--out", str(out), *QUICK]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    lines = stderr.splitlines()
    title = f"building a template of 2 images; results go to {out}"
    assert lines[:3] == [title, "affine mean ...", "iteration 1 of 1 ..."]
    assert lines[-4] == "average of 2 images"
    told = [
        "--reference",
        str(out / "template.nii.gz"),
        "--input",
        images[1],
        "--transform",
        str(out / "transforms/p1"),
    ]
    assert run(["apply", *told, "--output", str(tmp_path / "moved.nii.gz")]) == 0
    capsys.readouterr()
    assert run(["template", *images, "--out", str(out), *QUICK]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["template", *images, "--out", str(out), *QUICK, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "template.json").read_text())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["IMAGE"], 3),
        (["IMAGE", "IMAGE"], 3),
        (["IMAGE", "missing.nii.gz"], 3),
        (["IMAGE", "OTHER", "--iterations", "0"], 2),
        (["IMAGE", "OTHER", "--step", "0"], 2),
        (["IMAGE", "OTHER", "--preset", "best"], 2),
        (["IMAGE", "OTHER", "--model", "nobody"], 2),
        (["IMAGE", "OTHER", "--similarity", "none"], 2),
        (["IMAGE", "OTHER", "--similarity", "any", "--model", "hippocampus-mr"], 2),
        (["IMAGE", "OTHER", "--workers", "99999"], 2),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], code: int, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"IMAGE": images[0], "OTHER": images[1]}
    assert run(["template", *(files.get(word, word) for word in words), "--out", str(tmp_path / "out")]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_option_reaches_the_template(images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stop(paths: Any, out: Path, recipe: Recipe, *, resume: bool, progress: Any) -> None:
        seen.update(paths=paths, out=out, recipe=recipe, resume=resume, progress=callable(progress))
        raise UsageError("stop", expected="this", got="that", remedy="stop")

    monkeypatch.setattr("lightcrcf.template.build.build", stop)
    options = (
        "--iterations 7 --step 0.25 --sharpen 0 --model brain --preset accurate --coarsen 2 --workers 2 "
        "--scheduler tcp://x:1 --threads 3 --similarity any --resume"
    )
    assert run(["template", *images, "--out", str(tmp_path), *options.split()]) == 2
    assert seen == {
        "paths": [Path(image) for image in images],
        "out": tmp_path,
        "recipe": Recipe(
            7,
            0.25,
            0.0,
            BatchOptions("brain", preset="accurate", coarsen=2, threads=3, similarity="any"),
            2,
            "tcp://x:1",
        ),
        "resume": True,
        "progress": True,
    }
