"""Cases across contrasts: made of small persons, scored by maps that are known. No tool is needed."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume, read, write
from lightcrcf_bench.accuracy.methods import BenchSettings, MethodResult, RunMetadata
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Images
from lightcrcf_bench.measure import machine
from lightcrcf_bench.smoothness import __main__ as program
from lightcrcf_bench.smoothness import contrasts, known_contrasts
from lightcrcf_bench.smoothness.contrasts import CONTRAST_SETS, contrast_frontier
from lightcrcf_bench.smoothness.known_contrasts import known_rigid, rigid_move
from lightcrcf_bench.smoothness.ladder import DEFAULT, across_ladder, ladder
from lightcrcf_bench.smoothness.study import Rung

SHAPE = (32, 36, 30)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
STILL = Chain(Affine.identity(), None, Affine.identity())


def person(shift: float = 0.0) -> tuple[Volume, Volume]:
    """A brain of shells, ventricle, white and grey matter, and its labels."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    at[0] -= shift
    distance = np.sqrt((at**2).sum(axis=0)) / 0.9
    codes = np.select([distance < 0.3, distance < 0.7, distance < 1], [51, 44, 100], 0).astype(np.int16)
    shades = {0: 0, 51: 60, 44: 220, 100: 140}
    image = np.vectorize(shades.get)(codes) + np.where(codes > 0, 8 * np.sin(9 * at[1]), 0)
    return Volume(image.astype(np.int16), GRID), Volume(codes, GRID)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root, persons = tmp_path / "data", {"train": ["1", "2"], "val": ["7", "8", "9"]}
    (root / "oasis").mkdir(parents=True)
    (root / "contrasts").mkdir()
    (root / "splits.json").write_text(json.dumps({"oasis": persons}))
    for number, subject in enumerate([*persons["train"], *persons["val"], "1101", "1104", "1107", "1110", "1113"]):
        image, labels = person(0.02 * number)
        write(root / f"oasis/sub-{subject}_T1w.nii.gz", image)
        write(root / f"oasis/sub-{subject}_dseg.nii.gz", labels)
    image, _ = person()
    for contrast, scan in (("T1w", image.data), ("T2w", np.where(image.data > 0, 300 - image.data, 0))):
        write(root / f"contrasts/sub-07_{contrast}.nii.gz", Volume(scan.astype(np.int16), GRID))
    return root


@pytest.fixture
def bench(tmp_path: Path) -> BenchSettings:
    return BenchSettings(tmp_path / "work", 1)


def test_the_other_tools_compare_by_mutual_information(bench: BenchSettings) -> None:
    rungs = across_ladder(PROTOCOLS["brain"], bench)
    greedy = rungs["greedy-nmi-1.732-0.7071"]
    assert "-dof 12 -m NMI" in greedy.runner.command
    assert "deformable: -m NMI -n 100x50x10 -s 1.732vox 0.7071vox" in greedy.runner.command
    assert greedy.usual
    assert greedy.runner.title.startswith("greedy NMI")
    assert {"syn-3-0", "elastix-bspline", "convexadam", f"{DEFAULT}-1"} <= set(rungs)
    assert "--model auto" in rungs[f"{DEFAULT}-1"].runner.command


@pytest.mark.parametrize("data_set", CONTRAST_SETS)
def test_the_moving_person_gets_another_contrast(data_set: str, data: Path, bench: BenchSettings) -> None:
    study = contrast_frontier(data_set, data, "val", bench)
    assert (study.name, len(study.planned)) == (f"{data_set}-frontier", 5)
    if data_set != "brain-t2":
        return
    ready = study.planned[0].prepare(bench)
    assert ready.images.fixed_image == data / "oasis/sub-1101_T1w.nii.gz"
    shown, labels = read(ready.images.moving_image), read(data / "oasis/sub-1104_dseg.nii.gz")
    tissue = Chain(Affine.identity(), None, Affine.identity()).resample(labels, shown.grid, "nearest").data
    medians = [float(np.median(shown.data[tissue == code])) for code in (44, 100, 51)]
    assert medians == sorted(medians)  # of a T2: white matter, grey matter, liquor
    figures = ready.score(STILL)
    assert 0.3 < figures["dice"] < 1
    assert figures["ratio_p99_inside"] == 1


