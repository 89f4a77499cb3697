"""What `bench core`, `refine` and `scaling` measure, on volumes that are small; no time is judged."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.engines.base import open_engine
from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.kernels import compose, upsample, warp
from lightcrcf.network.config import multiply_adds
from lightcrcf.weights.store import load
from lightcrcf_bench.accuracy.environments import Environments
from lightcrcf_bench.measure import CommandError
from lightcrcf_bench.publish.cost_goals import cost_goals_text as goals
from lightcrcf_bench.publish.cost_views import core_text, linearity, refine_text, scaling_text, speedup
from lightcrcf_bench.records.cost import (
    CoreRecord,
    GreedyIteration,
    Peaks,
    RefineRecord,
    ScalingRecord,
    ScalingRun,
    Times,
    latest_cost,
    read_cost,
)
from lightcrcf_bench.records.parts import Machine
from lightcrcf_bench.speed import scaling
from lightcrcf_bench.speed.core import compute, necessary_gflop, register_arrays
from lightcrcf_bench.speed.peaks import measure_peaks
from lightcrcf_bench.speed.refinement import measure_refinement, steps, write_pair
from lightcrcf_bench.speed.tracing import trace
from lightcrcf_bench.speed.worker import measured
from lightcrcf_bench.speed.workload import parse_shape, workload

SHAPE = (32, 48, 64)
MACHINE = Machine(cpu="a processor", cores=2, memory_gib=8.0, system="Linux x86_64", python="3.12.0")
COMMON = {"measured": date(2026, 3, 1), "machine": MACHINE, "versions": {"tool": "1"}, "protocol": "By hand.",
          "commands": ("run it",)}  # fmt: skip
PEAKS = Peaks(threads=2, gemm_size=64, gflops={"f32": 100.0, "bf16": 200.0}, copy_gb_per_s=10.0)


@pytest.fixture(scope="module")
def computed() -> dict[str, object]:
    return compute(SHAPE, "brain", 1, "f32", 2, "native", "cpu")


def test_the_parts_are_the_whole(computed: dict[str, object]) -> None:
    """Every layer that runs is in the table, so that nothing large hides outside of it."""
    parts = {part["name"]: part for part in computed["parts"]}  # type: ignore[attr-defined]
    assert parts["decoder 1/8, second"]["calls"] == 6  # three passes, each for both orders of the images
    assert {
        "space to depth", "encoder 1/2", "encoder 1/16", "decoder 1/16, head", "upsample flow 1/8",
        "channels last 1/4", "warp features 1/4", "compose flows 1/8",
    } <= parts.keys()  # fmt: skip
    assert {"upsample field and warp image", "upsample field and warp labels"} <= parts.keys()
    # Antisymmetric levels do again in each pass what they could share of the fixed image.
    every = 2 * multiply_adds(load("brain").config, SHAPE) / 1e9
    assert sum(p["gflop"] for p in parts.values()) == pytest.approx(every, abs=1e-3)


def test_passes_share_what_the_fixed_image_gives() -> None:
    found = compute(SHAPE, "hippocampus-mr", 1, "f32", 2, "native", "cpu")
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["decoder 1/2, second"]["calls"] == 2  # the level makes two passes
    assert parts["decoder 1/2, first, fixed image"]["calls"] == 1
    assert sum(p["gflop"] for p in parts.values()) == pytest.approx(found["gflop"], abs=1e-3)


def test_bytes_are_those_of_the_arrays(computed: dict[str, object]) -> None:
    voxels = np.prod(SHAPE)
    assert computed["mb"] == pytest.approx(voxels * (4 + 4 + 2 + 3 * 4 / 8 + 4 + 2) / 1e6, abs=1e-3)


@pytest.mark.parametrize("name", ["brain", "cardiac-cine"])
def test_what_passes_share_counts_once(name: str) -> None:
    config, shape = load(name).config, (64, 48, 16)
    assert max(config.passes) > 1
    assert 0.8 < necessary_gflop(config, shape) / (2 * multiply_adds(config, shape) / 1e9) < 1
    once = replace(config, passes=(1, 1, 1, 1))
    assert necessary_gflop(once, shape) == 2 * multiply_adds(once, shape) / 1e9


def test_image_and_labels_go_where_the_field_says() -> None:
    """The labels' resampling must mean the same as the image's warp."""
    pair, weights = workload(SHAPE), load("brain")
    field, moved, labels = register_arrays(open_engine(weights, threads=1), pair)
    full = upsample(field, SHAPE)
    np.testing.assert_allclose(moved, warp(pair.moving[None], full)[0], atol=1e-4)
    place = np.stack(np.indices(SHAPE)).astype(np.float32) + full
    inside = np.all([(p > -0.4) & (p < n - 0.6) for p, n in zip(place, SHAPE, strict=True)], axis=0)
    clear = inside & np.all(np.abs(place - np.floor(place) - 0.5) > 1e-3, axis=0)
    nearest = pair.labels[tuple(np.clip(np.rint(p).astype(int), 0, n - 1) for p, n in zip(place, SHAPE, strict=True))]
    assert np.array_equal(labels[clear], nearest[clear])


def test_a_step_is_made_of_its_kernels(tmp_path: Path) -> None:
    write_pair(None, (32, 40, 24), str(tmp_path))
    found = steps(str(tmp_path), 2, 5, 1)
    assert found["shape"] == [16, 20, 12]
    assert len(found["each_ms"]) >= 2
    names = [part["name"] for part in found["parts"]]
    assert {"warp image", "correlation", "force", "smooth", "compose", "look for folds"} <= set(names)
    assert found["mb"] == pytest.approx(8 * 4 * 16 * 20 * 12 / 1e6, abs=1e-3)


def test_refinement_is_compared_with_greedy(tmp_path: Path) -> None:
    pytest.importorskip("picsl_greedy", reason="needs the extra `peers`")
    record = measure_refinement(
        None, "made up", shape=(32, 40, 24), threads=1, count=4, repetitions=1,
        environments=Environments(None), log=lambda _: None, gemm_size=128,
    )  # fmt: skip
    assert [run.scale for run in record.runs] == [2, 1]
    assert [run.greedy.command for run in record.runs] == [
        "greedy -m NCC 2x2x2 -n Nx0, 1 threads",
        "greedy -m NCC 2x2x2 -n N, 1 threads",
    ]
    assert all(run.greedy.failure is None for run in record.runs)
    assert record.peaks.copy_gb_per_s > 0
    record.write(tmp_path / "2026-03-01-refine.json")
    assert latest_cost(tmp_path, "refine") == record
    assert "greedy / ours" in refine_text(record)


def test_greedy_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_self: Environments, tool: str) -> Path:
        raise InputError(tool, expected="it", got="nothing", remedy="none")

    monkeypatch.setattr(Environments, "python", missing)
    record = measure_refinement(
        None, "made up", shape=(32, 40, 24), threads=1, count=3, repetitions=1,
        environments=Environments(tmp_path), log=lambda _: None, gemm_size=128,
    )  # fmt: skip
    assert record.runs[0].greedy.times is None
    assert "greedy: greedy: expected it, got nothing" in refine_text(record)
    assert "| greedy iteration / ours, where it is least | at least 5 | not measured |  |" in goals(record)
    assert "| a step at full resolution, ms | at most 300 | " in goals(record)


def test_an_iteration_of_greedy_is_a_slope() -> None:
    run = GreedyIteration(command="greedy", few=2, many=12, few_seconds=(1.0, 2.0), many_seconds=(2.0, 4.0))
    assert run.times is not None
    assert run.times.each_ms == (100.0, 200.0)


def test_peaks_are_measured_with_each_precision() -> None:
    peaks = measure_peaks(1, ["f32"], size=96)
    assert peaks.gflops.keys() == {"f32"}
    assert peaks.gflops["f32"] > 0


def test_the_floor_is_arithmetic_and_bytes() -> None:
    assert PEAKS.floor_ms(10.0, 50.0, "f32") == pytest.approx(100.0 + 5.0)
    assert PEAKS.floor_ms(10.0, 50.0, "bf16") == pytest.approx(50.0 + 5.0)


def test_a_core_record_tells_its_ratio(computed: dict[str, object], tmp_path: Path) -> None:
    own = {name: value for name, value in computed.items() if name not in ("versions", "parameters")}
    run = {**own, "precision": "f32", "peak_mib": 300.0, "load_before": 9.0, "times": {"each_ms": [30, 20, 40]}}
    record = CoreRecord.model_validate(
        {**COMMON, "model": "brain", "engine": "native", "device": "cpu", "threads": 1, "shape": SHAPE,
         "parameters": 111752, "parameters_training": 250476, "peaks": PEAKS, "runs": [run]}
    )  # fmt: skip
    text = core_text(record)
    floor = record.floor_ms(record.runs[0])
    assert floor is not None
    assert f"| f32 | 30† | 25 to 35 | {floor:.0f} | {30 / floor:.2f} |" in text
    assert "111,752 parameters, 250,476 in training" in text
    assert f"| f32: times the floor | at most 2 | {30 / floor:.2f} | missed by {30 / floor - 2:.2f} |" in goals(record)
    assert "| bf16: times the floor | at most 2 | not measured |  |" in goals(record)
    record.write(tmp_path / "core.json")
    assert read_cost(tmp_path / "core.json") == record


def run_of(shape: tuple[int, int, int], threads: int, ms: float) -> ScalingRun:
    return ScalingRun(
        shape=shape, threads=threads, preset="fast", core=Times(each_ms=(ms,)), step=Times(each_ms=(ms,)),
        command_seconds=1.0, command_peak_mib=100.0, estimate_mib=110.0, working_voxels=1, load_before=0.0,
    )  # fmt: skip


def test_growth_is_judged_by_time_for_each_voxel() -> None:
    failed = ScalingRun(shape=(40, 40, 40), threads=1, preset="fast", failure="not enough memory")
    runs = (run_of((20, 20, 20), 1, 90.0), run_of((20, 20, 40), 1, 220.0), run_of((20, 20, 20), 2, 50.0), failed)
    record = ScalingRecord.model_validate({**COMMON, "model": "brain", "precision": "f32", "runs": runs})
    assert linearity(record, 1) == pytest.approx(0.1)
    assert linearity(record, 2) is None
    assert speedup(record, 1, 2) == pytest.approx(1.8)
    text = scaling_text(record)
    assert "+10 %" in text
    assert "| 40x40x40 | 1 | not enough memory |" in text
    assert "2 threads compute 1.80 times as fast as 1 thread." in text
    assert "| times as fast with 2 threads as with one | at least 1.7 | 1.80 | reached |" in goals(record)
    assert "1 thread, % | at most 20 | 10 | reached |" in goals(record)
    assert "| estimate of memory off, at worst, % | at most 20 | 10 | reached |" in goals(record)


def test_threads_are_compared_call_by_call() -> None:
    shape = (20, 20, 20)
    slower_and_slower = [
        run_of(shape, threads, 1.0).model_copy(update={"core": Times(each_ms=each)})
        for threads, each in ((1, (10.0, 20.0, 90.0, 1.0)), (2, (5.0, 12.0, 45.0)))  # the last one failed
    ]
    record = ScalingRecord.model_validate({**COMMON, "model": "brain", "precision": "f32", "runs": slower_and_slower})
    assert speedup(record, 1, 2) == pytest.approx(2.0)


def test_sizes_that_fail_stay_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def fail(*given: object) -> None:
        commands.append(given)
        raise CommandError("error: not enough memory")

    monkeypatch.setattr(scaling, "run", fail)
    record = scaling.measure_scaling(
        [(16, 24, 32)], [1], model="brain", precision="f32", preset="fast", repetitions=1, log=lambda _: None
    )
    assert record.runs[0].failure == "error: not enough memory"
    assert record.runs[0].core is None
    assert len(commands) == 2  # the first one only compiles


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"format": "lightcrcf-cost", "name": "core"}'])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "core.json").write_text(text)
    with pytest.raises(InputError, match="lightcrcf-cost"):
        read_cost(tmp_path / "core.json")
    with pytest.raises(InputError, match="measure it first"):
        latest_cost(tmp_path, "core")


def test_a_view_of_another_record_is_refused() -> None:
    from lightcrcf_bench.publish.cost_views import COST_VIEWS

    record = RefineRecord.model_validate({**COMMON, "pair": "x", "threads": 1, "peaks": PEAKS, "runs": []})
    with pytest.raises(InputError, match="CoreRecord"):
        COST_VIEWS["compute"](record)


def test_a_worker_that_fails_tells_why() -> None:
    with pytest.raises(CommandError, match="nothing"):
        measured("core", {"shape": [16, 16, 16], "model": "nothing", "threads": 1, "precision": "f32",
                          "repetitions": 1, "engine": "native", "device": "cpu"}, 1)  # fmt: skip


@pytest.mark.parametrize("text", ["160x192", "axbxc", "8x64x64", ""])
def test_shapes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="160x192x160"):
        parse_shape(text)


def test_what_is_watched_inside_of_what_is_watched_counts_once() -> None:
    coarse, residual = np.zeros((3, 2, 3, 4), np.float32), np.zeros((3, 4, 6, 8), np.float32)
    out = np.empty_like(residual)

    def both() -> None:
        compose(upsample(coarse, (4, 6, 8)), residual)

    def given() -> None:
        compose(residual, residual, out)

    file = "geometry/kernels.py"
    events = trace(both, {(file, "upsample"): lambda _: "up", (file, "compose"): lambda _: "compose"})
    assert [event.label for event in events] == ["up", "compose"]
    assert events[1].bytes_moved == 3 * residual.nbytes
    (event,) = trace(given, {(file, "compose"): lambda _: "compose"})
    assert event.bytes_moved == 2 * residual.nbytes  # two arrays in all, one of them named and returned
