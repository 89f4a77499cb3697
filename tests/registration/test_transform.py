"""`transform`: what may move, by name; without a deformation neither network nor refinement runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from lightcrcf.affine.align import align
from lightcrcf.cli.main import run
from lightcrcf.errors import UsageError
from lightcrcf.options import Options
from lightcrcf.registration.register import register
from lightcrcf.registration.save import save
from lightcrcf.run_record.replay import arguments_to_repeat, command_line, read_run
from lightcrcf.run_record.schema import shipped_schema, to_json
from lightcrcf.transforms.itk import read_affine
from lightcrcf.volumes import Volume

Pair = tuple[Volume, Volume]
WITHOUT = ("rigid", "similarity", "affine")


@pytest.mark.parametrize("transform", WITHOUT)
@pytest.mark.parametrize("model", ["none", "coarse"])
def test_nothing_but_an_affine_is_found_and_written(
    transform: str, model: str, pair: Pair, coarse_model: Path, tmp_path: Path
) -> None:
    found = register(*pair, model=coarse_model if model == "coarse" else "none", transform=transform)  # type: ignore[arg-type]
    assert found.transform.field is None
    assert np.array_equal(found.transform.after.matrix, align(*pair, transform=transform).affine.matrix)
    save(found, tmp_path / "out")
    assert not (tmp_path / "out" / "warp.nii.gz").exists()
    record = read_run(tmp_path / "out")
    np.testing.assert_allclose(
        read_affine(tmp_path / "out" / "affine.tfm").matrix, found.transform.after.matrix, atol=1e-9
    )
    assert record.options.transform == transform
    assert (record.engine, record.refinement, record.field_grid) == (None, None, None)
    assert not record.deformed
    assert record.qc.judged
    assert record.transforms.order_for_points == ("affine.tfm",)
    if model == "none":
        assert record.model.reason.endswith(f"the result is {transform} only")
    linear = found.transform.after.matrix[:3, :3]
    scale = np.linalg.det(linear) ** (1 / 3)
    assert (transform == "affine") == (not np.allclose(linear.T @ linear, scale**2 * np.eye(3), atol=1e-9))
    assert (transform == "rigid") == (abs(scale - 1) < 1e-9)


def test_the_default_is_a_deformation_upon_the_affine(pair: Pair) -> None:
    found = register(*pair, model="none", preset="default")
    assert found.record.options.transform == "deformable"
    assert found.transform.field is not None
    assert np.array_equal(found.transform.after.matrix, align(*pair).affine.matrix)


def test_both_correlations_are_in_the_record(pair: Pair) -> None:
    record = register(*pair, model="none", transform="affine").record
    contrast = record.affine.contrast
    assert contrast.same
    assert contrast.plain == record.affine.similarity_after
    assert contrast.recoloured == pytest.approx(contrast.plain, abs=0.1)
    fixed, moving = pair
    inverted = Volume(np.where(moving.data > 0, 700 - moving.data, 0).astype(np.int16), moving.grid, "inverted")
    record = register(fixed, inverted, model="none", transform="rigid").record.affine
    assert not record.contrast.same
    assert record.contrast.plain < 0.75 * record.contrast.recoloured
    assert record.measure.startswith("normalised mutual information")


@pytest.mark.parametrize("transform", WITHOUT)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"refine": 4}, "--refine"),
        ({"smoothness": 2.0}, "--smoothness"),
        ({"diffeomorphic": True}, "--diffeomorphic"),
        ({"init": "none"}, "--init"),
        ({"init": "a.tfm"}, "--init"),
    ],
)
def test_what_acts_on_a_deformation_or_finds_nothing_is_refused(
    given: dict[str, Any], told: str, transform: str
) -> None:
    with pytest.raises(UsageError, match=f"transform: expected.*got.*{told}.*; leave out one or the other"):
        Options(transform=transform, **given).check()  # type: ignore[arg-type]
    Options(transform="deformable", **given).check()
    Options(transform=transform, refine=0, preset="accurate").check()  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["linear", "Rigid", "", None, 6])
def test_a_name_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="transform: expected one of rigid, similarity, affine, deformable, got"):
        Options(transform=value).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["register", "batch"])
@pytest.mark.parametrize(
    "words", [["--smoothness", "2"], ["--refine", "3"], ["--diffeomorphic"], ["--init", "none"]], ids=lambda w: w[0]
)
def test_commands_refuse_it_in_one_line_before_any_work(
    command: str, words: list[str], small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"register": ["--fixed", small[0], "--moving", small[1]], "batch": ["--to", *small]}[command]
    assert run([command, *files, "--out", str(tmp_path / "out"), "--transform", "rigid", *words]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "transform: expected" in told
    assert words[0] in told
    assert not (tmp_path / "out").exists()


def test_it_is_recorded_and_repeated(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--fixed", small[0], "--moving", small[1]]
    words = [*files, "--out", str(tmp_path / "run"), "--transform", "similarity", "--report", "--jacobian", "--inverse"]
    assert run(["register", *words]) == 0
    record = read_run(tmp_path / "run")
    jsonschema.validate(to_json(record), shipped_schema())
    assert arguments_to_repeat(record)["transform"] == "similarity"
    assert "--transform similarity" in " ".join(command_line(record, "again"))
    assert (tmp_path / "run" / "report.html").is_file()
    assert run(["register", "--from", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    assert "the bytes of then" in capsys.readouterr().err


def test_a_batch_of_another_transform_is_another(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["batch", "--to", *small, "--out", str(tmp_path / "out"), "--transform", "rigid", "--resume"]
    assert run(words) == 0
    assert json.loads((tmp_path / "out" / "batch.json").read_text(encoding="utf-8"))["options"]["transform"] == "rigid"
    assert not list((tmp_path / "out").rglob("warp.nii.gz"))
    assert list((tmp_path / "out").rglob("affine.tfm"))
    capsys.readouterr()
    assert run([*words[:-3], "--resume"]) == 2
    assert "transform: expected rigid, with which this batch was begun, got deformable" in capsys.readouterr().err


def test_an_alignment_is_judged_as_one_whatever_model_would_have_refined_it(pair: Pair) -> None:
    """The limits of a model are for images that its field has made alike."""
    judged = [
        register(*pair, model=model, transform="affine").quality.judged  # type: ignore[arg-type]
        for model in ("none", "brain")
    ]
    assert [told.passes for told in judged[0]] == [told.passes for told in judged[1]]
