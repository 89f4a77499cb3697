"""`lightcrcf register`: every option arrives, the files appear together, the exit codes hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.demo.phantom import deformed_copy, phantom
from lightcrcf.demo.run import write_inputs
from lightcrcf.errors import InputError
from lightcrcf.quality.verdict import Quality
from lightcrcf.volumes import read


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fixed.nii.gz, moving.nii.gz and the labels of both."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(deformed_copy(*phantom(spacing_mm=4.0), seed=7), folder)
    return folder


def words(inputs: Path, out: Path, *options: str) -> list[str]:
    files = ["--fixed", str(inputs / "fixed.nii.gz"), "--moving", str(inputs / "moving.nii.gz")]
    return ["register", *files, "--out", str(out), *options]


def test_the_folder_holds_what_was_asked_for(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "run"
    also = ["--also", str(inputs / "moving.nii.gz"), "--moving-labels", str(inputs / "moving_labels.nii.gz")]
    assert run(words(inputs, out, "--model", "none", "--json", "--report", *also)) == 0
    stdout, stderr = capsys.readouterr()
    start, verdict, *_, results = stderr.splitlines()  # what is for people, also beside JSON
    assert start == f"registering {inputs / 'moving.nii.gz'} with {inputs / 'fixed.nii.gz'} ..."
    assert verdict.startswith("quality control: ")
    assert results == f"results: {out}"
    names = {"moved.nii.gz", "moved_moving.nii.gz", "moved_labels.nii.gz", "affine.tfm", "warp.nii.gz", "run.json"}
    assert {path.name for path in out.iterdir()} == names | {"report.html"}
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    assert json.loads(stdout) == json.loads((out / "run.json").read_text(encoding="utf-8"))
    fixed = read(inputs / "fixed.nii.gz")
    assert all(read(out / name).grid.isclose(fixed.grid) for name in names if name.startswith("moved"))
    labels = read(out / "moved_labels.nii.gz").data
    assert set(np.unique(labels)) <= {0, 1, 2}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "lightcrcf register --from" in page


def test_for_people_there_is_a_verdict_on_stderr_and_nothing_on_stdout(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(inputs, tmp_path / "run", "--model", "none")) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.splitlines()[1].startswith("quality control: ")
    assert stderr.endswith(f"results: {tmp_path / 'run'}\n")


def test_every_option_reaches_the_pipeline(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stop(**options: Any) -> None:
        seen.update(options)
        raise InputError("stop", expected="this", got="that", remedy="stop")

    monkeypatch.setattr("lightcrcf.registration.register.register", stop)
    options = (
        "--model m.safetensors --init a.tfm --fixed-mask f.nii --moving-mask m.nii --moving-labels 1.nii "
        "--moving-labels 2.nii --fixed-labels 5.nii --also 3.nii --also 4.nii --preset fast --refine 4 --diffeomorphic "
        "--inverse --engine torch --device cuda --precision f32 --threads 3 --coarsen 2 --fill -1000 "
        "--smoothness 2 --jacobian --similarity same --transform similarity --channel-weight 2 --brain-mask"
    )
    assert run(words(inputs, tmp_path / "run", *options.split())) == 3
    assert callable(seen.pop("progress"))
    assert seen == {
        "fixed": [inputs / "fixed.nii.gz"],
        "moving": [inputs / "moving.nii.gz"],
        "channel_weights": (2.0,),
        "brain_mask": True,
        "model": "m.safetensors",
        "init": "a.tfm",
        "preset": "fast",
        "refine": 4,
        "fixed_mask": Path("f.nii"),
        "moving_mask": Path("m.nii"),
        "moving_labels": [Path("1.nii"), Path("2.nii")],
        "fixed_labels": Path("5.nii"),
        "also": [Path("3.nii"), Path("4.nii")],
        "diffeomorphic": True,
        "inverse": True,
        "engine": "torch",
        "device": "cuda",
        "precision": "f32",
        "threads": 3,
        "coarsen": 2,
        "fill": -1000.0,
        "smoothness": 2.0,
        "jacobian": True,
        "similarity": "same",
        "transform": "similarity",
    }


@pytest.mark.parametrize(
    "options",
    [("--preset", "best"), ("--refine", "-1"), ("--threads", "0"), ("--transform", "linear")],
)
def test_what_does_not_exist_yet_is_refused_in_one_line(
    options: tuple[str, ...], inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(inputs, tmp_path / "run", *options)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert options[0] in err
    assert not (tmp_path / "run").exists()


def test_an_unknown_model_is_2_and_a_missing_volume_3(inputs: Path, tmp_path: Path) -> None:
    assert run(words(inputs, tmp_path / "run", "--model", "no-such-model")) == 2
    assert run(words(tmp_path, tmp_path / "run")) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_is_3_before_any_work(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightcrcf.registration.register.register", None)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert run(words(inputs, tmp_path / "file" / "run")) == 3


def test_fail_on_qc_is_4_and_still_leaves_the_result(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "lightcrcf.registration.verdicts.judge_by_group",
        lambda *_, **__: Quality(verdict="fail", reasons=("it folds",), remarks=(), judged=(), limits=None),
    )
    assert run(words(inputs, tmp_path / "run", "--model", "none")) == 0
    assert run(words(inputs, tmp_path / "run", "--model", "none", "--fail-on-qc")) == 4
    assert "it folds" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "run" / "moved.nii.gz").exists()
