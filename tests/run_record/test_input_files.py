"""SHA-256 of what a run was made from: of files, folders, and headers whose voxels lie elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.run_record.input_files import file_options, fingerprint, sources_of
from lightcrcf.volumes import Volume, read, write


def test_of_a_file_it_is_what_sha256sum_says(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"voxels")
    assert fingerprint(tmp_path / "a.nii") == hashlib.sha256(b"voxels").hexdigest()


@pytest.mark.parametrize(
    ("header", "voxels"), [("a.hdr", "a.img.gz"), ("a[1].mhd", "a[1].raw"), ("a.nhdr", "a.raw.gz")]
)
def test_voxels_beside_their_header_count(header: str, voxels: str, tmp_path: Path) -> None:
    for name in (header, voxels):
        (tmp_path / name).write_bytes(b"old")
    before = fingerprint(tmp_path / header)
    (tmp_path / "other.raw").write_bytes(b"another file")
    assert fingerprint(tmp_path / header) == before
    (tmp_path / voxels).write_bytes(b"new")
    assert fingerprint(tmp_path / header) != before


@pytest.mark.parametrize(
    ("header", "text"),
    [("a.mhd", "ObjectType = Image\nElementDataFile = own.raw\n"), ("a.nhdr", "NRRD0004\ndata file: own.raw\n\n")],
)
def test_voxels_of_another_name_count(header: str, text: str, tmp_path: Path) -> None:
    (tmp_path / header).write_text(text)
    (tmp_path / "own.raw").write_bytes(b"old")
    before = fingerprint(tmp_path / header)
    (tmp_path / "own.raw").write_bytes(b"new")
    assert fingerprint(tmp_path / header) != before


def test_voxels_that_were_changed_in_memory_are_no_file(tmp_path: Path) -> None:
    file = tmp_path / "a.nii.gz"
    write(file, Volume(np.ones((2, 3, 4), np.float32), Grid((2, 3, 4), np.eye(4))))
    volume = read(file)
    changed = replace(volume, data=volume.data * 2)
    resampled = Volume(volume.data[:1], Grid((1, 3, 4), np.eye(4)), volume.source)
    assert [s.path for s in sources_of([("fixed", volume)])] == [str(file)]
    assert [s.path for s in sources_of([("fixed", changed), ("moving", resampled)])] == [None, None]


def test_of_a_folder_every_file_and_name_counts_but_none_below(tmp_path: Path) -> None:
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(name.encode())
    before = fingerprint(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "3.dcm").write_bytes(b"3")
    assert fingerprint(tmp_path) == before
    (tmp_path / "2.dcm").rename(tmp_path / "3.dcm")
    assert fingerprint(tmp_path) != before


def test_what_was_in_memory_has_no_path(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"voxels")
    grid = Grid((4, 5, 6), np.eye(4))
    array = np.zeros(grid.shape)
    told = sources_of(
        [("fixed", tmp_path / "a.nii"), ("moving", (array, np.eye(4))), ("also", Volume(array, grid, "nowhere")),
         ("also", Volume(array, grid, str(tmp_path / "a.nii"))), ("fixed_mask", None)]
    )  # fmt: skip
    assert [source.role for source in told] == ["fixed", "moving", "also", "also"]
    assert [source.path is None for source in told] == [False, True, True, True]
    assert told[0].sha256 == hashlib.sha256(b"voxels").hexdigest()


def test_options_name_files_only_where_they_are_files() -> None:
    assert file_options("auto", "none") == []
    assert file_options("m.safetensors", "a.tfm") == [("model", "m.safetensors"), ("init", "a.tfm")]
