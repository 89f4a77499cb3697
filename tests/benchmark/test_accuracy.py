"""The benchmark on five tiny persons, with the registrations replaced."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import AFFINE_NAME, FIELD_NAME, write_affine, write_field
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.accuracy import methods, peers
from lightcrcf_bench.accuracy import run as accuracy
from lightcrcf_bench.accuracy.methods import BenchSettings
from lightcrcf_bench.accuracy.protocols import PROTOCOLS
from lightcrcf_bench.measure import CommandError, Measured
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.schema import Record

GRID = Grid((10, 12, 14), np.diag([1.0, 2.0, 3.0, 1.0]))
BRAIN = PROTOCOLS["brain"]
SUBJECTS = [fixed for fixed, _ in BRAIN.data.pairs]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Persons whose two structures lie one voxel (2 mm) further along the second axis from one to the next."""
    folder = tmp_path / "data" / "oasis"
    folder.mkdir(parents=True)
    for step, subject in enumerate(SUBJECTS):
        labels = np.zeros(GRID.shape, dtype=np.int16)
        labels[2:6, 1 + step : 5 + step, 3:8] = 4
        labels[6:9, 1 + step : 5 + step, 3:8] = 207
        write(folder / f"sub-{subject}_T1w.nii.gz", Volume(labels.astype(np.float32), GRID))
        write(folder / f"sub-{subject}_dseg.nii.gz", Volume(labels, GRID))
    return folder.parent


def shift(fixed: str, moving: str) -> Affine:
    matrix = np.eye(4)
    matrix[1, 3] = 2.0 * (SUBJECTS.index(moving) - SUBJECTS.index(fixed))
    return Affine(matrix)


