"""`lightcrcf apply`: a volume through the transform of an earlier run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.missing_data import estimate_background
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import write_affine
from lightcrcf.volumes import Volume, read, write

GRID = Grid((7, 9, 11), np.diag([1.0, 2.0, 3.0, 1.0]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A transform that takes fixed points one fixed voxel to the right in moving, and volumes to try it on."""
    matrix = np.eye(4)
    matrix[0, 3] = 1.0
    out = tmp_path / "run"
    out.mkdir()
    write_affine(out / "affine.tfm", Affine(matrix))
    image = np.random.default_rng(3).normal(100, 20, GRID.shape).astype(np.float32)
    write(tmp_path / "image.nii.gz", Volume(image, GRID))
    write(tmp_path / "labels.nii.gz", Volume((image > 100).astype(np.uint8) * 7, GRID))
    return out


def words(folder: Path, name: str) -> list[str]:
    here, out = folder.parent, folder.parent / "out.nii.gz"
    files = ["--reference", str(here / "image.nii.gz"), "--input", str(here / name), "--output", str(out)]
    return ["apply", *files, "--transform", str(folder)]


def apply(folder: Path, name: str, *options: str) -> tuple[int, Path]:
    return run([*words(folder, name), *options]), folder.parent / "out.nii.gz"


@pytest.mark.parametrize("interpolation", ["auto", "linear", "nearest", "cubic"])
def test_the_result_is_what_lies_one_voxel_on(folder: Path, interpolation: str) -> None:
    code, out = apply(folder, "image.nii.gz", "--interpolation", interpolation)
    assert code == 0
    given, moved = read(folder.parent / "image.nii.gz").data, read(out).data
    np.testing.assert_allclose(moved[:-1], given[1:], rtol=1e-5)
    assert np.all(moved[-1] == estimate_background(read(folder.parent / "image.nii.gz")))


@pytest.mark.parametrize("interpolation", ["auto", "linear", "nearest", "cubic"])
@pytest.mark.parametrize("fill", ["0", "-7.5"])
def test_what_lies_outside_gets_the_value_that_is_asked_for(folder: Path, interpolation: str, fill: str) -> None:
    code, out = apply(folder, "image.nii.gz", "--interpolation", interpolation, "--fill", fill)
    assert code == 0
    given, moved = read(folder.parent / "image.nii.gz").data, read(out).data
    np.testing.assert_allclose(moved[:-1], given[1:], rtol=1e-5)
    assert np.all(moved[-1] == float(fill))


def test_by_itself_it_gets_air_in_ct_and_0_in_labels(folder: Path) -> None:
    """So does what a scanner padded, and NaN."""
    ct = np.full(GRID.shape, -1000, np.float32)
    ct[1:5, 2:7, 2:8] = np.random.default_rng(4).normal(40, 15, (4, 5, 6))
    ct[:, -2:] = -3024
    ct[2, 3, 4] = np.nan
    write(folder.parent / "ct.nii.gz", Volume(ct, GRID))
    code, out = apply(folder, "ct.nii.gz", "--interpolation", "nearest")
    assert code == 0
    expected = np.where(np.isnan(ct) | (ct < -2000), -1000, ct)
    moved = read(out).data
    np.testing.assert_array_equal(moved[:-1], expected[1:])
    assert np.all(moved[-1] == -1000)
    labels = read(folder.parent / "labels.nii.gz").data
    code, out = apply(folder, "labels.nii.gz")
    assert code == 0
    np.testing.assert_array_equal(read(out).data, np.concatenate([labels[1:], np.zeros_like(labels[:1])]))


def test_a_value_that_is_none_and_one_that_labels_cannot_hold_are_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, fill in (
        ("image.nii.gz", "air"),
        ("image.nii.gz", "inf"),
        ("labels.nii.gz", "-1000"),
        ("labels.nii.gz", "nan"),
    ):
        code, out = apply(folder, name, "--fill", fill)
        assert code == 2
        assert capsys.readouterr().err.startswith("error: fill: expected ")
        assert not out.exists()


def test_inverse_goes_the_other_way(folder: Path) -> None:
    code, out = apply(folder, "image.nii.gz", "--inverse")
    assert code == 0
    np.testing.assert_allclose(read(out).data[1:], read(folder.parent / "image.nii.gz").data[:-1], rtol=1e-5)


def test_labels_stay_labels(folder: Path) -> None:
    code, out = apply(folder, "labels.nii.gz")
    assert code == 0
    moved = read(out)
    assert moved.data.dtype.kind in "iu"
    assert set(np.unique(moved.data)) == {0, 7}


def test_a_missing_input_is_3_and_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = apply(folder, "none.nii.gz")
    assert code == 3
    assert not out.exists()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("taken", ["--input", "--reference"])
def test_what_is_read_is_never_written_over(taken: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = words(folder, "labels.nii.gz")
    path = Path(given[given.index(taken) + 1])
    before = path.read_bytes()
    given[given.index("--output") + 1] = str(path.parent / "run" / ".." / path.name)
    assert run(given) == 2
    assert f"another file for --output than {taken}" in capsys.readouterr().err
    assert path.read_bytes() == before
