from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, as_volume, write
from lightcrcf.volumes.formats.itk_images import to_image


def forms(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    volume = Volume(data, Grid(data.shape, affine))
    write(tmp_path / "a.nii.gz", volume)
    nib.save(nib.MGHImage(data.astype(np.int32), affine), tmp_path / "a.mgz")
    return {
        "volume": volume,
        "path": tmp_path / "a.nii.gz",
        "str": str(tmp_path / "a.nii.gz"),
        "mgz": tmp_path / "a.mgz",
        "array": (data, affine),
        "list": [data, affine.tolist()],
        "nibabel": nib.Nifti1Image(data, affine),
        "proxy": nib.load(tmp_path / "a.nii.gz"),
        "mgh": nib.MGHImage(data.astype(np.int32), affine),
        "simpleitk": to_image(volume),
    }


FORMS = ["volume", "path", "str", "mgz", "array", "list", "nibabel", "proxy", "mgh", "simpleitk"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_volume(tmp_path: Path, data: np.ndarray, affine: np.ndarray, form: str) -> None:
    before = data.copy()
    volume = as_volume(forms(tmp_path, data, affine)[form])
    np.testing.assert_array_equal(volume.data, before)
    np.testing.assert_array_equal(data, before)
    assert volume.data.dtype.isnative
    assert volume.data.dtype.kind == "i"
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-4)


def test_the_affine_of_a_nibabel_image_counts_and_its_codes_are_kept(data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 0)
    assert int(as_volume(image).header["sform_code"]) == 4
    moved = affine + np.eye(4) @ np.array([[0, 0, 0, 1]] * 3 + [[0] * 4])
    np.testing.assert_allclose(as_volume(nib.Nifti1Image(data, moved, image.header)).grid.affine, moved, atol=1e-5)


def test_floats_become_float32_and_bool_stays(affine: np.ndarray) -> None:
    assert as_volume((np.zeros((5, 7, 11)), affine)).data.dtype == np.float32
    assert as_volume((np.zeros((5, 7, 11), bool), affine)).data.dtype == np.bool_


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (None, "a path, a nibabel or SimpleITK image"),
        (np.zeros((5, 7, 11)), "a bare array does not say"),
        ((np.zeros((5, 7)), np.eye(4)), "a 3-D volume"),
        ((np.zeros((5, 7, 1)), np.eye(4)), "a 3-D volume"),
        ((np.zeros((5, 7, 11, 3)), np.eye(4)), "extract one frame"),
        ((np.zeros((5, 0, 11)), np.eye(4)), "positive sizes"),
        ((np.zeros((5, 7, 11), complex), np.eye(4)), "one real number per voxel"),
        ((np.zeros((5, 7, 11), object), np.eye(4)), "one real number per voxel"),
        ((np.zeros((5, 7, 11)), np.eye(3)), "4x4 voxel-to-world"),
        ((np.zeros((5, 7, 11)), np.diag([1.0, 0, 1, 1])), "zero spacing"),
        ((np.zeros((5, 7, 11)), np.diag([1.0, np.nan, 1, 1])), "NaN, infinity"),
        ((np.zeros((5, 7, 11)), np.ones((4, 4))), "orthogonal|independent"),
        (nib.Nifti1Image(np.zeros((5, 7, 11, 9), np.uint8), np.eye(4)), "extract one frame"),
        (nib.Nifti1Image(np.zeros((5, 7, 11), np.complex64), np.eye(4)), "one real number per voxel"),
        (sitk.Image((5, 7, 11), sitk.sitkVectorFloat32, 3), "one real number per voxel"),
        (sitk.Image((5, 7, 11), sitk.sitkComplexFloat32), "one real number per voxel"),
        (sitk.Image((5, 7), sitk.sitkUInt8), "a 3-D volume"),
    ],
)
def test_what_cannot_be_used_is_one_line(obj: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        as_volume(obj)
    assert "\n" not in str(caught.value)


def test_a_file_that_went_bad_after_loading(tmp_path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    write(tmp_path / "a.nii", Volume(data, Grid(data.shape, affine)))
    image = nib.load(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:500])
    with pytest.raises(InputError, match=r"a\.nii: expected a whole image"):
        as_volume(image)