def option(command: Sequence[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replaces processes: every method leaves the true shift, except on the pair whose fixed subject is 1107."""
    seen: list[list[str]] = []

    def run(
        command: Sequence[str], limit_seconds: float | None = None, environment: Mapping[str, str] | None = None
    ) -> Measured:
        seen.append(list(command))
        out = Path(option(command, "--out"))
        out.mkdir(parents=True, exist_ok=True)
        fixed, moving = (Path(option(command, name)).name[4:8] for name in ("--fixed", "--moving"))
        ours = "register" in command
        if not ours and fixed == "1107" and "greedy" in command:
            raise CommandError("too few slices", stopped=limit_seconds is not None)
        write_affine(out / AFFINE_NAME, shift(fixed, moving))
        write_field(out / FIELD_NAME, DisplacementField.zero(GRID))
        if any(tool in command for tool in peers.WHOLE):
            voxels = np.zeros((3, *GRID.shape), np.float32)
            voxels[1] = shift(fixed, moving).matrix[1, 3] / 2
            write_field(out / FIELD_NAME, DisplacementField(GRID, voxels))
        if ours:
            model = option(command, "--model")
            if model == "none":
                (out / FIELD_NAME).unlink()
            told = {"name": None} if model == "none" else {"name": "brain", "sha256": "0123456789abcdef"}
            versions = {"lightcrcf": "0.1", "numpy": "2.0"}
            stages = {
                "affine": {"measure": "correlation"},
                "engine": None if model == "none" else {"precision": "f32"},
                "refinement": None,
                "diffeomorphic": None,
            }
            (out / "run.json").write_text(json.dumps({"versions": versions, "model": told, **stages}))
        elif "greedy" in command:
            np.savetxt(out / peers.AFFINE, shift(fixed, moving).matrix)
        else:
            # SimpleITK cannot write the .mat that ANTs writes, and reads by the name
            (out / AFFINE_NAME).rename(out / "affine.txt")
        if not ours:
            (out / peers.SUMMARY).write_text(json.dumps({"call_seconds": 2.5, "versions": {"tool": "0.6"}}))
        return Measured(seconds=3.5, peak_mib=700.0, load_before=0.1)

    read_affine = methods.read_affine
    monkeypatch.setattr(methods, "run", run)
    monkeypatch.setattr(methods, "read_affine", lambda path: read_affine(Path(path).with_suffix(".txt")))
    return seen


def measure(data: Path, names: Sequence[str], bench: BenchSettings, note: str = "") -> Record:
    return accuracy.measure(BRAIN, data, names, bench, note=note, log=lambda _: None)


def test_every_method_is_run_and_scored(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    said: list[str] = []
    bench = BenchSettings(tmp_path / "work", threads=3)
    record = accuracy.measure(BRAIN, data, (), bench, note="idle otherwise", log=said.append)
    assert [method.name for method in record.methods] == list(methods.method_runners(BRAIN, bench))
    assert record.name == "brain-accuracy"
    assert record.summary["identity"]["dice"].mean < 0.8
    for name in (
        "ants-affine",
        "ants-syn",
        "greedy-ncc",
        "demons",
        "lightcrcf-affine",
        "lightcrcf-fast",
        "lightcrcf-accurate",
    ):
        assert record.summary[name]["dice"].mean == 1.0
        assert record.summary[name]["seconds"].median == 3.5
    assert record.summary["lightcrcf-fast"]["folding_percent"].mean == 0.0
    assert "folding_percent" not in record.summary["lightcrcf-affine"]
    assert record.summary["ants-syn"]["call_seconds"].median == 2.5
    assert "seconds" not in record.summary["identity"]
    assert record.cases[0].dice_by_label.keys() == {4, 207}
    assert record.method("ants-syn").timing.endswith("3 threads; idle otherwise")
    assert len(said) == len(record.cases)
    registrations = [command for command in commands if "register" in command]
    assert len(registrations) == 42  # five pairs and a first run that does not count, seven times
    assert {option(command, "--preset") for command in registrations} == {"fast", "default", "accurate"}
    assert all(option(command, "--threads") == "3" for command in commands)


def test_a_slow_method_can_be_measured_on_the_first_pairs(
    data: Path, commands: list[list[str]], tmp_path: Path
) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2, reuse=True)
    for count in (1, 2):  # one more another time; what was done is there
        record = accuracy.measure(BRAIN, data, ["ants-syncc"], bench, count=count, log=lambda _: None)
        assert [case.fixed for case in record.cases] == SUBJECTS[:count]
        assert len(record.timings) == len(commands) == count
        assert record.data == BRAIN.data


def test_a_failure_is_recorded_with_its_reason(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    record = measure(data, ["greedy-ncc"], BenchSettings(tmp_path, threads=2))
    reasons = {case.fixed: case.failure for case in record.cases}
    assert reasons == {**dict.fromkeys(SUBJECTS), "1107": "too few slices"}
    assert len(record.timings) == 4


def test_our_rows_tell_model_and_training(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    record = measure(data, ["lightcrcf-affine", "lightcrcf-fast"], BenchSettings(tmp_path, threads=2))
    alone, network = record.methods
    assert (alone.ours, alone.model, alone.training) == (True, None, None)
    assert (network.ours, network.model, network.training) == (True, "brain", "unsupervised")
    assert network.versions == {
        "lightcrcf": "0.1",
        "model brain": "0123456789ab",
    }
    assert network.command.endswith("--model brain --preset fast --threads 2")
    assert alone.settings == "no deformation: affine alignment"
    assert network.settings == "preset fast: affine alignment, network in f32"


@pytest.mark.parametrize("start", ["identity", "network"])
def test_stages_are_those_of_the_record(start: str) -> None:
    levels = [{"scale": scale} for scale in (8, 4, 2, 1)]
    run: dict[str, Any] = {
        "affine": {},
        "engine": None,
        "diffeomorphic": {},
        "refinement": {"start": start, "levels": levels},
    }
    text = methods.stages_of(run)
    assert text.startswith("alignment by the headers or a given affine, refinement from the ")
    assert text.endswith(" at 1/8, 1/4, 1/2 and 1/1, removal of folds")
    assert ("network" in text) == (start == "network")


def test_no_table_names_a_network_where_none_ran() -> None:
    """Rendered lines of methods with `--model none`, or without a model in their versions."""
    pages = (Path(__file__).parents[2] / "docs").rglob("*.md")
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    ours = [line for line in lines if line.startswith("- LightCRCF") and "`lightcrcf register" in line]
    without = [line for line in ours if "--model none" in line or ", model " not in line]
    assert len(without) > 5
    assert not [line for line in without if "network" in line.replace("no network", "")]


def test_a_model_of_ones_own_has_rows_of_its_own(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    chosen = str(tmp_path / "candidate.safetensors")
    record = measure(data, ["lightcrcf-affine", "lightcrcf-fast"], BenchSettings(tmp_path, threads=2, model=chosen))
    assert [method.name for method in record.methods] == ["lightcrcf-affine", "lightcrcf-fast@candidate"]
    assert record.methods[1].title == "LightCRCF fast, candidate"
    assert record.methods[1].training is None  # no file tells it
    assert {option(command, "--model") for command in commands} == {"none", chosen}
    told = BenchSettings(tmp_path, threads=2, model="hippocampus-mr-labels")
    assert measure(data, ["lightcrcf-fast"], told).methods[0].training == "weakly supervised"
    alone = BenchSettings(tmp_path, threads=2, model="none")
    assert measure(data, ["lightcrcf-default"], alone).methods[0].training is None


def test_results_of_other_tools_are_reused_only_if_asked(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2, reuse=True)
    first = measure(data, ["ants-syn", "greedy-ncc", "lightcrcf-fast"], bench)
    commands.clear()
    again = measure(data, ["ants-syn", "greedy-ncc", "lightcrcf-fast"], bench)
    assert again.of("ants-syn") == first.of("ants-syn")
    assert again.of("greedy-ncc") == first.of("greedy-ncc")  # failures too
    assert again.timings == first.timings
    assert len(commands) == 6
    assert all("register" in command for command in commands)
    measure(data, ["ants-syn"], BenchSettings(tmp_path / "work", threads=1, reuse=True))
    assert len(commands) == 11  # another command: not what lies there


def test_what_was_stopped_is_tried_again(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2, reuse=True, limit_seconds=9.0)
    measure(data, ["greedy-ncc"], bench)
    commands.clear()
    measure(data, ["greedy-ncc"], bench)
    assert [Path(option(command, "--fixed")).name for command in commands] == ["sub-1107_T1w.nii.gz"]


def test_times_are_taken_again_in_turns(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2, reuse=True)
    old = measure(data, ["identity", "ants-syn", "lightcrcf-fast"], bench)
    commands.clear()
    renewed = accuracy.retime(old, BRAIN, data, ["ants-syn", "lightcrcf-fast"], bench, count=2, note="idle")
    assert renewed.cases == old.cases
    assert [(row.method, row.fixed) for row in renewed.timings] == [
        ("ants-syn", "1101"),
        ("ants-syn", "1104"),
        ("lightcrcf-fast", "1101"),
        ("lightcrcf-fast", "1104"),
    ]
    assert renewed.method("ants-syn").timing.endswith("; idle")
    ours = ["register" in command for command in commands]
    assert ours == [True, False, True, False, True]  # a first run that does not count, then in turns


def test_only_what_is_recorded_is_timed_again(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2)
    old = measure(data, ["identity", "ants-syn", "lightcrcf-affine"], bench)
    commands.clear()
    with pytest.raises(InputError, match="lightcrcf-fast; measure them first"):
        accuracy.retime(old, BRAIN, data, ["lightcrcf-fast"], bench, count=1)
    assert not commands
    accuracy.retime(old, BRAIN, data, (), bench, count=1)
    assert len(commands) == 3  # both, and a first run of ours


def test_times_are_of_pairs_that_were_scored(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path / "work", threads=2)
    slow = accuracy.measure(BRAIN, data, ["ants-syncc"], bench, count=1, log=lambda _: None)
    old = records.merge(measure(data, ["ants-syn"], bench), slow)
    commands.clear()
    with pytest.raises(InputError, match="ants-syncc; measure them first"):
        accuracy.retime(old, BRAIN, data, ["ants-syncc"], bench, count=2)
    assert not commands
    accuracy.retime(old, BRAIN, data, (), bench, count=2)
    assert len(commands) == 2
    accuracy.retime(old, BRAIN, data, ["ants-syncc"], bench, count=1)
    assert len(commands) == 3


def test_a_failure_ends_the_timing(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    bench = BenchSettings(tmp_path, threads=2)
    old = measure(data, ["greedy-ncc"], bench)
    with pytest.raises(InputError, match="too few slices"):
        accuracy.retime(old, BRAIN, data, ["greedy-ncc"], bench, count=3)


def test_unknown_methods_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ants-syn.*got best"):
        measure(data, ["best"], BenchSettings(tmp_path, threads=2))


def test_the_record_tells_how_to_measure_it_again(data: Path, tmp_path: Path) -> None:
    record = measure(data, ["identity"], BenchSettings(tmp_path, threads=2))
    assert "lightcrcf bench accuracy --protocol brain" in record.commands[0]
    records.write(tmp_path / "x.json", record)
    assert records.read(tmp_path / "x.json") == record
