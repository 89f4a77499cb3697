"""What is measured: cases of small made-up persons, scored by maps that are known. No tool is needed."""

import csv
import json
from collections.abc import Callable
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
from lightcrcf_bench.smoothness import known
from lightcrcf_bench.smoothness.frontier import LUNG, frontier
from lightcrcf_bench.smoothness.ladder import DEFAULT, GREEDY, SMOOTHNESS, SYN, ladder
from lightcrcf_bench.smoothness.record import SmoothnessRecord, read_smoothness, write_smoothness
from lightcrcf_bench.smoothness.rescans import rescans, same_person
from lightcrcf_bench.smoothness.simulate import biased, left, noise_level, noisy, random_of, shifted
from lightcrcf_bench.smoothness.study import Rung

Maker = Callable[..., SmoothnessRecord]
SHAPE = (30, 36, 28)
OBLIQUE = np.array([[0, -2.0, 0.2, 30.0], [1.9, 0, 0, -9], [0, 0.2, 2.1, 4], [0, 0, 0, 1]])
STILL = Chain(Affine.identity(), None, Affine.identity())


def brain(centre: tuple[float, float, float] = (0, 0, 0), background: float = 0.0) -> Volume:
    """An ellipsoid with some texture."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    at -= np.array(centre)[:, None, None, None]
    distance = np.sqrt((at**2 * np.array([1.6, 1.3, 1.9])[:, None, None, None]).sum(axis=0))
    texture = 300 + 120 * np.sin(9 * at[0]) * np.cos(7 * at[1]) + 90 * np.sin(8 * at[2] + 3 * at[0])
    return Volume(np.where(distance < 1, texture, background).astype(np.float32), Grid(SHAPE, OBLIQUE))


def translation(vector: tuple[float, float, float]) -> Chain:
    matrix = np.eye(4)
    matrix[:3, 3] = vector
    return Chain(Affine.identity(), None, Affine(matrix))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three persons of each split in `oasis`, three in `chaos-t2` and `acdc`, and a pair of lungs."""
    root, persons = tmp_path / "data", {"train": ["1", "2", "3"], "val": ["7", "8", "9"]}
    root.mkdir()
    (root / "splits.json").write_text(json.dumps({"oasis": persons, "chaos-t2": persons, "acdc": persons}))
    for number, subject in enumerate([*persons["train"], *persons["val"]]):
        image = brain((0.05 * number, 0, -0.04 * number))
        labels = Volume((image.data > 0).astype(np.int16) * (1 + (np.indices(SHAPE)[1] > 17)), image.grid)
        for name, volume in (
            (f"oasis/sub-{subject}_T1w", image), (f"oasis/sub-{subject}_dseg", labels),
            (f"chaos-t2/sub-{subject}_T2w", image), (f"acdc/{subject}_ED", image),
        ):  # fmt: skip
            (root / name).parent.mkdir(exist_ok=True)
            write(root / f"{name}.nii.gz", replace(volume, data=volume.data.astype(np.int16)))
    (root / "lung-ct").mkdir()
    for who in ("baseline", "followup"):
        write(root / f"lung-ct/{who}.mha", brain())
        write(root / f"lung-ct/{who}_mask.mha", replace(brain(), data=(brain().data > 0).astype(np.uint8)))
    with (root / "lung-ct/landmarks_ras_mm.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([list("xyzabc"), [0, 0, 0, 3, 0, 4], [1, 2, 3, 1, 2, 3]])
    return root


@pytest.fixture
def bench(tmp_path: Path) -> BenchSettings:
    return BenchSettings(tmp_path / "work", 2)


def test_the_ladder_says_each_tools_smoothing(bench: BenchSettings) -> None:
    rungs = ladder(PROTOCOLS["brain"], bench)
    assert len(SMOOTHNESS) >= 8
    assert (len(GREEDY), len(SYN)) == (5, 4)
    assert (min(SMOOTHNESS), max(SMOOTHNESS)) == (0.25, 4)
    assert "--preset default --threads 2 --smoothness 0.25" in rungs[f"{DEFAULT}-0.25"].runner.command
    assert "-n 100x50x10 -s 2.4vox 1vox -wp 0" in rungs["greedy-2.4-1"].runner.command
    assert "deformable: SyN 3 0.5" in rungs["syn-3-0.5"].runner.command
    usual = [name for name, rung in rungs.items() if rung.usual and rung.smoothness]
    assert usual == [f"{DEFAULT}-1", "greedy-1.732-0.7071", "syn-3-0"]
    hearts = ladder(PROTOCOLS["cardiac"], bench)["greedy-4-2"].runner.command
    assert "deformable: -m NCC 4x4x1 -n 100 -s 4vox 2vox" in hearts
    assert "lightcrcf-fast" not in ladder(PROTOCOLS["heads"], bench)  # no network


def test_training_persons_are_paired_as_the_others(data: Path, bench: BenchSettings) -> None:
    study = frontier("brain", data, "train", bench)
    assert study.name == "brain-frontier-train"
    assert study.data.names == ("1 <- 2", "2 <- 3", "3 <- 1")
    assert [case.name for case in study.planned] == list(study.data.names)
    figures = study.planned[0].prepare(bench).score(STILL)
    assert 0.5 < figures["dice"] < 1
    assert figures["sdlogj_inside"] == 0
    with pytest.raises(InputError, match="one person only"):
        frontier(LUNG, data, "train", bench)
    with pytest.raises(InputError, match="hippocampus"):
        frontier("hippocampus", data, "train", bench)


def test_lungs_have_masks_and_landmarks(data: Path, bench: BenchSettings) -> None:
    study = frontier(LUNG, data, "val", bench)
    ready = study.planned[0].prepare(bench)
    assert ready.score(STILL)["target_error_mm"] == pytest.approx(2.5)
    assert ready.images.fixed_mask == data / "lung-ct/baseline_mask.mha"
    assert ready.images.moving_mask == data / "lung-ct/followup_mask.mha"


def test_one_person_twice_is_scored_by_likeness(data: Path, bench: BenchSettings) -> None:
    (data / "oasis-trt-asl").mkdir()
    for one, other in (("1000", "01"), ("1001", "02")):
        write(data / f"oasis/sub-{one}_T1w.nii.gz", brain())
        write(data / f"oasis-trt-asl/sub-{other}_T1w.nii.gz", brain())
    study = same_person(data, bench)
    assert study.data.names == ("1000 <- trt-01", "1001 <- trt-02")
    ready = study.planned[1].prepare(bench)
    assert ready.score(STILL)["correlation"] == pytest.approx(1)
    assert ready.score(translation((3, 0, 0)))["correlation"] < 0.9


@pytest.mark.parametrize("anatomy", ["brain", "cardiac", "abdomen"])
def test_a_rescan_is_the_image_moved_by_the_shift(anatomy: str, data: Path, bench: BenchSettings) -> None:
    study = rescans(anatomy, data, "val", bench)
    assert study.name == f"{anatomy}-rescans"
    ready = study.planned[0].prepare(bench)
    fixed, moving = (read(path) for path in (ready.images.fixed_image, ready.images.moving_image))
    shift = fixed.grid.affine[:3, :3] @ np.array([0.3, -0.4, 0.2])
    assert ready.score(translation(tuple(shift)))["residual_mm"] == pytest.approx(0, abs=1e-6)
    assert ready.score(STILL)["residual_mm"] == pytest.approx(float(np.linalg.norm(shift)))
    inside = np.zeros(SHAPE, bool)
    inside[10:-10, 12:-12, 9:-9] = True
    apart = [
        float(np.abs(chain.resample(moving, fixed.grid, "linear").data - fixed.data)[inside].mean())
        for chain in (translation(tuple(shift)), translation(tuple(-shift)), STILL)
    ]
    assert apart[0] < 0.85 * min(apart[1:])  # the rest is bias and noise


def test_bias_and_noise_are_as_strong_as_said() -> None:
    flat = Volume(np.full(SHAPE, 100, np.float32), Grid(SHAPE, OBLIQUE * np.array([4.0, 4, 4, 1])))
    field = biased(flat, 20, random_of("a")).data
    assert (field.min(), field.max()) == (pytest.approx(90, abs=0.1), pytest.approx(110, abs=0.1))
    assert np.abs(np.diff(field, axis=0)).max() < 5
    scan = noisy(flat, 3, random_of("b"))
    assert noise_level(scan) == pytest.approx(3, rel=0.15)
    assert np.array_equal(scan.data, noisy(flat, 3, random_of("b")).data)
    assert not noisy(replace(flat, data=np.zeros(SHAPE, np.float32)), 3, random_of("b")).data.any()
    assert shifted(flat, np.zeros(3)).data[5, 5, 5] == 100


def test_other_images_have_other_places(tmp_path: Path) -> None:
    one, other = brain(), brain((0.1, 0, 0))
    places = [left(tmp_path, "a", *pair) for pair in ((one, other), (one, other), (other, one))]
    assert places[0] == places[1]
    assert places[0].fixed != places[2].fixed
    assert np.array_equal(read(places[2].fixed_image).data, other.data)


def known_field(images: Images) -> Chain:
    """A smooth one between two persons, and an affine that is to be left aside."""
    field = known_field_on(read(images.fixed_image).grid)
    return Chain(Affine.identity(), field, translation((40, 0, 0)).after)


def known_field_on(grid: Grid) -> DisplacementField:
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return DisplacementField.from_world_mm(grid, (2.0 * np.sin(world / 12.0)).astype(np.float32))


@pytest.fixture
def deformed(data: Path, bench: BenchSettings) -> known.Study:
    """The study, whose truths are `known_field` instead of what a tool finds."""
    study = known.known_deformation(data, "train", bench)
    images = {person: data / f"oasis/sub-{person}_T1w.nii.gz" for person in "123"}

    def found(pair: Images, _bench: BenchSettings) -> MethodResult:
        return MethodResult(RunMetadata(measured=date(2026, 3, 1), machine=machine()), known_field(pair))

    maker = Rung(replace(study.rungs["syn-3-0"].runner, run=found), "syn")
    ready = known._prepared(maker, ("1", "2", "3"), images, bench)
    return replace(study, planned=[known.Planned("syn-3-0 1 <- 2 on 3", lambda _bench: ready)])


def test_the_truth_is_the_deformation_brought_to_another_person() -> None:
    there = translation((5, -3, 2)).after
    field = known_field_on(Grid(SHAPE, OBLIQUE))
    truth = known.conjugated(Chain(Affine.identity(), field, translation((40, 0, 0)).after), there)
    points = np.array([[10.0, 20, 30], [0, 5, 20]])
    assert truth.points(points) == pytest.approx(there.inverse().points(field.points(there.points(points))))


def test_a_known_field_is_measured_as_a_whole_map(deformed: known.Study, data: Path, bench: BenchSettings) -> None:
    assert len(deformed.data.names) == 3 * len(known.MAKERS)
    ready = deformed.planned[0].prepare(bench)
    fixed, moving = (read(path) for path in (ready.images.fixed_image, ready.images.moving_image))
    assert (fixed.data > 0).any()
    nothing = ready.score(STILL)
    assert nothing["error_mean_mm"] > 1
    assert nothing["error_p95_mm"] > nothing["error_median_mm"]
    assert nothing["truth_sdlogj_inside"] > 0.05
    first = read(data / "oasis/sub-1_T1w.nii.gz")
    there = known.align(read(data / "oasis/sub-3_T1w.nii.gz"), first).affine
    truth = known.conjugated(Chain(Affine.identity(), known_field_on(first.grid), Affine.identity()), there)
    right = ready.score(truth)
    assert right["error_p95_mm"] == pytest.approx(0, abs=1e-4)
    assert right["sdlogj_inside"] == pytest.approx(right["truth_sdlogj_inside"])
    inside = np.zeros(SHAPE, bool)
    inside[10:-10, 12:-12, 9:-9] = True
    apart = [
        float(np.abs(chain.resample(moving, fixed.grid, "linear").data - fixed.data)[inside].mean())
        for chain in (truth, STILL)
    ]
    assert apart[0] < 0.5 * apart[1]


def test_a_truth_that_failed_is_no_case(data: Path, bench: BenchSettings) -> None:
    study = known.known_deformation(data, "train", replace(bench, model="no-such-model"))
    ours = next(case for case in study.planned if case.name.startswith(DEFAULT))
    with pytest.raises(InputError, match="see why it failed"):
        ours.prepare(bench)


def test_the_program_measures_and_merges(
    data: Path, make_record: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "2026-03-01-brain-frontier-train.json"
    words = ["frontier", "--data-set", "brain", "--split", "train", "--data", str(data), "--out", str(out)]
    assert program.main([*words, "--methods", "identity", "--cases", "2"]) == 0
    assert [trial.case for trial in read_smoothness(out).trials] == ["1 <- 2", "2 <- 3"]
    assert program.main([*words, "--methods", "identity"]) == 0
    assert len(read_smoothness(out).trials) == 3
    assert program.main([*words, "--methods", "nobody"]) == 2
    assert "error: --methods" in capsys.readouterr().err
    parts = [tmp_path / f"{n}.json" for n in range(2)]
    for part, method in zip(parts, ("greedy-2", "syn-3-0"), strict=True):
        write_smoothness(part, make_record({method: [(0.3, 0.6)]}))
    assert program.main(["merge", *map(str, parts), "--out", str(tmp_path / "both.json")]) == 0
    assert read_smoothness(tmp_path / "both.json").curves() == ["greedy", "syn"]
