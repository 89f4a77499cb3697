"""A run is repeated from its record, bit for bit, or refused with one line that says what changed."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from lightcrcf.cli.main import run
from lightcrcf.errors import InputError
from lightcrcf.registration.register import register
from lightcrcf.run_record.replay import arguments_to_repeat, command_line, differences, read_run
from lightcrcf.run_record.schema import json_schema, parse, shipped_schema, to_json
from lightcrcf.volumes import Volume, read, write

IMAGES = ("moved.nii.gz", "affine.tfm", "warp.nii.gz", "inverse_warp.nii.gz", "moved_labels.nii.gz")


@pytest.fixture(scope="module")
def first(pair: tuple[Volume, Volume], coarse_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with masks, labels of both, a further image and a model file."""
    folder = tmp_path_factory.mktemp("runs")
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write(folder / f"{name}.nii.gz", volume)
        labels = (volume.data > 300).astype(np.uint8) + (volume.data > 500)
        write(folder / f"{name}_labels.nii.gz", Volume(labels.astype(np.uint8), volume.grid))
        write(folder / f"{name}_mask.nii.gz", Volume(np.ones(volume.grid.shape, np.uint8), volume.grid))
    shutil.copy(coarse_model, folder / "model.safetensors")
    words = [f"--{role.replace('_', '-')}={folder / f'{role}.nii.gz'}" for role in
             ("fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels")]  # fmt: skip
    more = ["--also", str(folder / "moving.nii.gz"), "--model", str(folder / "model.safetensors"), "--inverse"]
    assert run(["register", *words, *more, "--refine", "2", "--threads", "1", "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def copy(first: Path, tmp_path: Path) -> Path:
    """The same folder of inputs and results elsewhere, its record naming the inputs there."""
    shutil.copytree(first.parent, tmp_path / "study")
    record = tmp_path / "study" / "run" / "run.json"
    record.write_text(record.read_text().replace(str(first.parent), str(tmp_path / "study")))
    return record


def test_the_record_is_what_the_schema_says(first: Path) -> None:
    record = json.loads((first / "run.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(shipped_schema())
    jsonschema.validate(record, shipped_schema(), cls=jsonschema.Draft202012Validator)


def test_a_record_is_written_as_it_was_read(first: Path) -> None:
    text = (first / "run.json").read_text(encoding="utf-8")
    assert json.dumps(to_json(parse(text)), indent=2) + "\n" == text


def test_the_shipped_schema_is_that_of_the_code() -> None:
    assert shipped_schema() == json.loads(json.dumps(json_schema()))


@pytest.mark.parametrize("damage", [("schema", "other"), ("qc", {}), ("sources", [{"role": "x"}]), ("affine", None)])
def test_a_damaged_record_is_no_run(damage: tuple[str, Any], first: Path, tmp_path: Path) -> None:
    record = json.loads((first / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps({**record, damage[0]: damage[1]}))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**record, damage[0]: damage[1]}, shipped_schema())
    with pytest.raises(InputError, match=f"expected run.json .* at {damage[0]}"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", "null", '{"schema": "lightcrcf-run-1"}'])
def test_what_is_no_record_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError) as refused:
        read_run(tmp_path / "run.json")
    assert "\n" not in str(refused.value)


def test_the_hashes_are_those_of_the_files(first: Path) -> None:
    told = read_run(first).files_sha256
    assert set(IMAGES) <= set(told)
    assert all(told[name] == hashlib.sha256((first / name).read_bytes()).hexdigest() for name in told)


def test_a_run_is_repeated_bit_for_bit(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = copy.parents[1] / "again"
    assert run(["register", "--from", str(copy), "--out", str(out)]) == 0
    assert "the bytes of then, in all 6 files" in capsys.readouterr().err
    for name in (*IMAGES, "moved_moving.nii.gz"):
        assert (out / name).read_bytes() == (copy.parent / name).read_bytes(), name
    then, now = read_run(copy), read_run(out)
    # The estimate counts what the process holds already.
    assert now.estimated_memory_mb == pytest.approx(then.estimated_memory_mb, rel=0.05)
    changing = {"timings_s": {}, "peak_memory_mb": None, "estimated_memory_mb": 0.0}
    assert replace(now, **changing) == replace(then, **changing)


def test_without_a_folder_it_is_repeated_beside_the_run(copy: Path) -> None:
    assert run(["register", "--from", str(copy.parent)]) == 0
    assert (copy.parents[1] / "run-again" / "moved.nii.gz").exists()


def test_a_result_that_is_not_that_of_then_is_told(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = read_run(copy)
    changed = replace(record, files_sha256={**record.files_sha256, "warp.nii.gz": "0" * 64})
    copy.write_text(json.dumps(to_json(changed)))
    assert run(["register", "--from", str(copy)]) == 0
    assert "not the bytes of then: warp.nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["fixed", "moving_mask", "fixed_labels", "moving_labels"])
def test_an_input_that_changed_is_refused_in_one_line(
    role: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy.parents[1] / f"{role}.nii.gz"
    volume = read(path)
    volume.data.flat[0] += 1
    write(path, volume)
    assert run(["register", "--from", str(copy)]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"expected the {role.replace('_', ' ')} of the run, SHA-256" in said
    assert not (copy.parents[1] / "run-again").exists()


def test_an_input_that_is_gone_and_another_model_are_refused(
    copy: Path, pair: tuple[Volume, Volume], capsys: pytest.CaptureFixture[str]
) -> None:
    (copy.parents[1] / "moving.nii.gz").rename(copy.parents[1] / "elsewhere.nii.gz")
    assert run(["register", "--from", str(copy)]) == 3
    assert "put it back where it was" in capsys.readouterr().err
    record = read_run(copy)
    other = replace(
        record,
        model=replace(record.model, name="brain", sha256="0" * 64),
        options=replace(record.options, model="auto"),
        sources=tuple(source for source in record.sources if source.role == "fixed"),
    )
    with pytest.raises(InputError, match="model brain: expected the weights of the run"):
        arguments_to_repeat(other)


def test_what_was_in_memory_cannot_be_repeated(copy: Path) -> None:
    record = read_run(copy)
    in_memory = replace(record.sources[0], path=None, sha256=None)
    with pytest.raises(InputError, match="something in memory"):
        arguments_to_repeat(replace(record, sources=(in_memory, *record.sources[1:])))


def test_other_options_do_not_go_with_it(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["register", "--from", str(copy), "--preset", "fast", "--fixed-mask", "m.nii"]) == 2
    assert "--fixed-mask, --preset" in capsys.readouterr().err


def test_another_machine_or_release_is_told(copy: Path) -> None:
    record = read_run(copy)
    assert differences(record) == []
    versions, machine = {**record.versions, "numpy": "1.0"}, replace(record.machine, cpu="Z80")
    told = differences(replace(record, versions=versions, machine=machine))
    assert told[0].startswith("numpy 1.0 then, ")
    assert told[1].startswith("processor Z80 then, ")


def test_the_command_of_a_run_gives_its_files_again(copy: Path) -> None:
    record = read_run(copy)
    words = command_line(record, str(copy.parents[1] / "by-hand"))
    assert words[:2] == ["lightcrcf", "register"]
    assert run(words[1:]) == 0
    assert read_run(copy.parents[1] / "by-hand").files_sha256 == record.files_sha256


def test_every_option_of_a_run_is_repeated(first: Path) -> None:
    record = read_run(first)
    assert arguments_to_repeat(record).keys() <= inspect.signature(register).parameters.keys()
    roles = {source.role for source in record.sources}
    assert set(arguments_to_repeat(record)) == set(vars(record.options)) | roles - {"init", "model"}
