"""A BIDS data set onto a template: names, what the validator says, and what is done again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import BatchOptions
from lightcrcf.bids.dataset import DataSet
from lightcrcf.bids.names import ImageName, parse_label, template_label
from lightcrcf.bids.publish import BidsTemplate
from lightcrcf.bids.register import register_participants
from lightcrcf.cli.main import run
from lightcrcf.errors import InputError, UsageError
from lightcrcf.preprocessing.foreground import downsample_volume
from lightcrcf.volumes import Volume, read, write

ANAT = "sub-02/ses-a/anat/sub-02_ses-a"
RIGID = "sub-01_from-T1w_to-TPL_mode-image_desc-affine_xfm.txt"


def data_set(folder: Path, images: dict[str, Path]) -> Path:
    """A BIDS data set of those images."""
    folder.mkdir(parents=True)
    description = {
        "Name": "small",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["A", "B"],
    }
    (folder / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    (folder / "README").write_text("A few images, to see whether they are found. " * 8, encoding="utf-8")
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / name)
    return folder


def validated(folder: Path) -> dict[str, list[str]]:
    """What the BIDS validator objects to, by severity."""
    tool = Path(sys.executable).parent / "bids-validator-deno"
    if not tool.exists():
        pytest.skip("no BIDS validator: bids-validator-deno is not installed")
    done = subprocess.run([tool, str(folder), "--format", "json"], capture_output=True, text=True, check=False)
    issues: list[dict[str, Any]] = json.loads(done.stdout)["issues"]["issues"]
    return {
        severity: [f"{i['code']} {i.get('subCode', '')} {i['location']}" for i in issues if i["severity"] == severity]
        for severity in ("error", "warning")
    }


@pytest.fixture
def small(people: list[Path], tmp_path: Path) -> Path:
    """Two participants, one of them with two runs."""
    names = ("sub-01/anat/sub-01_T1w", f"{ANAT}_run-1_T1w", f"{ANAT}_run-2_T1w")
    return data_set(tmp_path / "raw", {f"{n}.nii.gz": p for n, p in zip(names, people[1:4], strict=True)})


def registered(
    small: Path, out: Path, template: Path, options: BatchOptions, *participants: str, contrasts: tuple[str, ...] = ()
) -> Any:
    return register_participants(
        DataSet.open(small), out, BidsTemplate(template, "TPL"), options, contrasts=contrasts, participants=participants
    )


def test_names_of_the_derivatives(small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path) -> None:
    options = replace(quick, preset="default", inverse=True, report=True, jacobian=True)
    summary = registered(small, tmp_path / "out", people[0], options)
    assert summary.pairs == 3
    assert summary.failures == {}
    out = tmp_path / "out"
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.parts[-2] == "anat"}
    stems = ("sub-01/anat/sub-01", f"{ANAT}_run-1", f"{ANAT}_run-2")
    endings = (
        "_space-TPL_desc-registered_T1w.nii.gz",
        "_space-TPL_desc-registered_T1w.json",
        "_space-TPL_desc-jacobian_T1w.nii.gz",
        "_space-TPL_desc-jacobian_T1w.json",
        "_space-TPL_desc-logjacobian_T1w.nii.gz",
        "_space-TPL_desc-logjacobian_T1w.json",
        "_from-T1w_to-TPL_mode-image_desc-affine_xfm.txt",
        "_from-T1w_to-TPL_mode-image_desc-warp_xfm.nii.gz",
        "_from-TPL_to-T1w_mode-image_desc-warp_xfm.nii.gz",
    )
    assert files == {stem + ending for stem in stems for ending in endings}
    assert len(list(out.glob("*.html"))) == 3
    about = json.loads((out / f"{ANAT}_run-2_space-TPL_desc-registered_T1w.json").read_text(encoding="utf-8"))
    assert about["Sources"] == [f"bids:source:{ANAT}_run-2_T1w.nii.gz"]
    assert about["SkullStripped"] is True
    described = json.loads((out / "dataset_description.json").read_text(encoding="utf-8"))
    assert described["GeneratedBy"][0]["Name"] == "LightCRCF"
    assert described["DatasetType"] == "derivative"
    image, ratio = (read(out / f"{ANAT}_run-1_space-TPL_desc-{what}_T1w.nii.gz") for what in ("registered", "jacobian"))
    assert ratio.grid.isclose(image.grid)
    assert 0.2 < ratio.data.min() < 1 < ratio.data.max() < 5


def test_what_may_move_is_in_names_and_words(
    small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    out, options = tmp_path / "out", replace(quick, init="auto", transform="rigid")
    assert registered(small, out, people[0], options, "01").failures == {}
    assert sorted(path.name for path in (out / "sub-01" / "anat").iterdir()) == [
        "sub-01_from-T1w_to-TPL_mode-image_desc-affine_xfm.txt",
        "sub-01_space-TPL_desc-registered_T1w.json",
        "sub-01_space-TPL_desc-registered_T1w.nii.gz",
    ]
    about = json.loads((out / "sub-01/anat/sub-01_space-TPL_desc-registered_T1w.json").read_text(encoding="utf-8"))
    assert "by a rigid transform" in about["Description"]
    readme = (out / "README").read_text(encoding="utf-8")
    assert "by a rigid transform" in readme
    assert "WARP" not in readme
    matrix = np.array(sitk.ReadTransform(out / f"sub-01/anat/{RIGID}").GetParameters()[:9]).reshape(3, 3)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)


def test_itk_applies_the_transforms_as_the_readme_says(
    small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    registered(small, tmp_path / "out", people[0], replace(quick, preset="default", init="auto"), "01")
    anat = tmp_path / "out" / "sub-01" / "anat"
    stem = "sub-01_from-T1w_to-TPL_mode-image_desc-"
    warp = sitk.DisplacementFieldTransform(
        sitk.Cast(sitk.ReadImage(anat / f"{stem}warp_xfm.nii.gz"), sitk.sitkVectorFloat64)
    )
    chain = sitk.CompositeTransform([sitk.ReadTransform(anat / f"{stem}affine_xfm.txt"), warp])
    fixed, moving = (sitk.ReadImage(p, sitk.sitkFloat32) for p in (people[0], people[1]))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, chain, sitk.sitkLinear, 0.0))
    ours = read(anat / "sub-01_space-TPL_desc-registered_T1w.nii.gz").data.T
    close = np.abs(theirs - ours) <= 1e-2 * ours.max()
    assert close.mean() > 0.98  # the border, where ITK takes what is outside as zero, apart


def test_one_participant_at_a_time_ends_as_all_at_once(
    small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    registered(small, tmp_path / "all", people[0], quick)
    for participant in ("02", "01"):
        summary = registered(small, tmp_path / "each", people[0], quick, participant)
        assert summary.pairs == {"01": 1, "02": 2}[participant]

    def left(folder: Path) -> dict[str, bytes]:
        files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".lock"))
        apart = ("run.json", "timings.jsonl")
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files if p.name not in apart}

    assert left(tmp_path / "each") == left(tmp_path / "all")


def test_what_cannot_be_registered_any_more_leaves_no_old_result(
    small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    registered(small, tmp_path / "out", people[0], quick, "01")
    anat = tmp_path / "out" / "sub-01" / "anat"
    assert len(list(anat.iterdir())) == 3
    (small / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"damaged")
    assert set(registered(small, tmp_path / "out", people[0], quick, "01").failures) == {"sub-01_T1w-to-TPL"}
    assert list(anat.iterdir()) == []


def test_others_may_work_on_other_participants(
    small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path, temporary: Callable[[Path], Path]
) -> None:
    work = tmp_path / "out" / "lightcrcf"
    with Manifest(work, ["-sub-02"]).lock():
        (work / "pairs").mkdir()
        half = temporary(work / "pairs" / "sub-02_ses-a_run-1_T1w-to-TPL")
        half.mkdir()
        assert registered(small, tmp_path / "out", people[0], quick, "01").failures == {}
        assert half.is_dir()
        with pytest.raises(UsageError, match="another batch"):
            registered(small, tmp_path / "out", people[0], quick)


def test_what_is_no_bids_data_set_is_refused(
    small: Path, people: list[Path], quick: BatchOptions, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"dataset_description\.json"):
        DataSet.open(tmp_path)
    with pytest.raises(InputError, match="sub-09"):
        registered(small, tmp_path / "out", people[0], quick, "01", "09")
    with pytest.raises(InputError, match="BIDS_DIR/derivatives"):
        registered(small, small, people[0], quick)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["sub-01_T1w.json", "T1w.nii.gz", "sub-01-T1w.nii.gz", "sub-01_.nii.gz"])
def test_what_is_no_bids_name(name: str) -> None:
    assert ImageName.parse(Path(name)) is None


def test_labels() -> None:
    assert [parse_label(text, "--participant-label") for text in ("01", "sub-01", "A9+")] == ["01", "01", "A9+"]
    with pytest.raises(UsageError, match="letters and digits"):
        parse_label("0 1", "--participant-label")
    assert template_label(Path("____.nii.gz")) == "template"


def test_the_command_line(small: Path, people: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bids", str(small), str(tmp_path / "out"), "participant", "--template", str(people[0]), "--model", "none"]
    assert run([*words, "--preset", "fast", "--coarsen", "2", "--participant-label", "sub-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 1
    assert json.loads((tmp_path / "out/lightcrcf/batch.json").read_text())["options"]["coarsen"] == 2
    assert (tmp_path / "out/sub-01/anat/sub-01_space-person0_desc-registered_T1w.nii.gz").is_file()
    assert run([*words, "--preset", "fast", "--transform", "rigid", "--diffeomorphic"]) == 2
    assert "expected no --diffeomorphic with rigid" in capsys.readouterr().err
    assert run([*words[:3], "group"]) == 2
    assert run(["bids", str(tmp_path), str(tmp_path / "o"), "participant", "--template", str(people[0])]) == 3
    assert run([*words[:4], "--template", str(tmp_path / "none.nii.gz")]) == 3


def test_without_a_template_it_is_the_one_of_nilearn(
    small: Path, people: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bids", str(small), str(tmp_path / "out"), "participant", "--model", "none", "--preset", "fast"]
    monkeypatch.setattr("lightcrcf.demo.phantom.template", lambda: None)
    assert run(words) == 3
    assert '".[demo]"' in capsys.readouterr().err
    monkeypatch.setattr("lightcrcf.demo.phantom.template", lambda: (read(people[0]), None, ""))
    assert run([*words, "--participant-label", "01"]) == 0
    assert list((tmp_path / "out/sub-01/anat").glob("*_space-MNI152NLin2009aSym_*"))


@pytest.mark.data
def test_the_validator_finds_nothing_wrong_with_derivatives_of_real_brains(
    data: Path, coarse_model: Path, tmp_path: Path
) -> None:
    for number in ("1101", "1104", "1107"):
        volume = read(data / "oasis" / f"sub-{number}_T1w.nii.gz")
        write(tmp_path / f"{number}.nii.gz", Volume(*downsample_volume(volume, spacing_mm=3.0)))
    names = {"1104": "sub-1104/anat/sub-1104_T1w.nii.gz", "1107": "sub-1107/ses-1/anat/sub-1107_ses-1_T1w.nii.gz"}
    raw = data_set(tmp_path / "raw", {name: tmp_path / f"{n}.nii.gz" for n, name in names.items()})
    image = read(tmp_path / "1104.nii.gz")
    other = Volume(np.where(image.data > 20, image.data.max() - image.data, 0), image.grid)
    write(raw / names["1104"].replace("T1w", "T2w"), other)
    for kind, name in (("func", "task-rest_bold"), ("dwi", "dwi")):
        (raw / f"sub-1104/{kind}").mkdir()
        series = nib.Nifti1Image(np.stack([other.data] * 2, axis=-1).astype(np.int16), image.grid.affine)
        series.header.set_xyzt_units("mm", "sec")
        nib.save(series, raw / f"sub-1104/{kind}/sub-1104_{name}.nii.gz")
    (raw / "sub-1104/func/sub-1104_task-rest_bold.json").write_text('{"RepetitionTime": 1.0, "TaskName": "rest"}')
    (raw / "sub-1104/dwi/sub-1104_dwi.bval").write_text("0 1000\n")
    (raw / "sub-1104/dwi/sub-1104_dwi.bvec").write_text("0 1\n0 0\n0 0\n")
    assert validated(raw)["error"] == []
    options = BatchOptions(model=str(coarse_model), preset="fast", inverse=True, report=True, jacobian=True)
    along = ("T2w", "bold", "dwi")
    summary = registered(raw, tmp_path / "out", tmp_path / "1101.nii.gz", options, contrasts=along)
    assert summary.failures == {}
    assert summary.pairs == 5
    assert validated(tmp_path / "out") == {"error": [], "warning": []}
