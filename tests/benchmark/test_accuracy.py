"""The benchmark on five tiny persons, with the registrations replaced."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightcrcf.benchmark import accuracy, methods, peers, records
from lightcrcf.benchmark.measure import Measured
from lightcrcf.benchmark.methods import Bench
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import AFFINE_NAME, FIELD_NAME, write_affine, write_field
from lightcrcf.volumes import Volume, write

GRID = Grid((10, 12, 14), np.diag([1.0, 2.0, 3.0, 1.0]))
SUBJECTS = [fixed for fixed, _ in accuracy.DATA.pairs]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Persons whose two structures lie one voxel (2 mm) further along the second axis from one to the next."""
    folder = tmp_path / "data"
    folder.mkdir()
    for step, subject in enumerate(SUBJECTS):
        labels = np.zeros(GRID.shape, dtype=np.int16)
        labels[2:6, 1 + step : 5 + step, 3:8] = 4
        labels[6:9, 1 + step : 5 + step, 3:8] = 207
        write(folder / f"sub-{subject}_T1w.nii.gz", Volume(labels.astype(np.float32), GRID))
        write(folder / f"sub-{subject}_dseg.nii.gz", Volume(labels, GRID))
    return folder


def shift(fixed: str, moving: str) -> Affine:
    matrix = np.eye(4)
    matrix[1, 3] = 2.0 * (SUBJECTS.index(moving) - SUBJECTS.index(fixed))
    return Affine(matrix)


def option(command: Sequence[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replaces processes: `register` leaves the true shift, SyN too."""
    seen: list[list[str]] = []

    def run(command: Sequence[str]) -> Measured:
        seen.append(list(command))
        out = Path(option(command, "--out"))
        out.mkdir(parents=True, exist_ok=True)
        fixed, moving = (Path(option(command, name)).name[4:8] for name in ("--fixed", "--moving"))
        write_affine(out / AFFINE_NAME, shift(fixed, moving))
        write_field(out / FIELD_NAME, DisplacementField.zero(GRID))
        if "register" in command:
            model = option(command, "--model")
            if model == "none":
                (out / FIELD_NAME).unlink()
            told = {"name": None} if model == "none" else {"name": "brain", "sha256": "0123456789abcdef"}
            versions = {"lightcrcf": "0.1", "numba": "0.60", "openvino": "2026.1", "numpy": "2.0"}
            (out / "run.json").write_text(json.dumps({"versions": versions, "model": told}))
        else:
            (out / AFFINE_NAME).rename(out / "affine.txt")
            labels = np.zeros(GRID.shape, dtype=np.int16)
            labels[2:9] = 4
            for name in (peers.LABELS, peers.AFFINE_LABELS):
                write(out / name, Volume(labels, GRID))
            (out / peers.SUMMARY).write_text(json.dumps({"seconds": 50.5, "antspyx": "0.6"}))
        return Measured(seconds=3.5, peak_mib=700.0, load_before=0.1)

    monkeypatch.setattr(methods, "run", run)
    monkeypatch.setattr(peers, "AFFINE", "affine.txt")  # SimpleITK cannot write the .mat that ANTs writes
    return seen


def test_a_run_writes_the_record(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    out = tmp_path / "history" / "2026-01-01-brain-accuracy.json"
    model = str(tmp_path / "candidate.safetensors")
    settings = ["--threads", "3", "--note", "idle otherwise", "--model", model]
    accuracy.main(["--data", str(data), "--out", str(out), *settings])
    record = records.read(out)
    assert [method.name for method in record.methods] == list(methods.METHODS)
    assert record.summary["identity"]["dice"].mean < 0.8
    assert record.summary["lightcrcf"]["dice"].mean == 1.0
    assert record.summary["lightcrcf-affine"]["dice"].mean == 1.0
    assert record.summary["lightcrcf"]["seconds"].median == 3.5
    assert record.summary["lightcrcf"]["folding_percent"].mean == 0.0
    assert "folding_percent" not in record.summary["lightcrcf-affine"]
    assert record.summary["ants-syn"]["seconds"].median == 50.5
    assert "seconds" not in record.summary["ants-affine"]
    assert record.cases[0].dice_by_label.keys() == {4, 207}
    syn = next(method for method in record.methods if method.name == "ants-syn")
    assert syn.timing.endswith("3 ITK threads; idle otherwise")
    ours = record.methods[-1]
    assert ours.versions == {"lightcrcf": "0.1", "numba": "0.60", "openvino": "2026.1", "model brain": "0123456789ab"}
    assert ours.command.endswith("--threads 3 --model candidate.safetensors")
    registrations = [command for command in commands if "register" in command]
    assert {option(command, "--model") for command in registrations} == {"none", model}
    assert len(registrations) == 12  # five pairs and a first run that does not count, twice
    assert all(option(command, "--threads") == "3" for command in commands)


def test_our_rows_are_renewed_and_the_others_stay(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    out = tmp_path / "2026-01-01-brain-accuracy.json"
    accuracy.main(["--data", str(data), "--out", str(out), "--methods", "identity", "ants-syn"])
    peer = records.read(out).of("ants-syn")
    commands.clear()
    accuracy.main(["--data", str(data), "--out", str(out), "--methods", "lightcrcf"])
    record = records.read(out)
    assert [method.name for method in record.methods] == ["identity", "ants-syn", "lightcrcf"]
    assert record.of("ants-syn") == peer
    assert all("register" in command for command in commands)


def test_results_of_other_tools_are_reused_only_if_asked(data: Path, commands: list[list[str]], tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = accuracy.measure(data, ["ants-syn"], Bench(work, threads=2, reuse=True))
    assert len(commands) == 5
    again = accuracy.measure(data, ["ants-affine", "ants-syn"], Bench(work, threads=2, reuse=True))
    assert len(commands) == 5
    assert again.of("ants-syn") == first.of("ants-syn")


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sub-1101_T1w\.nii\.gz: expected a volume"):
        accuracy.measure(tmp_path, ["identity"], Bench(tmp_path, threads=2))


def test_syn_runs_in_antspyx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []

    def registration(fixed: str, moving: str, type_of_transform: str, outprefix: str) -> dict[str, list[str]]:
        calls.append((fixed, moving, type_of_transform))
        names = [f"{outprefix}{name}" for name in ("1Warp.nii.gz", "0GenericAffine.mat", "1InverseWarp.nii.gz")]
        for name in names:
            Path(name).touch()
        return {"fwdtransforms": names[:2]}

    def apply_transforms(fixed: str, labels: str, transforms: list[str], interpolator: str) -> str:
        calls.append((fixed, labels, len(transforms), interpolator))
        return "moved"

    write_image: Callable[[str, str], int] = lambda image, path: Path(path).write_text(image)  # noqa: E731
    fake = SimpleNamespace(
        image_read=str, registration=registration, apply_transforms=apply_transforms, image_write=write_image
    )
    monkeypatch.setitem(sys.modules, "ants", fake)  # type: ignore[arg-type]
    monkeypatch.setenv("ANTS_RANDOM_SEED", "")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "")
    peers.main(["--fixed", "f", "--moving", "m", "--moving-labels", "l", "--out", str(tmp_path / "out")])
    assert calls == [("f", "m", "SyN"), ("f", "l", 2, "nearestNeighbor"), ("f", "l", 1, "nearestNeighbor")]
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == sorted([peers.WARP, peers.AFFINE, peers.LABELS, peers.AFFINE_LABELS, peers.SUMMARY])
    assert set(json.loads((tmp_path / "out" / peers.SUMMARY).read_text())) == {"seconds", "antspyx"}
