"""Analyze 7.5: axes are the caller's to state, and damage is told in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.training.datasets.analyze import analyze_grid, read_analyze
from lightcrcf.volumes import read

SHAPE, SPACING = (5, 7, 11), (0.8, 1.5, 2.5)


def save(folder: Path, data: NDArray[np.generic], *, packed: bool, order: str = ">") -> Path:
    header = nib.AnalyzeHeader(endianness=order)
    header.set_data_dtype(data.dtype)
    header.set_data_shape((*SHAPE, 1))
    header.set_zooms((*SPACING, 1.0))
    voxels = data.astype(data.dtype.newbyteorder(order)).tobytes(order="F")
    (folder / "a.b.hdr").write_bytes(header.binaryblock)
    name, content = ("a.b.img.gz", gzip.compress(voxels)) if packed else ("a.b.img", voxels)
    (folder / name).write_bytes(content)
    return folder / "a.b.hdr"


@pytest.fixture
def data() -> NDArray[np.int16]:
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [True, False])
def test_voxels_and_axes(packed: bool, order: str, data: NDArray[np.int16], tmp_path: Path) -> None:
    volume = read_analyze(save(tmp_path, data, packed=packed, order=order), "LPS")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.data.dtype == np.int16
    np.testing.assert_allclose(volume.grid.spacing_mm, SPACING)
    np.testing.assert_array_equal(volume.grid.directions, np.diag([-1, -1, 1]))
    np.testing.assert_allclose(volume.grid.world((np.array(SHAPE) - 1) / 2), 0, atol=1e-6)
    np.testing.assert_array_equal(volume.canonical().data, data[::-1, ::-1])
    assert "LPS" in volume.notes[0]


def test_axes_may_be_permuted(data: NDArray[np.int16], tmp_path: Path) -> None:
    grid = analyze_grid(save(tmp_path, data, packed=True), "SLA")
    np.testing.assert_array_equal(grid.directions, [[0, -1, 0], [0, 0, 1], [1, 0, 0]])
    assert grid.canonical().grid(grid).shape == (7, 11, 5)


def test_floats_become_single(data: NDArray[np.int16], tmp_path: Path) -> None:
    assert read_analyze(save(tmp_path, data.astype(np.float64), packed=False), "LPS").data.dtype == np.float32


def test_read_still_refuses_to_guess(data: NDArray[np.int16], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say left from right"):
        read(save(tmp_path, data, packed=False))


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (0, b"\0\0\0\1", "an Analyze 7.5 header"),
        (42, b"\0\0", "positive sizes"),
        (70, b"\0\x20", "one real number per voxel"),
        (80, b"\0\0\0\0", "positive voxel sizes"),
        (40, b"\0\2", "a 3-D volume"),
        (48, b"\0\2", "a 3-D volume"),
    ],
)
def test_damaged_headers(offset: int, value: bytes, said: str, data: NDArray[np.int16], tmp_path: Path) -> None:
    path = save(tmp_path, data, packed=False)
    head = bytearray(path.read_bytes())
    head[offset : offset + len(value)] = value
    path.write_bytes(head)
    with pytest.raises(InputError, match=said):
        read_analyze(path, "LPS")


def test_missing_and_cut_voxels(data: NDArray[np.int16], tmp_path: Path) -> None:
    path = save(tmp_path, data, packed=False)
    (tmp_path / "a.b.img").write_bytes(bytes(20))
    with pytest.raises(InputError, match="bytes"):
        read_analyze(path, "LPS")
    (tmp_path / "a.b.img").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_analyze(path, "LPS")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="an Analyze 7"):
        analyze_grid(path, "LPS")
