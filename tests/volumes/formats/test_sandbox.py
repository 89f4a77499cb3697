"""A decoder that crashes, hangs or allocates without bound does not take its caller down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError, MemoryEstimateError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read, write
from lightcrcf.volumes.formats import sandbox
from lightcrcf.volumes.formats.dicom import read_series
from lightcrcf.volumes.formats.itk_images import read_image


@pytest.fixture
def series(tmp_path: Path, data: np.ndarray, write_series: Callable[..., None]) -> Path:
    write_series(tmp_path / "dicom", data, np.diag([1.5, 2.0, 3.25, 1.0]))
    return tmp_path / "dicom"


def misbehaving(monkeypatch: pytest.MonkeyPatch, folder: Path, act: str) -> None:
    """Let the separate process do `act` where it would read."""
    (folder / "sitecustomize.py").write_text(
        "import sys, types\n"
        "fake = types.ModuleType('lightcrcf.volumes.formats.dicom')\n"
        f"def read_series(folder):\n    {act}\n"
        "fake.read_series = read_series\n"
        "sys.modules['lightcrcf.volumes.formats.dicom'] = fake\n"
    )
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def nrrd(tmp_path: Path, data: np.ndarray) -> Path:
    write(tmp_path / "a.nrrd", Volume(data, Grid(data.shape, np.diag([1.5, 2.0, 3.25, 1.0]))))
    return tmp_path / "a.nrrd"


@pytest.mark.parametrize(("image", "reader"), [("series", read_series), ("nrrd", read_image)])
def test_it_reads_what_is_read_without_it(
    image: str, reader: Callable[[Path], Volume], request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(image)
    sandboxed, volume = read(path), reader(path)
    np.testing.assert_array_equal(sandboxed.data, volume.data)
    assert sandboxed.data.dtype == volume.data.dtype
    np.testing.assert_array_equal(sandboxed.grid.affine, volume.grid.affine)
    assert (sandboxed.source, sandboxed.notes) == (volume.source, volume.notes)


def test_errors_name_the_folder_as_it_was_given(
    series: Path, monkeypatch: pytest.MonkeyPatch, write_series: Callable[..., None], data: np.ndarray
) -> None:
    write_series(series, data[:, :, :3], np.eye(4), uid=2)
    monkeypatch.chdir(series.parent)
    with pytest.raises(InputError, match=r"^dicom: expected a folder with one DICOM series, got 2 series"):
        read("dicom")


def test_errors_name_the_file_as_it_was_given(nrrd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nrrd.write_bytes(nrrd.read_bytes()[:-9])
    monkeypatch.chdir(nrrd.parent)
    with pytest.raises(InputError, match=r"^a\.nrrd: expected a whole image file"):
        read("a.nrrd")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"gave up on \(code -11\)"),
        ("raise SystemExit(0)", r"gave up on \(code 0\)"),
        ("raise RuntimeError('?')", r"gave up on \(code 1\)"),
    ],
)
def test_a_crash_is_bad_input(
    act: str, message: str, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehaving(monkeypatch, tmp_path, act)
    with pytest.raises(InputError, match=message):
        read(series)


def test_a_hang_ends(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    misbehaving(monkeypatch, tmp_path, "import time; time.sleep(600)")
    monkeypatch.setattr(sandbox, "_SECONDS", 2.0)
    with pytest.raises(InputError, match="not decoded within 2 s"):
        read(series)


def test_more_memory_than_there_may_be_is_refused(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/statm").is_file():
        pytest.skip("memory is bounded on Linux only")
    misbehaving(monkeypatch, tmp_path, "return bytearray(3 << 30)")
    monkeypatch.setattr(sandbox, "_BYTES", 1 << 28)
    with pytest.raises(MemoryEstimateError, match=r"at most 0\.2"):
        read(series)


def test_an_image_larger_than_the_memory_left_is_refused_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/statm").is_file():
        pytest.skip("memory is bounded on Linux only")
    write(tmp_path / "a.nrrd", Volume(np.zeros((256, 256, 256), np.uint8), Grid((256, 256, 256), np.eye(4))))
    monkeypatch.setattr(sandbox, "_BYTES", 1 << 24)
    monkeypatch.setattr(sandbox, "_BYTES_PER_BYTE", 0)
    with pytest.raises(MemoryEstimateError, match=r"at most 0\.01\d* GiB of memory to be needed, got 0\.0156 GiB"):
        read(tmp_path / "a.nrrd")


def test_a_full_temporary_folder_is_named(nrrd: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.nrrd: expected space for 770 bytes .* set TMPDIR"):
        sandbox._save_voxels(tmp_path / "missing" / "voxels.npy", read(nrrd))


def test_modules_beside_the_data_are_not_imported(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (series / "numpy.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(series)
    assert read(series).data.size == 5 * 7 * 11
