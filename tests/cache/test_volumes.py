"""Volumes that are kept: read once, read again when written to, bounded in memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.cache.volumes import VolumeCache
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write


def volume(value: int, shape: tuple[int, int, int] = (5, 7, 11)) -> Volume:
    return Volume(np.full(shape, value, np.int16), Grid(shape, np.diag([1.0, 2.0, 3.0, 1.0])))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.nii.gz", VolumeCache()
    write(path, volume(1))
    first = kept.volume(path)
    assert kept.volume(path) is first
    assert kept.volume(str(path)) is first
    write(path, volume(2))
    os.utime(path, ns=(1, 1))
    assert kept.volume(path).data[0, 0, 0] == 2


def test_voxels_beside_their_header_count(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.mhd", VolumeCache()
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((5, 7, 11), np.int16)), path)
    first = kept.volume(path)
    assert kept.volume(path) is first
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[::-1])
    os.utime(raw, ns=(1, 1))
    assert kept.volume(path).data[0, 0, 0] == 256


def test_what_was_wanted_longest_ago_goes_first(tmp_path: Path) -> None:
    size = volume(0).data.nbytes
    kept = VolumeCache(budget_bytes=2 * size)
    paths = [tmp_path / f"{n}.nii" for n in range(3)]
    for n, path in enumerate(paths):
        write(path, volume(n))
    first, second = kept.volume(paths[0]), kept.volume(paths[1])
    assert kept.volume(paths[0]) is first
    kept.volume(paths[2])
    assert kept.volume(paths[0]) is first
    assert kept.volume(paths[1]) is not second


def test_of_small_volumes_some_are_kept(tmp_path: Path) -> None:
    kept, paths = VolumeCache(), [tmp_path / f"{n}.nii" for n in range(9)]
    for path in paths:
        write(path, volume(1))
    first, second, *_ = (kept.volume(path) for path in paths)
    assert kept.volume(paths[1]) is second
    assert kept.volume(paths[0]) is not first


def test_what_is_larger_than_the_budget_is_not_kept(tmp_path: Path) -> None:
    kept = VolumeCache(budget_bytes=10)
    write(tmp_path / "a.nii", volume(1))
    assert kept.volume(tmp_path / "a.nii") is not kept.volume(tmp_path / "a.nii")


def test_volumes_in_memory_pass_and_missing_files_do_not() -> None:
    given = volume(1)
    assert VolumeCache().volume(given) is given
    with pytest.raises(InputError, match="no such file"):
        VolumeCache().volume("/no/such.nii.gz")
