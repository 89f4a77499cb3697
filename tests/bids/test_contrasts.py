"""Other contrasts of a BIDS data set go along: what is found, by which way they go, and what fails alone."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from lightcrcf.batch import run as batch_module
from lightcrcf.batch.carried import CarriedPair
from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import BatchOptions
from lightcrcf.bids.dataset import DataSet
from lightcrcf.bids.publish import BidsTemplate
from lightcrcf.bids.register import ParticipantSummary, register_participants
from lightcrcf.cli.main import run
from lightcrcf.errors import UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import read_affine
from lightcrcf.volumes import Volume, read, write

SPACING = (5.0, 5.0, 5.5)
TURN, SHIFT = (4.0, -3.0, 6.0), (7.0, -5.0, 4.0)
ANAT = "sub-01/anat/sub-01"


def inverted(image: Volume) -> Volume:
    """Bright for dark within the brain, as in a T2."""
    return replace(image, data=np.where(image.data > 20, 700 - image.data, 0).astype(np.int16))


def series(image: Volume, factors: list[float]) -> nib.Nifti1Image:
    """Volumes of a series, each with another gain."""
    return nib.Nifti1Image(np.stack([image.data * f for f in factors], axis=-1).astype(np.int16), image.grid.affine)


def turned(x: float, y: float, z: float) -> NDArray[np.float64]:
    """(3, 3) rotation by so many degrees about each axis in turn."""
    return np.asarray(sitk.Euler3DTransform((0, 0, 0), *np.radians((x, y, z))).GetMatrix()).reshape(3, 3)


@pytest.fixture
def raw(grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path: Path) -> Path:
    """Participant 01: T1w and, held otherwise, T2w, a functional and a diffusion series; 02: two sessions, one T1w."""
    folder = tmp_path / "raw"
    straight, held = grids((34, 40, 28), SPACING), grids((31, 38, 30), (5.4, 5.2, 5.0), axes="LPS", centre=SHIFT)
    one = brains(straight, person=1)[0]
    other = inverted(brains(held, person=1, turn=TURN, shift_mm=SHIFT)[0])
    for kind in ("01/anat", "01/func", "01/dwi", "02/ses-a/anat", "02/ses-b/anat"):
        (folder / f"sub-{kind}").mkdir(parents=True)
    write(folder / f"{ANAT}_T1w.nii.gz", one)
    write(folder / f"{ANAT}_T2w.nii.gz", other)
    nib.save(series(other, [0.9, 1.0, 1.1]), folder / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    nib.save(series(other, [1.0, 0.2, 0.2]), folder / "sub-01/dwi/sub-01_dwi.nii.gz")
    (folder / "sub-01/dwi/sub-01_dwi.bval").write_text("5 1000 1000\n")
    two = brains(straight, person=2)[0]
    write(folder / "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz", two)
    write(folder / "sub-02/ses-b/anat/sub-02_ses-b_FLAIR.nii.gz", inverted(two))
    (folder / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    return folder


@pytest.fixture
def template(grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path: Path) -> Path:
    write(tmp_path / "template.nii.gz", brains(grids((33, 41, 29), SPACING))[0])
    return tmp_path / "template.nii.gz"


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the pairs that are worked on from now on."""
    seen: list[str] = []
    work = batch_module.work

    def spy(task: Any, threads: int | None = None) -> Any:
        assert pickle.loads(pickle.dumps(task)) == task  # as it goes to workers
        seen.append(task.pair.id)
        return work(task, threads)

    monkeypatch.setattr(batch_module, "work", spy)
    return seen


