"""`lightcrcf data check`: what is there, what is missing or wrong, one line each, and the exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.geometry.grid import Grid
from lightcrcf.training.datasets.layouts import LAYOUTS
from lightcrcf.volumes import Volume, read, write

RECIPES = Path(__file__).parents[4] / "recipes"
GRID = Grid((8, 9, 10), np.diag([1.5, 2.0, 2.5, 1.0]))
CORNERS = {  # of structures that tell left, back and bottom
    "lpba40": {21: (0, 8, 9), 22: (7, 8, 9), 181: (4, 0, 0)},
    "oasis-learn2reg": {2: (0, 8, 9), 21: (7, 8, 9), 6: (1, 0, 0)},
    "oasis-neurite": {2: (0, 8, 9), 21: (7, 8, 9), 6: (1, 0, 0)},
    "acdc": {},
    "abdomen-ct": {3: (0, 8, 9), 2: (7, 8, 9), 1: (0, 0, 0), 6: (7, 0, 0)},
}
Tree = Callable[..., Path]


def anatomy(layout: str) -> Volume:
    """All structures of a set, a voxel each, those that tell the sides where they belong."""
    labels = np.zeros(GRID.shape, np.int16)
    corners = CORNERS[layout]
    inner = labels[2:6, 2:7, 2:8]
    others = sorted(LAYOUTS[layout].codes - corners.keys())
    inner[np.unravel_index(np.arange(len(others)), inner.shape)] = others
    for code, voxel in corners.items():
        labels[voxel] = code
    return Volume(labels, GRID)


@pytest.fixture
def tree(tmp_path: Path, published: Callable[[str, Path, Volume, Volume], Path]) -> Tree:
    image = Volume(np.arange(GRID.size, dtype=np.int16).reshape(GRID.shape), GRID)

    def build(layout: str, labels: Volume | None = None) -> Path:
        return published(layout, tmp_path / "set" / layout, image, labels or anatomy(layout))

    return build


def check(layout: str, folder: Path, *options: str) -> int:
    return run(["data", "check", str(RECIPES / f"{layout}.toml"), str(folder), *options])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_set_is_trainable(layout: str, tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree(layout)
    assert check(layout, folder, "--labels") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"{layout} in {folder}\n")
    assert out.endswith("\ntrainable\n")
    assert "images   8x9x10 voxels of 1.5x2x2.5 mm" in out
    assert f"labels   {len(LAYOUTS[layout].codes)} structures" in out
    assert "warning" not in out


def test_json_holds_the_pairs_to_test_on(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("acdc")
    assert check("acdc", folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (cohort,) = found["cohorts"]
    assert found["trainable"] is cohort["trainable"] is True
    assert cohort["pairs"] == {"train": 180, "val": 20, "test": 100}
    assert cohort["shapes"] == [[8, 9, 10]] * 2
    first = cohort["test_pairs"][0]
    assert first["fixed"] == str(folder / "testing/patient101/patient101_frame01.nii.gz")
    assert first["moving_labels"] == str(folder / "testing/patient101/patient101_frame12_gt.nii.gz")
    assert all(Path(file).is_file() for pair in cohort["test_pairs"] for file in pair.values())
    assert (cohort["errors"], cohort["warnings"], cohort["codes"]) == ([], [], None)


def test_regions_of_lpba40_are_counted_both_ways(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("lpba40", tree("lpba40"), "--json") == 0
    structures = json.loads(capsys.readouterr().out)["cohorts"][0]["structures"]
    assert {name: len(codes) for name, codes in structures.items()} == {"56 regions": 56, "54 regions": 54}
    assert set(structures["56 regions"]) - set(structures["54 regions"]) == {181, 182}


def test_what_blocks_is_3_and_each_is_a_line(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("lpba40")
    (folder / "S11/S11.delineation.skullstripped.hdr").unlink()
    (folder / "S40/S40.delineation.skullstripped.img.gz").unlink()
    (folder / "S02/S02.delineation.structure.label.hdr").unlink()
    assert check("lpba40", folder) == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert "  train    28 of 30 persons, 30 pairs: S11, S12, S13, S14, ..." in lines
    assert sum(line.startswith("  error    S") and "is missing" in line for line in lines) == 2
    assert "  warning  S02/S02.delineation.structure.label.hdr is missing" in lines
    assert lines[-1] == "not trainable: 2 errors"


def test_headers_are_read(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("abdomen-ct")

    def replace(part: str, number: int, content: bytes | Volume) -> None:
        path = folder / part / f"AbdomenCTCT_{number:04d}_0000.nii.gz"
        path.unlink()
        if isinstance(content, Volume):
            write(path, content)
        else:
            path.write_bytes(content)

    whole = read(folder / "labelsTr/AbdomenCTCT_0005_0000.nii.gz")
    replace("imagesTr", 3, b"no image")
    replace("labelsTr", 21, Volume(whole.data[:7].copy(), whole.grid.crop((0, 0, 0), (7, 9, 10))))
    replace("labelsTr", 22, Volume(whole.data, whole.grid.crop((0, 0, 1), whole.grid.shape)))
    assert check("abdomen-ct", folder) == 3
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  error")]
    assert len(errors) == 2
    assert "AbdomenCTCT_0003_0000.nii.gz: expected a NIfTI file" in errors[0]
    assert "AbdomenCTCT_0021_0000.nii.gz has 7x9x10 voxels, its image 8x9x10" in errors[1]
    assert check("abdomen-ct", folder, "--json") == 3
    (cohort,) = json.loads(capsys.readouterr().out)["cohorts"]
    assert [text for text in cohort["warnings"] if "lies elsewhere than its image" in text] == cohort["warnings"]
    assert len(cohort["warnings"]) == 1


@pytest.mark.parametrize(("axis", "said"), [(0, "left and right"), (1, "front and back"), (2, "top and bottom")])
def test_labels_tell_swapped_sides(axis: int, said: str, tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    labels = anatomy("lpba40")
    folder = tree("lpba40", Volume(np.flip(labels.data, axis).copy(), labels.grid))
    assert check("lpba40", folder) == 0
    assert "are swapped" not in capsys.readouterr().out
    assert check("lpba40", folder, "--labels") == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "are swapped" in line]
    assert len(warnings) == 40
    assert all(f"say that {said} are swapped" in line for line in warnings)


def test_strange_and_missing_structures_are_told(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    labels = anatomy("acdc")
    labels.data[labels.data == 3] = 4
    assert check("acdc", tree("acdc", labels), "--labels") == 0
    out = capsys.readouterr().out
    assert out.count("labels that the set does not have: 4") == 300
    assert "  warning  structures that nobody has: 3" in out


def test_a_folder_above_the_right_one_is_told(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("acdc")
    assert check("acdc", folder.parents[1]) == 3
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  error")]
    assert "expected training/patient001/Info.cfg" in line
    assert f"they are in {folder}, which is the folder to name" in line


def test_a_missing_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("acdc", tmp_path / "nowhere") == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "the folder of the data" in err


def test_a_run_says_the_same(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tree("abdomen-ct")
    shutil.rmtree(folder / "labelsTr")
    recipe = tmp_path / "recipe.toml"
    text = (RECIPES / "abdomen-ct.toml").read_text(encoding="utf-8")
    recipe.write_text(text.replace("../../data/AbdomenCTCT", str(folder)), encoding="utf-8")
    assert run(["train", str(recipe)]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 4
    assert "got 3:" in err
    for person in ("0021", "0022", "0023"):
        assert f"labelsTr/AbdomenCTCT_{person}_0000.nii.gz is missing" in err
    assert "lightcrcf data check" in err


def test_recipes_that_name_their_files_are_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(RECIPES / "brain-t1.toml"), str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert "  error    sub-1000_T1w.nii.gz is missing" in out
    assert out.endswith("not trainable: 23 errors\n")


def test_many_missing_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    text = (RECIPES / "brain-t1.toml").read_text(encoding="utf-8")
    recipe.write_text(text.replace("../../shared/data", str(tmp_path)), encoding="utf-8")
    assert run(["train", str(recipe)]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert "got 18 more problems" in lines[-1]


def test_pytorch_is_not_needed(tree: Tree) -> None:
    code = "import sys; sys.modules['torch'] = None; from lightcrcf.cli.main import run; sys.exit(run(sys.argv[1:]))"
    words = ["data", "check", str(RECIPES / "lpba40.toml"), str(tree("lpba40")), "--labels"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
