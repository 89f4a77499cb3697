"""Detection of transform files of other tools, with the command that converts them."""

from __future__ import annotations

import re
from pathlib import Path

from lightcrcf.errors import InputError

__all__ = ["refuse_foreign_affine", "refuse_transform_file"]

_HEAD_BYTES = 1 << 16
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_ROW = rf"(?:{_NUMBER}\s+){{3}}{_NUMBER}"
_RUN_FILES = ("affine.tfm", "warp.nii.gz", "inverse_warp.nii.gz", "run.json")

# Pattern of the content, format, and the command that converts it to an ITK affine; {name} is the file's name.
_FORMATS = (
    (
        rf"\A\s*(?:{_ROW}\s+){{3}}{_ROW}\s*\Z",
        "a text of 4x4 numbers, as FLIRT, greedy and NiftyReg write",
        "convert it: c3d_affine_tool -ref FIXED -src MOVING {name} -fsl2ras -oitk init.tfm for FLIRT's, "
        "c3d_affine_tool {name} -oitk init.tfm for the others'",
    ),
    (
        r"^nxforms\s*=",
        "a FreeSurfer LTA",
        "convert it: lta_convert --inlta {name} --outitk init.tfm",
    ),
    (
        rf"(?:^{_ROW}\s+){{4}}(?:round|tkregister|floor)\b",
        "a FreeSurfer register.dat",
        "convert it: lta_convert --inreg {name} --src MOVING --trg FIXED --outitk init.tfm",
    ),
    (
        r"^\(Transform \"",
        "a parameter file of elastix",
        'let elastix write an ITK file too: (ITKTransformOutputFileNameExtension "tfm") in its parameters',
    ),
)


def refuse_foreign_affine(path: Path, shape: tuple[int, ...] | None) -> None:
    """Refuse files that are known not to be an ITK affine; unknown formats pass.

    Args:
        path: an existing file or folder.
        shape: of a NIfTI file, None for others.

    Raises:
        InputError: naming the format and the command that converts it.
    """
    if path.is_dir():
        inside = path / "affine.tfm"
        raise _affine_error(path, "a folder", f"give {inside}" if inside.is_file() else "give the file itself")
    if shape is not None:
        is_field = len(shape) == 5 or (len(shape) == 4 and shape[3] == 3)
        got = "a displacement field" if is_field else f"an image of shape {shape}"
        beside = _adjacent_affine(path)
        remedy = f"give {beside}" if beside else "give the affine transform that was found with it, or auto"
        raise _affine_error(path, got, remedy)
    with path.open("rb") as stream:
        text = stream.read(_HEAD_BYTES).decode("latin-1")
    for content, got, remedy in _FORMATS:
        if re.search(content, text, re.MULTILINE):
            raise _affine_error(path, got, remedy.format(name=path.name))


def _adjacent_affine(field: Path) -> Path | None:
    """Return the affine of the same run, or of ANTs, next to a field; None without one."""
    ants = re.sub(r"1(Inverse)?Warp\.nii(\.gz)?$", "0GenericAffine.mat", field.name)
    beside = field.with_name("affine.tfm" if ants == field.name else ants)
    return beside if beside.is_file() else None


def _affine_error(path: Path, got: str, remedy: str) -> InputError:
    return InputError(str(path), expected="an ITK affine file", got=got, remedy=remedy)


def refuse_transform_file(path: Path) -> None:
    """Refuse a file in place of the folder of a run.

    Raises:
        InputError: naming the folder, if the file lies in one.
    """
    remedy = "give the folder that `lightcrcf register` wrote; antsApplyTransforms applies files of ITK and ANTs"
    if path.name in _RUN_FILES and (path.parent / "affine.tfm").is_file():
        more = " with --inverse" if path.name == "inverse_warp.nii.gz" else ""
        remedy = f"give its folder, {path.parent}{more}"
    raise InputError(str(path), expected="the folder of a run", got="a file", remedy=remedy)
