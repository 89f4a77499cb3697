"""The mean volume of a series: of all or some of its volumes, and what is no series."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.volumes.series import mean_volume

AFFINE = np.array([[-3.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 5], [0, 0, 0, 1]])


@pytest.fixture
def values() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 1000, (5, 6, 7, 8)).astype(np.int16)


@pytest.fixture
def series(values: NDArray[np.int16], tmp_path: Path) -> Path:
    """Integers with a scale, eight volumes."""
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / "bold.nii.gz")
    return tmp_path / "bold.nii.gz"


def test_the_mean_of_all_and_of_some(series: Path, values: NDArray[np.int16]) -> None:
    stored = np.asarray(nib.load(series).dataobj)
    found = mean_volume(series)
    np.testing.assert_allclose(found.data, stored.mean(axis=-1), rtol=1e-5)
    assert found.data.dtype == np.float32
    np.testing.assert_allclose(found.grid.affine, AFFINE)
    np.testing.assert_allclose(mean_volume(series, [0, 5]).data, stored[..., [0, 5]].mean(axis=-1), rtol=1e-5)


def test_one_volume_is_a_series_too(values: NDArray[np.int16], tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(values[..., 0], AFFINE), tmp_path / "one.nii")
    np.testing.assert_array_equal(mean_volume(tmp_path / "one.nii").data, values[..., 0])


def test_what_is_no_series(series: Path, values: NDArray[np.int16], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="numbers up to 8, got fewer"):
        mean_volume(series, [0, 8])
    nib.save(nib.Nifti1Image(values.reshape(5, 6, 7, 4, 2), AFFINE), tmp_path / "five.nii.gz")
    with pytest.raises(InputError, match="5-D"):
        mean_volume(tmp_path / "five.nii.gz")
    (tmp_path / "short.nii").write_bytes(gzip.decompress(series.read_bytes())[:-100])
    with pytest.raises(InputError, match="3360 bytes of voxels, got 3260"):
        mean_volume(tmp_path / "short.nii")
    damaged = bytearray(series.read_bytes())
    damaged[-6] ^= 1  # the checksum
    (tmp_path / "damaged.nii.gz").write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        mean_volume(tmp_path / "damaged.nii.gz")
