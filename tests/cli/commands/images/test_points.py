"""`lightcrcf points`: which way points go, what of a table survives, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import write_affine, write_field

SHIFT = np.array([5.0, -3.0, 2.0])
PUSH = np.array([0.5, 1.0, -2.0])  # of the field, in RAS mm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A transform that takes fixed points x to x + PUSH + SHIFT in moving."""
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    grid = Grid((20, 22, 24), np.diag([-1.0, 1.5, 2.0, 1.0]))
    out = tmp_path / "run"
    out.mkdir()
    write_affine(out / "affine.tfm", Affine(matrix))
    write_field(
        out / "warp.nii.gz",
        DisplacementField.from_world_mm(grid, np.broadcast_to(PUSH, (*grid.shape, 3)).astype(np.float32)),
    )
    return out


def move(folder: Path, text: str, *options: str) -> tuple[int, str]:
    """Exit code and the text that came out."""
    source, target = folder.parent / "in.csv", folder.parent / "out.csv"
    source.write_bytes(text.encode("utf-8"))
    code = run(["points", "--input", str(source), "--transform", str(folder), "--output", str(target), *options])
    return code, target.read_text(encoding="utf-8") if target.exists() else ""


def test_to_moving_adds_the_field_and_the_affine(folder: Path) -> None:
    code, out = move(folder, "x,y,z\n-10,12,20\n", "--to", "moving")
    assert code == 0
    assert out == "x,y,z\n-4.500000,10.000000,20.000000\n"


def test_to_fixed_goes_back(folder: Path) -> None:
    code, out = move(folder, "x,y,z\n-4.5,10,20\n", "--to", "fixed")
    assert code == 0
    np.testing.assert_allclose(np.genfromtxt(out.splitlines()[1:], delimiter=","), [-10, 12, 20], atol=2e-5)


def test_lps_negates_x_and_y_coming_and_going(folder: Path) -> None:
    code, out = move(folder, "x,y,z\n10,-12,20\n", "--to", "moving", "--lps")
    assert code == 0
    assert out == "x,y,z\n4.500000,-10.000000,20.000000\n"


def test_other_columns_stay_as_they_are_in_any_order(folder: Path) -> None:
    text = '\ufeffname;Z;note; X;y\n"left;\nAC";20;007;-10;12\n\nright;20;;-10;12\n'
    code, out = move(folder, text, "--to", "moving")
    assert code == 0
    assert out == (
        'name;Z;note; X;y\n"left;\nAC";20.000000;007;-4.500000;10.000000\nright;20.000000;;-4.500000;10.000000\n'
    )


def test_a_table_without_rows_gives_one_without_rows(folder: Path) -> None:
    assert move(folder, "x,y,z\n", "--to", "moving") == (0, "x,y,z\n")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "an empty row"),
        ("a,b,c\n1,2,3\n", "a, b, c"),
        ("x,y,z,x\n1,2,3,4\n", "x, y, z, x"),
        ("x,y,z\n1,2\n", "2 in data row 1"),
        ("x,y,z\n1,2,three\n", "three"),
        ("x,y,z\n1,2,nan\n", "NaN or infinity"),
    ],
)
def test_a_bad_table_is_3_in_one_line_and_leaves_nothing(
    folder: Path, text: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = move(folder, text, "--to", "moving")
    err = capsys.readouterr().err
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert word in err
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in.csv", "run"]


def test_a_missing_table_a_binary_table_and_a_missing_folder_are_3(folder: Path) -> None:
    target = str(folder.parent / "out.csv")
    binary = folder.parent / "binary.csv"
    binary.write_bytes(b"x,y,z\n\xff\xfe\x00")
    good = folder.parent / "good.csv"
    good.write_text("x,y,z\n1,2,3\n", encoding="utf-8")
    for source, transform in ((folder / "no.csv", folder), (binary, folder), (good, folder / "none")):
        arguments = ["--input", str(source), "--transform", str(transform), "--to", "moving", "--output", target]
        assert run(["points", *arguments]) == 3


def test_the_table_is_never_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder.parent / "in.csv"
    source.write_text("x,y,z\n1,2,3\n", encoding="utf-8")
    assert (
        run(["points", "--input", str(source), "--transform", str(folder), "--to", "moving", "--output", str(source)])
        == 2
    )
    assert "another file for --output than --input" in capsys.readouterr().err
    assert source.read_text(encoding="utf-8") == "x,y,z\n1,2,3\n"
