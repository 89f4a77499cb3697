"""The guide for users of other tools: commands exist, transforms lead where it says, and what needs a tool says so.

ANTs itself is tested in `acceptance/test_ants.py`; here ITK applies the transforms in the order of the guide.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from lightcrcf.cli.main import run
from lightcrcf.demo.phantom import deformed_copy, phantom
from lightcrcf.demo.run import write_inputs
from lightcrcf.transforms.itk import read_affine

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "coming-from.md"
TEXT = GUIDE.read_text(encoding="utf-8")
CODE = re.compile(r"`([^`\n]+)`")
# First words of commands of tools that are not installed where tests run.
TOOLS = {"c3d_affine_tool": "Convert3D", "lta_convert": "FreeSurfer", "wb_command": "Connectome Workbench"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registration in the folder `result`, as the guide has it, and what its Python block writes."""
    out = tmp_path_factory.mktemp("guide")
    write_inputs(deformed_copy(*phantom(spacing_mm=4.0), seed=7), out)
    words = ["register", "--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--out", "result", "--inverse"]
    words += ["--model", "none", "--fill", "0"]
    subprocess.run([sys.executable, "-m", "lightcrcf", *words], cwd=out, check=True)
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", block], cwd=out, check=True)
    return out


def commands() -> list[dict[str, list[str]]]:
    """Values by option of each command of ANTs in the text block."""
    (block,) = re.findall(r"^```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    found = []
    for line in block.splitlines():
        assert line.startswith("antsApplyTransforms -d 3 ")
        options: dict[str, list[str]] = {}
        for name, value in re.findall(r"(-[rito]) (\S+)", line):
            options.setdefault(name, []).append(value)
        found.append(options)
    return found


def transform(folder: Path, word: str) -> sitk.Transform:
    """A transform as ANTs names it: FILE, or [FILE,1] for its inverse."""
    name, inverted = (word.strip("[]").partition(",")[0], word.startswith("["))
    if name.endswith(".nii.gz"):
        assert not inverted, "ANTs inverts no field"
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / name), sitk.sitkVectorFloat64))
    found = sitk.ReadTransform(str(folder / name))
    return found.GetInverse() if inverted else found


@pytest.mark.parametrize(("number", "options"), [(0, []), (1, ["--inverse"])])
def test_the_commands_of_ants_name_transforms_in_the_right_order(number: int, options: list[str], folder: Path) -> None:
    given = commands()[number]
    reference, image = (sitk.ReadImage(str(folder / given[name][0]), sitk.sitkFloat32) for name in ("-r", "-i"))
    # ANTs takes points through the transforms as they are named, ITK's composite from the last to the first.
    chain = sitk.CompositeTransform([transform(folder, word) for word in reversed(given["-t"])])
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, reference, chain, sitk.sitkLinear, 0.0))
    ours, names = folder / f"ours{number}.nii.gz", {"--reference": given["-r"][0], "--input": given["-i"][0]}
    words = [word for name, file in names.items() for word in (name, str(folder / file))]
    words += ["--transform", str(folder / "result"), "--output", str(ours), "--fill", "0", *options]
    assert run(["apply", *words]) == 0
    own = sitk.GetArrayFromImage(sitk.ReadImage(str(ours), sitk.sitkFloat32))
    inside = (theirs > 0) & (own > 0)
    assert inside.mean() > 0.1
    assert np.percentile(np.abs(theirs - own)[inside], 99) < 0.03 * own.max()


def scaled(path: Path, world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points in FLIRT's coordinates, from FSL's definition: voxels times their size, the first axis mirrored."""
    image = nib.load(path)
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), world)
    if np.linalg.det(image.affine) > 0:
        voxels[:, 0] = image.shape[0] - 1 - voxels[:, 0]
    return np.asarray(voxels * image.header.get_zooms()[:3])


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_matrix_of_flirt_leads_from_moving_to_fixed(mirrored: bool, folder: Path, tmp_path: Path) -> None:
    """With headers of both signs; the phantom's have one each, so that they are exchanged for the other case."""
    for name in ("fixed", "moving"):
        image = nib.load(folder / f"{name}.nii.gz")
        affine = image.affine @ np.diag([-1, 1, 1, 1]) if mirrored else image.affine
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / f"{name}.nii.gz")
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "affine.tfm").write_bytes((folder / "result" / "affine.tfm").read_bytes())
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
    points = np.random.default_rng(3).uniform(-60, 60, (20, 3))
    there = read_affine(folder / "result" / "affine.tfm").points(points)
    found = nib.affines.apply_affine(np.loadtxt(tmp_path / "affine.mat"), scaled(tmp_path / "moving.nii.gz", there))
    assert np.allclose(found, scaled(tmp_path / "fixed.nii.gz", points), atol=1e-6)


def test_a_matrix_of_flirt_becomes_a_start(folder: Path) -> None:
    original, again = (read_affine(folder / name) for name in ("result/affine.tfm", "init.tfm"))
    assert np.allclose(again.matrix, original.matrix, atol=1e-6)


def test_every_command_of_a_tool_says_what_it_needs() -> None:
    """In a table with the columns `needs` and `checked here instead`."""
    seen = set()
    for line in TEXT.splitlines():
        for tool in (word.split()[0] for word in CODE.findall(line) if word.split()[0] in TOOLS):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 4, line
            assert (cells[2], bool(cells[3])) == (TOOLS[tool], True), line
            seen.add(tool)
    assert seen == set(TOOLS)


def test_every_command_and_option_of_ours_exists(capsys: pytest.CaptureFixture[str]) -> None:
    found = [word for word in CODE.findall(TEXT) if re.match(r"lightcrcf |--", word)]
    assert len(found) > 20
    for words in found:
        command = next(iter(re.findall(r"^lightcrcf (\w+)", words)), "register")
        assert run([command, "--help"]) == 0
        offered = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", words):
            assert re.search(rf"(?m)^ +(-h, )?{option}\b", offered), words