def test_ratios_of_a_map_with_its_affine_inside_are_not_told(data: Path, bench: BenchSettings) -> None:
    ready = contrast_frontier("brain-pd", data, "val", bench).planned[0].prepare(bench)
    points = GRID.world(np.moveaxis(np.indices(SHAPE), 0, -1))
    whole = Chain(
        Affine.identity(), DisplacementField.from_world_mm(GRID, (0.1 * points).astype(np.float32)), STILL.after
    )
    figures = ready.score(whole)
    assert not any(name.startswith("ratio") for name in figures)
    assert figures["sdlogj_inside"] == pytest.approx(0, abs=1e-3)


def test_a_rigid_truth_is_found_by_itself(data: Path, bench: BenchSettings) -> None:
    study = known_rigid(data, bench)
    assert len(study.planned) == 12
    case = next(case for case in study.planned if case.name == "1 T2w <- T1w")
    ready, truth = case.prepare(bench), rigid_move(case.name, GRID)
    assert ready.score(Chain(Affine.identity(), None, truth))["error_mean_mm"] == pytest.approx(0, abs=1e-5)
    assert ready.score(STILL)["error_mean_mm"] > 2
    turn = truth.matrix[:3, :3]
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert "--transform rigid" in study.rungs["lightcrcf-rigid"].runner.command
    fixed, moving = (read(file) for file in (ready.images.fixed_image, ready.images.moving_image))
    there = Chain(Affine.identity(), None, truth.inverse()).resample(fixed, moving.grid, "linear").data
    inside = (there > 0) & (moving.data > 0)
    assert np.corrcoef(there[inside], moving.data[inside])[0, 1] < -0.8  # T2 on T1, in place


def test_a_missing_contrast_is_an_error(data: Path, bench: BenchSettings) -> None:
    case = next(case for case in known_rigid(data, bench).planned if "FLAIR" in case.name)
    with pytest.raises(InputError, match="FLAIR"):
        case.prepare(bench)


def test_a_known_field_is_brought_to_both_contrasts(
    data: Path, bench: BenchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = GRID.world(np.moveaxis(np.indices(SHAPE), 0, -1))
    field = DisplacementField.from_world_mm(GRID, (1.5 * np.sin(points / 15)).astype(np.float32))

    def found(_pair: Images, _bench: BenchSettings) -> MethodResult:
        return MethodResult(
            RunMetadata(measured=date(2026, 3, 1), machine=machine()), Chain(STILL.before, field, STILL.after)
        )

    makers = {
        name: Rung(replace(rung.runner, run=found), rung.curve)
        for name, rung in ladder(PROTOCOLS["brain"], bench).items()
    }
    monkeypatch.setattr(known_contrasts, "ladder", lambda _protocol, _bench: makers)
    study = known_contrasts.known_contrasts(data, bench)
    case = next(case for case in study.planned if case.name == "syn-3-0 T2w <- T1w")
    ready = case.prepare(bench)
    errors = ready.score(STILL)
    assert 0.3 < errors["error_mean_mm"] < 4
    assert errors["truth_sdlogj_inside"] > 0.02


def test_the_program_knows_the_studies(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "record.json"
    common = ["--data", str(data), "--out", str(out), "--methods", "identity"]
    assert program.main(["known-rigid", *common, "--cases", "1"]) == 0
    assert program.main(["frontier", "--data-set", "brain-t2", *common, "--cases", "1"]) == 3
    assert "the same cases" in capsys.readouterr().err
    assert contrasts.CONTRAST_SETS["brain-t2"] == "T2"