def registered(
    raw: Path, template: Path, options: BatchOptions, *participants: str, contrasts: tuple[str, ...] = ("T2w",)
) -> ParticipantSummary:
    return register_participants(
        DataSet.open(raw), raw.parent / "out", BidsTemplate(template, "TPL"), options, contrasts=contrasts,
        participants=participants,
    )  # fmt: skip


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_a_t2_goes_by_the_t1_in_one_step(raw: Path, template: Path, quick: BatchOptions, tmp_path: Path) -> None:
    options = replace(quick, preset="default", init="auto", inverse=True, report=True)
    summary = registered(raw, template, options, "01")
    assert set(summary.participants["01"]) == {"T1w", "T2w"}
    assert str(summary).startswith("sub-01: T1w ")
    out = tmp_path / "out"
    names = {path.name.removeprefix("sub-01_") for path in (out / "sub-01" / "anat").iterdir() if "T2w" in path.name}
    assert names == {
        "from-T2w_to-T1w_mode-image_xfm.txt",
        "from-T2w_to-TPL_mode-image_desc-affine_xfm.txt",
        "from-T2w_to-TPL_mode-image_desc-warp_xfm.nii.gz",
        "from-TPL_to-T2w_mode-image_desc-warp_xfm.nii.gz",
        "space-T1w_desc-registered_T2w.json",
        "space-T1w_desc-registered_T2w.nii.gz",
        "space-TPL_desc-registered_T2w.json",
        "space-TPL_desc-registered_T2w.nii.gz",
    }
    assert (out / "sub-01_space-T1w_desc-registered_T2w.html").is_file()
    stem = out / f"{ANAT}_from-T2w_to-"
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = turned(*TURN), SHIFT
    points = read(raw / f"{ANAT}_T1w.nii.gz")
    world = points.grid.world(np.argwhere(points.data > 20))
    rigid = read_affine(f"{stem}T1w_mode-image_xfm.txt")
    assert np.linalg.norm(rigid.points(world) - Affine(truth).points(world), axis=1).mean() < 1.0
    warp = sitk.ReadImage(f"{stem}TPL_mode-image_desc-warp_xfm.nii.gz")
    field = sitk.DisplacementFieldTransform(sitk.Cast(warp, sitk.sitkVectorFloat64))
    affine = sitk.ReadTransform(f"{stem}TPL_mode-image_desc-affine_xfm.txt")
    moving, onto = (sitk.ReadImage(p, sitk.sitkFloat32) for p in (raw / f"{ANAT}_T2w.nii.gz", template))
    theirs = sitk.Resample(moving, onto, sitk.CompositeTransform([affine, field]), sitk.sitkLinear, 0.0)
    ours = read(out / f"{ANAT}_space-TPL_desc-registered_T2w.nii.gz").data.T
    assert (np.abs(sitk.GetArrayFromImage(theirs) - ours) <= 1e-2 * ours.max()).mean() > 0.98
    about = told(out / f"{ANAT}_space-TPL_desc-registered_T2w.json")
    assert about["Sources"] == [
        f"bids:source:{ANAT}_T2w.nii.gz",
        f"bids::{ANAT}_from-T2w_to-TPL_mode-image_desc-warp_xfm.nii.gz",
        f"bids::{ANAT}_from-T2w_to-TPL_mode-image_desc-affine_xfm.txt",
    ]
    assert summary.participants["01"]["T2w"] in about["Description"]


