"""Which atlases a folder or a table holds, and what is said of those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.labels.atlases import Atlas, check_atlases, find_atlases
from lightcrcf.volumes import Volume, write


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_bids_names_in_a_folder_and_below(tmp_path: Path) -> None:
    touch(tmp_path, "sub-b_T1w.nii.gz", "sub-b_dseg.nii", "notes.txt", "sub-b_T2w.nii.gz", "dataset_description.json")
    touch(tmp_path, "sub-a/ses-1/anat/sub-a_ses-1_T1w.nii.gz", "sub-a/ses-1/anat/sub-a_ses-1_dseg.nii.gz")
    assert [(a.image.name, a.labels.name) for a in find_atlases(tmp_path)] == [
        ("sub-a_ses-1_T1w.nii.gz", "sub-a_ses-1_dseg.nii.gz"),
        ("sub-b_T1w.nii.gz", "sub-b_dseg.nii"),
    ]
    assert [a.image.name for a in find_atlases(tmp_path / "sub-a/ses-1/anat")] == ["sub-a_ses-1_T1w.nii.gz"]


def test_other_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1_T2w.nii.gz", "sub-1_organs.nii.gz", "sub-1_T1w.nii.gz")
    (atlas,) = find_atlases(tmp_path, "T2w", "organs")
    assert atlas == Atlas(tmp_path / "sub-1_T2w.nii.gz", tmp_path / "sub-1_organs.nii.gz")


@pytest.mark.parametrize(("there", "missing"), [("T1w", "dseg"), ("dseg", "T1w")])
def test_a_missing_partner_is_named(there: str, missing: str, tmp_path: Path) -> None:
    touch(tmp_path, "sub-1_T1w.nii.gz", "sub-1_dseg.nii.gz", f"sub-2_{there}.nii.gz")
    with pytest.raises(InputError, match=rf"sub-2_{there}.nii.gz: expected .*sub-2_{missing}.nii.gz"):
        find_atlases(tmp_path)


@pytest.mark.parametrize("given", ["folder", "table"])
def test_a_table(given: str, tmp_path: Path) -> None:
    touch(tmp_path, "images/one.nii", "labels/one.nii", "two.mha", "two_seg.mha", "sub-9_T1w.nii.gz")
    (tmp_path / "atlases.csv").write_text(
        "\ufefflabels; image; age\nlabels/one.nii;images/one.nii;7\n two_seg.mha ; two.mha;8\n", encoding="utf-8"
    )
    found = find_atlases(tmp_path if given == "folder" else tmp_path / "atlases.csv")
    assert found == [
        Atlas(tmp_path / "images/one.nii", tmp_path / "labels/one.nii"),
        Atlas(tmp_path / "two.mha", tmp_path / "two_seg.mha"),
    ]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("image,labels\n", "expected rows below a header"),
        ("image\na.nii\n", "columns image, labels, got no labels; add"),
        ("image,label\na.nii,b.nii\n", "no labels; rename 'label', or add"),
        ("image,labels\na.nii,\n", "line 2: expected a file in column labels"),
        ("image,labels\na.nii,b.nii\n", r"b.nii: expected the files that .*atlases.csv names"),
        ("", "columns image, labels, got no image"),
    ],
)
def test_a_table_that_cannot_be_used(table: str, told: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.nii")
    (tmp_path / "atlases.csv").write_text(table)
    with pytest.raises(InputError, match=told):
        find_atlases(tmp_path)


def test_a_place_without_atlases(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected atlases.csv, or images like sub-X_T1w"):
        find_atlases(tmp_path)
    with pytest.raises(InputError, match="expected a folder of atlases, or a CSV file"):
        find_atlases(tmp_path / "nowhere")
    (tmp_path / "latin.csv").write_bytes(b"image,labels\n\xe4.nii,b.nii\n")
    with pytest.raises(InputError, match="UTF-8"):
        find_atlases(tmp_path / "latin.csv")


@pytest.mark.parametrize("ending", ["nii.gz", "mha"])
def test_labels_on_another_grid_are_refused(ending: str, grids: Callable[..., Grid], tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in ("image", "labels", "elsewhere")]
    for path, shift in zip(paths, (0, 0, 3), strict=True):
        grid = grids((5, 6, 7), (1, 2, 3), axes="LPS", centre=(shift, 0, 0))
        write(path, Volume(np.zeros(grid.shape, np.int16), grid))
    check_atlases([Atlas(paths[0], paths[1])])
    with pytest.raises(InputError, match=r"elsewhere.*: expected labels on the grid of .*image"):
        check_atlases([Atlas(paths[0], paths[1]), Atlas(paths[0], paths[2])])
