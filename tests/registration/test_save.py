"""The files of a run: all or none, nothing of an earlier run, never an input."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.registration.register import Registration, register
from lightcrcf.registration.save import check_output_folder, save
from lightcrcf.transforms.itk import read_transform_folder
from lightcrcf.volumes import Volume, read, write

ALL = {"moved.nii.gz", "affine.tfm", "warp.nii.gz", "inverse_warp.nii.gz", "run.json"}


@pytest.fixture(scope="module")
def deformable(pair: tuple[Volume, Volume], coarse_model: Path) -> Registration:
    return register(*pair, model=coarse_model, init="none", inverse=True)


@pytest.fixture(scope="module")
def affine(pair: tuple[Volume, Volume]) -> Registration:
    return register(*pair, model="none", init="none", preset="fast")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_folder_appears_with_those_above_it(deformable: Registration, tmp_path: Path) -> None:
    out = tmp_path / "study" / "person" / "run"
    files = save(deformable, out).files
    assert names(out) == ALL
    assert set(files) == ALL - {"run.json"}
    assert names(out.parent) == {"run"}
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["files"] == files


def test_what_is_written_is_what_was_found(deformable: Registration, tmp_path: Path) -> None:
    save(deformable, tmp_path / "run")
    moved = read(tmp_path / "run" / "moved.nii.gz")
    assert moved.grid.isclose(deformable.fixed.grid)
    np.testing.assert_array_equal(moved.data, deformable.moved.data)
    chain = read_transform_folder(tmp_path / "run")
    points = deformable.fixed.grid.world(np.random.default_rng(2).uniform(0, 40, (500, 3)))
    np.testing.assert_allclose(chain.points(points), deformable.transform.points(points), atol=1e-4)


def test_saving_twice_gives_the_same_bytes(deformable: Registration, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(deformable, tmp_path / name)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_an_earlier_warp_does_not_stay_beside_a_new_affine(
    deformable: Registration, affine: Registration, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    save(deformable, out, extra_files={"report.html": lambda path: path.write_text("page") and None})
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    save(affine, out)
    assert names(out) == {"moved.nii.gz", "affine.tfm", "run.json", "notes.txt"}
    assert read_transform_folder(out).field is None


@pytest.mark.parametrize("damage", ["", "[1, 2]", '{"files": 3}', '{"files": {"../kept.txt": "?", "a": "b"}}', "\x00"])
def test_a_strange_run_json_is_replaced_and_moves_nothing_outside(
    damage: str, affine: Registration, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text(damage, encoding="utf-8")
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    save(affine, out)
    assert (tmp_path / "kept.txt").exists()
    assert names(out) == {"moved.nii.gz", "affine.tfm", "run.json"}


@pytest.mark.parametrize("existing", [True, False])
def test_a_writer_that_fails_leaves_everything_as_it_was(
    existing: bool, deformable: Registration, affine: Registration, tmp_path: Path
) -> None:
    out = tmp_path / "study" / "run"
    if existing:
        save(deformable, out)
    before = hashes(out) if existing else {}

    def fail(_path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(affine, out, extra_files={"report.html": fail})
    assert (hashes(out) if existing else {}) == before
    assert list(tmp_path.rglob(".tmp-*")) == []
    assert (tmp_path / "study").exists() == existing


def test_an_input_is_never_replaced(pair: tuple[Volume, Volume], affine: Registration, tmp_path: Path) -> None:
    out = tmp_path / "run"
    save(affine, out)
    before = hashes(out)
    again = register(pair[0], out / "moved.nii.gz", model="none", init="none", preset="fast")
    with pytest.raises(InputError, match="an input that the results would replace"):
        save(again, out)
    assert hashes(out) == before


def test_an_input_is_never_removed_as_an_earlier_result(
    pair: tuple[Volume, Volume], affine: Registration, tmp_path: Path
) -> None:
    write(tmp_path / "t2.nii.gz", pair[1])
    with_t2 = register(*pair, model="none", init="none", also=[tmp_path / "t2.nii.gz"])
    out = tmp_path / "run"
    save(with_t2, out)
    again = register(pair[0], out / "moved_t2.nii.gz", model="none", init="none", preset="fast")
    with pytest.raises(InputError, match=r"moved_t2\.nii\.gz"):
        save(again, out)
    assert (out / "moved_t2.nii.gz").exists()


def test_names_of_what_moved_along_are_plain_and_never_meet(pair: tuple[Volume, Volume], tmp_path: Path) -> None:
    labels = Volume((pair[1].data > 0).astype(np.uint8), pair[1].grid)
    for name in ("T2 w.nii.gz", "labels.nii", "b/T2 w.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, labels)
    moved = register(
        *pair, model="none", init="none", preset="fast", moving_labels=[labels, labels],
        also=[tmp_path / "T2 w.nii.gz", tmp_path / "labels.nii", tmp_path / "b" / "T2 w.nii.gz"],
    )  # fmt: skip
    save(moved, tmp_path / "run")
    assert names(tmp_path / "run") - {"affine.tfm", "run.json"} == {
        "moved.nii.gz", "moved_labels.nii.gz", "moved_labels_2.nii.gz", "moved_labels_3.nii.gz",
        "moved_T2_w.nii.gz", "moved_T2_w_2.nii.gz",
    }  # fmt: skip


@pytest.mark.parametrize("below", ["", "run", "a/b/c"])
def test_a_file_in_the_way_is_told_before_the_work(below: str, affine: Registration, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for act in (check_output_folder, lambda folder: save(affine, folder)):
        with pytest.raises(InputError, match="a file of that name"):
            act(tmp_path / "file" / below)
    assert names(tmp_path) == {"file"}


def test_a_place_where_no_folder_can_be_made_is_bad_input(affine: Registration) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here to refuse a folder")
    with pytest.raises(InputError, match="expected a folder for the results"):
        save(affine, "/proc/no-such-folder/run")
