import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, read, write
from lightcrcf.volumes.formats.itk_images import from_image, quiet, to_image

SUFFIXES = [".nrrd", ".mha", ".mhd"]


def theirs_in_ras(image: sitk.Image, voxel: tuple[int, int, int]) -> np.ndarray:
    return np.array(image.TransformIndexToPhysicalPoint(voxel)) * (-1, -1, 1)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".nii.gz"])
def test_simpleitk_sees_what_we_write(tmp_path: Path, data: np.ndarray, affine: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, Volume(data, Grid(data.shape, affine)))
    image = sitk.ReadImage(str(path))
    assert image.GetPixel(1, 4, 9) == 3000
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_allclose(theirs_in_ras(image, (1, 4, 9)), (affine @ [1, 4, 9, 1])[:3], atol=1e-4)
    np.testing.assert_allclose(theirs_in_ras(image, (4, 0, 2)), (affine @ [4, 0, 2, 1])[:3], atol=1e-4)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".nhdr"])
def test_we_see_what_simpleitk_writes(
    tmp_path: Path, data: np.ndarray, affine: np.ndarray, suffix: str, compress: bool
) -> None:
    image = to_image(Volume(data, Grid(data.shape, affine)))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), compress)
    volume = read(tmp_path / f"a{suffix}")
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-5)
    np.testing.assert_allclose(volume.grid.world([1, 4, 9]), theirs_in_ras(image, (1, 4, 9)), atol=1e-5)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "i4", "f4", "f8", "i8"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_survive(tmp_path: Path, dtype: str, suffix: str) -> None:
    data = (np.arange(5 * 7 * 11).reshape(5, 7, 11) % 2).astype(dtype)
    write(tmp_path / f"a{suffix}", Volume(data, Grid(data.shape, np.eye(4))))
    volume = read(tmp_path / f"a{suffix}")
    assert volume.data.dtype == np.dtype({"?": "u1", "i8": "i4", "f8": "f4"}.get(dtype, dtype))
    np.testing.assert_array_equal(volume.data, data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_bytes_twice_and_no_litter(tmp_path: Path, data: np.ndarray, affine: np.ndarray, suffix: str) -> None:
    contents = []
    for _ in range(2):
        write(tmp_path / f"a{suffix}", Volume(data, Grid(data.shape, affine)))
        contents.append({p.name: p.read_bytes() for p in sorted(tmp_path.iterdir())})
    assert contents[0] == contents[1]
    assert list(contents[0]) == [f"a{suffix}", *(["a.raw"] if suffix == ".mhd" else [])]


def test_one_frame_of_four_dimensions_is_read() -> None:
    image = sitk.JoinSeries(sitk.Image(5, 7, 11, sitk.sitkFloat32))
    assert from_image(image, "image").data.shape == (5, 7, 11)


def test_content_goes_before_name(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    for suffix, other in ((".nrrd", ".mha"), (".mha", ".nrrd"), (".nrrd", "")):
        write(tmp_path / f"a{suffix}", Volume(data, Grid(data.shape, affine)))
        (tmp_path / f"a{suffix}").rename(tmp_path / f"b{other}")
        np.testing.assert_array_equal(read(tmp_path / f"b{other}").data, data)


def test_the_callers_image_and_array_stay(data: np.ndarray, affine: np.ndarray) -> None:
    before = data.copy()
    image = to_image(Volume(data, Grid(data.shape, affine)))
    volume = from_image(image, "image")
    image.SetPixel(0, 0, 0, 77)
    assert volume.data[0, 0, 0] == before[0, 0, 0]
    np.testing.assert_array_equal(data, before)


def test_standard_error_is_caught_and_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as said:
        os.write(2, b"noise\n")
    os.write(2, b"signal\n")
    assert said == ["noise"]
    assert capfd.readouterr().err == "signal\n"
