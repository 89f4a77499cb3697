"""`lightcrcf label`: every option arrives, and the exit codes hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightcrcf.batch.options import BatchOptions
from lightcrcf.cli.main import run
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.labels import labelling
from lightcrcf.volumes import Volume, read, write

QUICK = ["--model", "none", "--init", "none", "--preset", "fast"]


@pytest.fixture(scope="module")
def folder(
    grids: Callable[..., Grid],
    brains: Callable[..., tuple[Volume, Volume]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three small persons under BIDS names; sub-0 is to be labelled."""
    folder = tmp_path_factory.mktemp("atlases")
    for person in range(3):
        image, labels = brains(grids((25, 31, 22), (6.0, 6.1, 6.2)), person=person)
        write(folder / f"sub-{person}_T1w.nii.gz", image)
        write(folder / f"sub-{person}_dseg.nii.gz", labels)
    (folder.parent / "image.nii.gz").write_bytes((folder / "sub-0_T1w.nii.gz").read_bytes())
    for name in ("T1w", "dseg"):
        (folder / f"sub-0_{name}.nii.gz").unlink()
    return folder


@pytest.fixture
def image(folder: Path) -> Path:
    return folder.parent / "image.nii.gz"


def test_a_folder_of_atlases(folder: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["label", str(image), "--atlases", str(folder), "--out", str(out), *QUICK]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    start, found, results = stderr.splitlines()
    assert start == f"labelling {image} by 2 atlases ..."
    assert found.startswith("3 structures from 2 of 2 atlases, mean confidence 0.")
    assert results.startswith(f"results: {out / 'labels.nii.gz'}, ")
    assert {p.name for p in out.iterdir()} == {"labels.nii.gz", "volumes.csv", "label.json"}
    assert read(out / "labels.nii.gz").grid.isclose(read(image).grid)


def test_json_and_confidence(folder: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["label", str(image), "--atlases", str(folder), "--out", str(tmp_path), "--confidence", "--json", *QUICK]
    assert run([*words, "--fusion", "vote"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "label.json").read_text())
    assert (tmp_path / "confidence.nii.gz").is_file()


def test_every_option_arrives(folder: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def label(image: Path, atlases: Any, **options: Any) -> None:
        seen.update(options, image=image, atlases=atlases)
        raise InputError("seen", expected="this", got="this", remedy="go on")

    monkeypatch.setattr(labelling, "label", label)
    words = {
        "--fusion": "weighted", "--workers": "2", "--model": "brain", "--init": "none", "--preset": "accurate",
        "--refine": "3", "--coarsen": "2", "--engine": "native", "--device": "cpu", "--precision": "f32",
        "--threads": "1", "--atlas-images": "T1w", "--atlas-labels": "dseg", "--transform": "affine",
    }  # fmt: skip
    more = [word for pair in words.items() for word in pair]
    assert run(["label", str(image), "--atlases", str(folder), "--out", str(tmp_path), *more]) == 3
    assert (seen["image"], seen["fusion"], seen["workers"]) == (image, "weighted", 2)
    assert seen["options"] == BatchOptions(
        "brain", "none", "accurate", 3, engine="native", precision="f32", threads=1, coarsen=2, transform="affine"
    )
    assert len(seen["atlases"]) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--atlas-labels", "aseg"], 3),
        (["--fusion", "guess"], 2),
        (["--workers", "99999"], 2),
        (["--model", "no-such"], 2),
        (["--transform", "bent"], 2),
        (["--transform", "rigid", "--refine", "4"], 2),
    ],
)
def test_what_goes_wrong_is_one_line(
    words: list[str], code: int, folder: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["label", str(image), "--atlases", str(folder), "--out", str(out), *words]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_an_image_that_is_missing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["label", str(tmp_path / "no.nii"), "--atlases", str(folder), "--out", str(tmp_path / "out")]) == 3
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path}/no.nii: expected a readable file, got no such file; check the name\n"
    )
