import os
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, check_target, write

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"]


@pytest.fixture
def volume(data: np.ndarray) -> Volume:
    return Volume(data, Grid(data.shape, np.diag([1.5, 2, 3.25, 1])))


@pytest.mark.parametrize("name", ["a.png", "a", "a.nii.bz2", "a.img", "a.gz"])
def test_other_formats_are_refused(tmp_path: Path, volume: Volume, name: str) -> None:
    with pytest.raises(UsageError, match=r"ending in \.nii, \.nii\.gz, \.nrrd"):
        write(tmp_path / name, volume)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_folder(tmp_path: Path, volume: Volume, suffix: str) -> None:
    with pytest.raises(InputError, match="no folder"):
        write(tmp_path / "missing" / f"a{suffix}", volume)


def test_read_only_folder_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="no permission"):
        check_target(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failure_leaves_nothing_and_keeps_the_old(tmp_path: Path, volume: Volume, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.mkdir()  # a folder of that name is in the way
    with pytest.raises(InputError) as caught:
        write(path, volume)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_interrupt_leaves_nothing(tmp_path: Path, volume: Volume, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / f"a{suffix}", volume)
    assert list(tmp_path.iterdir()) == []