def test_series_are_represented_by_one_volume(
    raw: Path, template: Path, quick: BatchOptions, tmp_path: Path, worked: list[str]
) -> None:
    everything = ("T2w", "FLAIR", "bold", "dwi")
    summary = registered(raw, template, quick, contrasts=everything)
    assert summary.failures == {}
    assert {label: set(images) for label, images in summary.participants.items()} == {
        "01": {"T1w", "T2w", "task-rest_boldref", "dwiref"},
        "02": {"ses-a_T1w", "ses-b_FLAIR"},
    }
    out, rest = tmp_path / "out", "func/sub-01_task-rest"
    image = read(raw / f"{ANAT}_T2w.nii.gz").data
    mean = read(out / f"sub-01/{rest}_desc-mean_boldref.nii.gz")
    np.testing.assert_allclose(mean.data, image, atol=1)
    np.testing.assert_allclose(read(out / "sub-01/dwi/sub-01_desc-b0_dwiref.nii.gz").data, image, atol=1)
    about = told(out / f"sub-01/{rest}_space-T1w_desc-registered_boldref.json")
    assert about["Sources"][0] == f"bids::sub-01/{rest}_desc-mean_boldref.nii.gz"
    flair = told(out / "sub-02/ses-b/anat/sub-02_ses-b_space-TPL_desc-registered_FLAIR.json")
    assert "sub-02_ses-a_T1w.nii.gz" in flair["Description"]
    rows = (out / "lightcrcf" / "summary.csv").read_text(encoding="utf-8").splitlines()
    assert [row.partition(",")[0].removesuffix("-to-TPL") for row in rows[1:]] == [
        "sub-01_T1w", "sub-01_T2w", "sub-01_dwiref", "sub-01_task-rest_boldref", "sub-02_ses-a_T1w",
        "sub-02_ses-b_FLAIR",
    ]  # fmt: skip
    page = (out / "lightcrcf" / "index.html").read_text(encoding="utf-8")
    assert 'src="contrasts/pairs/sub-01_T2w-to-TPL/carried.svg"' in page
    assert (out / "lightcrcf/contrasts/pairs/sub-01_T2w-to-TPL/carried.svg").is_file()
    worked.clear()
    registered(raw, template, quick, contrasts=everything)
    assert worked == []
    nib.save(series(read(raw / f"{ANAT}_T2w.nii.gz"), [0.5]), raw / f"sub-01/{rest}_bold.nii.gz")
    registered(raw, template, quick, contrasts=everything)
    assert worked == ["sub-01_task-rest_boldref-to-TPL"]
    write(raw / f"{ANAT}_T1w.nii.gz", read(raw / "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz"))
    worked.clear()
    registered(raw, template, quick, "01", contrasts=("T2w",))
    assert worked == ["sub-01_T1w-to-TPL", "sub-01_T2w-to-TPL"]


def test_a_reference_of_the_scanner_goes_before_the_mean(raw: Path, template: Path, quick: BatchOptions) -> None:
    reference = raw / "sub-01/func/sub-01_task-rest_sbref.nii.gz"
    write(reference, read(raw / f"{ANAT}_T2w.nii.gz"))
    registered(raw, template, quick, "01", contrasts=("bold",))
    func = raw.parent / "out/sub-01/func"
    assert not list(func.glob("*desc-mean*"))
    about = told(func / "sub-01_task-rest_space-TPL_desc-registered_boldref.json")
    assert about["Sources"][0] == "bids:source:sub-01/func/sub-01_task-rest_sbref.nii.gz"


def test_what_goes_along_and_what_does_not(raw: Path) -> None:
    echoes = ("echo-2_bold", "echo-1_bold", "echo-1_part-phase_bold")
    others = ("T1w", "desc-x_T2w", "space-TPL_T2w", "T2map", "acq-b_T2w", "task-rest_T2w")
    for name in echoes:
        (raw / f"sub-01/func/sub-01_task-a_{name}.nii.gz").touch()
    for name in others:
        (raw / f"{ANAT}_{name}.nii.gz").touch()
    (raw / "sub-01/func/sub-01_T2w.nii.gz").touch()
    found = DataSet.open(raw).contrasts(("T2w", "bold"), ["01"])
    assert sorted(path.name.removeprefix("sub-01_") for path, _ in found) == [
        "T2w.nii.gz", "acq-b_T2w.nii.gz", "task-a_echo-1_bold.nii.gz", "task-rest_T2w.nii.gz",
        "task-rest_bold.nii.gz",
    ]  # fmt: skip


def test_what_cannot_go_along_fails_alone(raw: Path, template: Path, quick: BatchOptions, tmp_path: Path) -> None:
    registered(raw, template, quick, "01", contrasts=("T2w", "bold"))
    func, anat = (tmp_path / f"out/sub-01/{kind}" for kind in ("func", "anat"))
    assert list(func.glob("*boldref.nii.gz"))
    (raw / "sub-01/func/sub-01_task-rest_bold.nii.gz").write_bytes(b"damaged")
    summary = registered(raw, template, quick, "01", contrasts=("T2w", "bold"))
    assert set(summary.failures) == {"sub-01_task-rest_boldref-to-TPL"}
    assert list(func.iterdir()) == []
    assert list(anat.glob("*space-TPL_desc-registered_T2w.nii.gz"))
    (raw / f"{ANAT}_T1w.nii.gz").write_bytes(b"damaged")
    summary = registered(raw, template, quick, "01")
    assert set(summary.failures) == {"sub-01_T1w-to-TPL", "sub-01_T2w-to-TPL"}
    assert "sub-01_T1w.nii.gz registered to the template" in summary.failures["sub-01_T2w-to-TPL"]["message"]
    assert list(anat.iterdir()) == []


