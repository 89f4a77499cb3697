"""Transform files that are no ITK affine: what they are, and how they become one."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms import itk
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField

FLIRT = "0.99  0.01  0  12.5  \n-0.01  0.99  0  -3e-1  \n0  0  1  4  \n0  0  0  1  \n"
LTA = """# transform file /subjects/bert/mri/transforms/t1_to_mni.lta
# created by bert on Mon Jan  1 00:00:00 2024

type      = 1 # LINEAR_RAS_TO_RAS
nxforms   = 1
mean      = 0.0000 0.0000 0.0000
sigma     = 1.0000
1 4 4
1.0 0.0 0.0 2.0
0.0 1.0 0.0 3.0
0.0 0.0 1.0 4.0
0.0 0.0 0.0 1.0
src volume info
valid = 1  # volume info valid
"""
REGISTER_DAT = "bert\n1.0\n1.0\n0.15\n" + FLIRT + "round\n"
ELASTIX = '(Transform "AffineTransform")\n(NumberOfParameters 12)\n(TransformParameters 1 0 0 0 1 0 0 0 1 1 2 3)\n'
C3D = """#Insight Transform File V1.0
#Transform 0
Transform: MatrixOffsetTransformBase_double_3_3
Parameters: 1 0 0 0 1 0 0 0 1 -2 -3 4
FixedParameters: 0 0 0
"""


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        itk.read_affine(path)
    assert str(caught.value).startswith(f"{path}: expected an ITK affine file, got ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "got", "command"),
    [
        ("flirt.mat", FLIRT, "a text of 4x4 numbers, as FLIRT", "c3d_affine_tool -ref FIXED -src MOVING flirt.mat"),
        ("reg.txt", FLIRT, "greedy", "c3d_affine_tool reg.txt -oitk init.tfm"),
        ("t1.lta", LTA, "FreeSurfer LTA", "lta_convert --inlta t1.lta --outitk init.tfm"),
        ("lta.txt", LTA, "FreeSurfer LTA", "lta_convert --inlta lta.txt --outitk init.tfm"),
        ("register.dat", REGISTER_DAT, "register.dat", "lta_convert --inreg register.dat --src MOVING --trg FIXED"),
        ("TransformParameters.0.txt", ELASTIX, "elastix", 'ITKTransformOutputFileNameExtension "tfm"'),
    ],
)
def test_another_tools_affine_is_named_with_the_way_out(
    tmp_path: Path, name: str, text: str, got: str, command: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    told = refusal(tmp_path / name)
    assert got in told
    assert command in told


def test_flirt_needs_both_images(tmp_path: Path) -> None:
    (tmp_path / "flirt.mat").write_text(FLIRT, encoding="utf-8")
    assert "-fsl2ras -oitk init.tfm" in refusal(tmp_path / "flirt.mat")


def test_what_c3d_makes_of_them_is_read(tmp_path: Path) -> None:
    (tmp_path / "init.tfm").write_text(C3D, encoding="utf-8")
    found = itk.read_affine(tmp_path / "init.tfm")
    assert np.allclose(found.matrix[:3, 3], [2, 3, 4])


def test_a_field_is_no_affine_and_the_affine_beside_it_is_named(tmp_path: Path) -> None:
    grid = Grid((5, 7, 11), np.diag([1.0, 2.0, 3.0, 1.0]))
    field = DisplacementField(grid, np.zeros((3, 5, 7, 11), np.float32))
    itk.write_field(tmp_path / "warp.nii.gz", field)
    assert "got a displacement field; give the affine" in refusal(tmp_path / "warp.nii.gz")
    itk.write_affine(tmp_path / "affine.tfm", Affine.identity())
    assert f"got a displacement field; give {tmp_path / 'affine.tfm'}" in refusal(tmp_path / "warp.nii.gz")
    itk.write_field(tmp_path / "x1Warp.nii.gz", field)
    (tmp_path / "x0GenericAffine.mat").touch()
    assert f"give {tmp_path / 'x0GenericAffine.mat'}" in refusal(tmp_path / "x1Warp.nii.gz")


def test_an_image_is_no_affine(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 7, 11), np.int16), np.eye(4)), tmp_path / "image.nii")
    assert "got an image of shape (5, 7, 11)" in refusal(tmp_path / "image.nii")


def test_a_folder_is_told_its_affine(tmp_path: Path) -> None:
    assert "got a folder" in refusal(tmp_path)
    itk.write_affine(tmp_path / "affine.tfm", Affine.identity())
    assert f"got a folder; give {tmp_path / 'affine.tfm'}" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["affine.tfm", "warp.nii.gz", "inverse_warp.nii.gz", "run.json"])
def test_a_file_of_a_run_is_told_its_folder(tmp_path: Path, name: str) -> None:
    itk.write_affine(tmp_path / "affine.tfm", Affine.identity())
    (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        itk.read_transform_folder(tmp_path / name)
    told = str(caught.value)
    assert "expected the folder of a run" in told
    assert f"got a file; give its folder, {tmp_path}" in told
    assert ("--inverse" in told) == (name == "inverse_warp.nii.gz")


def test_a_file_of_another_tool_is_told_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "0GenericAffine.mat").touch()
    with pytest.raises(InputError, match="got a file; give the folder that `lightcrcf register` wrote"):
        itk.read_transform_folder(tmp_path / "0GenericAffine.mat")
