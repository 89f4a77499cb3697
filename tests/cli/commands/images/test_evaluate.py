import json
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import AFFINE_NAME, write_affine
from lightcrcf.volumes import Volume, write

GRID = Grid((10, 12, 14), np.diag([1.0, 2.0, 3.0, 1.0]))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Labels, the same one voxel (2 mm) further along the second axis, and the transform that undoes it."""
    labels = np.zeros(GRID.shape, dtype=np.int16)
    labels[3:8, 3:8, 4:9] = 2035
    write(tmp_path / "fixed.nii.gz", Volume(labels, GRID))
    write(tmp_path / "moving.nii.gz", Volume(np.roll(labels, 1, axis=1), GRID))
    write(tmp_path / "image.nii.gz", Volume(labels.astype(np.float32), GRID))
    shift = np.eye(4)
    shift[1, 3] = 2.0
    (tmp_path / "run").mkdir()
    write_affine(tmp_path / "run" / AFFINE_NAME, Affine(shift))
    return {name: str(tmp_path / name) for name in ("fixed.nii.gz", "moving.nii.gz", "image.nii.gz", "run")}


def test_json_goes_to_stdout(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["--fixed-labels", files["fixed.nii.gz"], "--moved-labels", files["moving.nii.gz"]]
    images = ["--fixed", files["image.nii.gz"], "--moved", files["image.nii.gz"]]
    assert run(["evaluate", *labels, *images, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["dice"] == {"2035": pytest.approx(0.8)}
    assert scores["mean_hd95"] == pytest.approx(2.0)
    assert (scores["hd95_unit"], scores["mse"], scores["folding_percent"]) == ("mm", 0.0, None)


def test_a_transform_moves_the_labels(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["--fixed-labels", files["fixed.nii.gz"], "--moving-labels", files["moving.nii.gz"]]
    assert run(["evaluate", *labels, "--transform", files["run"], "--protocol", "learn2reg", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["mean_dice"], scores["mean_hd95"], scores["hd95_unit"]) == (1.0, 0.0, "voxel")
    assert scores["folding_percent"] == 0.0


def test_people_get_a_table(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["--fixed-labels", files["fixed.nii.gz"], "--moving-labels", files["moving.nii.gz"]]
    assert run(["evaluate", *labels, "--transform", files["run"]]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["2035", "1.0000", "0.000"] in lines
    assert ["mean", "1.0000", "0.000"] in lines
    assert ["folding,", "%", "0"] in lines


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "--moved-labels, or --moving-labels with --transform, got none of them"),
        (["--moving-labels", "B"], "got only --moving-labels"),
        (["--transform", "DIR"], "got only --transform"),
        (["--moved-labels", "B", "--fixed", "F"], "got --fixed alone"),
        (["--moved-labels", "B", "--protocol", "l2r"], "l2r"),
    ],
)
def test_wrong_options_end_with_2(options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--fixed-labels", "A", *options]) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("role", ["--fixed-labels", "--moved-labels", "--moving-labels"])
def test_an_image_is_told_at_once(
    role: str,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is moved or scored."""
    shape = (20, 24, 22)
    grey = np.random.default_rng(0).normal(120, 9, shape).astype(np.uint8)
    write(tmp_path / "t1.nii.gz", Volume(grey, Grid(shape, np.diag([2.0, 2.0, 2.5, 1.0]))))
    for name in ("evaluation.protocols.dice", "evaluation.protocols._labels_on_fixed_grid"):
        monkeypatch.setattr(f"lightcrcf.{name}", lambda *_: pytest.fail("too late"))
    given = {"--fixed-labels": files["fixed.nii.gz"], "--transform": files["run"], role: str(tmp_path / "t1.nii.gz")}
    if "--moved-labels" not in given:
        given.setdefault("--moving-labels", files["moving.nii.gz"])
    assert run(["evaluate", *(word for pair in given.items() for word in pair)]) == 3
    assert "t1.nii.gz: expected a label map, got an image" in capsys.readouterr().err


def test_bad_input_ends_with_3(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--fixed-labels", files["fixed.nii.gz"], "--moved-labels", "missing.nii.gz"]) == 3
    assert "missing.nii.gz" in capsys.readouterr().err