@pytest.fixture
def lone(raw: Path) -> Path:
    """Also a participant without a T1w, and a diffusion series of which nothing is told."""
    (raw / "sub-03/anat").mkdir(parents=True)
    write(raw / "sub-03/anat/sub-03_T2w.nii.gz", read(raw / f"{ANAT}_T2w.nii.gz"))
    (raw / "sub-01/dwi/sub-01_dwi.bval").unlink()
    return raw


def test_what_nothing_takes_along_is_named(lone: Path, template: Path, quick: BatchOptions) -> None:
    with pytest.warns(UserWarning, match="left out") as warned:
        summary = registered(lone, template, quick, contrasts=("T2w", "dwi"))
    texts = [str(warning.message) for warning in warned]
    assert any("sub-03_T2w.nii.gz: left out, since its participant has no T1w image" in text for text in texts)
    assert any("sub-01_dwi.nii.gz: left out, since no .bval file" in text for text in texts)
    assert {label: set(images) for label, images in summary.participants.items()} == {
        "01": {"T1w", "T2w"}, "02": {"ses-a_T1w"},
    }  # fmt: skip


def test_the_verdict_is_no_better_than_that_on_the_t1(raw: Path, template: Path, quick: BatchOptions) -> None:
    registered(raw, template, quick, "01", contrasts=())
    results = raw.parent / "out/lightcrcf/pairs/sub-01_T1w-to-TPL"
    record = told(results / "run.json")
    record["qc"]["verdict"] = "fail"
    (results / "run.json").write_text(json.dumps(record), encoding="utf-8")
    summary = registered(raw, template, quick, "01")
    assert summary.participants["01"]["T2w"] == "fail"
    found = told(raw.parent / "out/lightcrcf/contrasts/manifest/sub-01_T2w-to-TPL.json")
    assert found["qc"]["reasons"][-1] == "sub-01_T1w.nii.gz on the template, which carries it along: fail"


def test_the_command_line(raw: Path, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bids", str(raw), str(tmp_path / "out"), "participant", "--template", str(template), "--model", "none"]
    words += ["--preset", "fast", "--participant-label", "01", "--json"]
    assert run([*words, "--contrasts", "T2w,T1"]) == 2
    assert "expected all, none, or some of T1w, T2w, FLAIR" in capsys.readouterr().err
    assert run([*words, "--contrasts", "none"]) == 0
    assert set(json.loads(capsys.readouterr().out)["participants"]["01"]) == {"T1w"}
    assert run(words) == 0
    stdout, stderr = capsys.readouterr()
    assert set(json.loads(stdout)["participants"]["01"]) == {"T1w", "T2w", "task-rest_boldref", "dwiref"}
    assert "sub-01: T1w " in stderr
    assert "4 images: " in stderr


def test_two_batches_do_not_share_a_participant(raw: Path, template: Path, quick: BatchOptions, tmp_path: Path) -> None:
    with (
        Manifest(tmp_path / "out/lightcrcf/contrasts", ["-sub-01"]).lock(),
        pytest.raises(UsageError, match="another batch"),
    ):
        registered(raw, template, quick, "01")


def test_files_that_the_way_to_the_template_depends_on(tmp_path: Path) -> None:
    pair = CarriedPair("x", tmp_path / "t1", tmp_path / "t2", through=tmp_path)
    assert set(pair.inputs()) == {"fixed", "moving"}
    for name in ("affine.tfm", "warp.nii.gz"):
        (tmp_path / name).touch()
    assert set(pair.inputs()) == {"fixed", "moving", "template_affine", "template_warp"}
