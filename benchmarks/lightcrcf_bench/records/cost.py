"""Records of computing costs: the network with its warps, a refinement step, and scaling.

They lie beside the records of accuracy in `benchmarks/history`, `DATE-core.json`, `DATE-refine.json` and
`DATE-scaling.json`. Every time that was taken is kept; medians, spreads and ratios are computed from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from lightcrcf_bench.records.history import newest, parsed
from lightcrcf_bench.records.parts import Measurement, Strict

__all__ = [
    "COSTS", "CoreRecord", "CoreRun", "CostRecord", "GreedyIteration", "Part", "Peaks", "RefineRecord", "RefineRun",
    "ScalingRecord", "ScalingRun", "Times", "latest_cost", "read_cost",
]  # fmt: skip

COSTS = ("core", "refine", "scaling")
Shape = tuple[int, int, int]


class Times(Strict):
    """Milliseconds of each repetition, in the order they were taken."""

    each_ms: Annotated[tuple[float, ...], Field(min_length=1)]

    @property
    def median_ms(self) -> float:
        """Half of the repetitions took less."""
        return median(self.each_ms)

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """A quarter of the repetitions took less than the first, a quarter more than the second.

        Example:
            >>> Times(each_ms=(4, 1, 2, 3, 5)).quartiles_ms
            (2.0, 4.0)
        """
        if len(self.each_ms) == 1:
            return self.each_ms[0], self.each_ms[0]
        low, _, high = quantiles(self.each_ms, n=4, method="inclusive")
        return low, high


class Peaks(Strict):
    """Peak throughput of the machine, measured in the same run.

    Args:
        threads: that were used.
        gemm_size: rows and columns of the square matrices.
        gflops: of their product, by precision.
        copy_gb_per_s: bytes read plus bytes written when a large array is copied.
    """

    threads: int
    gemm_size: int
    gflops: dict[str, float]
    copy_gb_per_s: float

    def floor_ms(self, gflop: float, mb: float, precision: str) -> float:
        """Return the lower bound in milliseconds of this arithmetic and these arrays on this machine."""
        return 1e3 * gflop / self.gflops[precision] + mb / self.copy_gb_per_s


class Part(Strict):
    """Time of all calls of one function at one resolution, in one repetition.

    Args:
        name: for people.
        calls: in one repetition.
        ms: median over repetitions of their sum.
        gflop: of its convolutions.
        mb: of the arrays that go in and out, in 10^6 bytes.
    """

    name: str
    calls: int
    ms: float
    gflop: float = 0.0
    mb: float = 0.0


class CoreRun(Strict):
    """Arrays in, arrays out, with one precision.

    Args:
        precision: of the convolutions.
        times: of the whole.
        parts: of it.
        gflop: of the convolutions, counted in the graphs that run; a multiply-add is two.
        mb: of the arrays that go in and come out, in 10^6 bytes.
        prepare_ms: compiling the graphs for this shape, before.
        peak_mib: largest resident memory of the process.
        device_peak_mib: largest memory that was taken of an accelerator.
        load_before: one-minute load average when it began.
    """

    precision: str
    times: Times
    parts: tuple[Part, ...]
    gflop: float
    mb: float
    prepare_ms: float
    peak_mib: float
    device_peak_mib: float | None = None
    load_before: float


class _Cost(Measurement):
    format: Literal["lightcrcf-cost"] = "lightcrcf-cost"

    def write(self, path: Path) -> None:
        """Write JSON with one line per run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_lines(json.loads(self.model_dump_json())), encoding="utf-8")


class CoreRecord(_Cost):
    """`lightcrcf bench core`."""

    name: Literal["core"] = "core"
    model: str
    engine: str
    device: str
    threads: int
    shape: Shape
    parameters: int
    parameters_training: int | None = None
    peaks: Peaks
    runs: tuple[CoreRun, ...]

    def floor_ms(self, run: CoreRun) -> float | None:
        """Return the lower bound of the time of a run; None if the peaks are of another device."""
        return self.peaks.floor_ms(run.gflop, run.mb, run.precision) if self.device == "cpu" else None


class GreedyIteration(Strict):
    """One iteration of greedy with the same window on the same pair: the slope between few and many of them.

    Args:
        command: what was run, with `N` iterations.
        few, many: numbers of iterations.
        few_seconds, many_seconds: of the call alone, volumes in memory; one for each repetition, alternating.
        failure: why there are none.
    """

    command: str
    few: int
    many: int
    few_seconds: tuple[float, ...] = ()
    many_seconds: tuple[float, ...] = ()
    failure: str | None = None

    @property
    def times(self) -> Times | None:
        """Milliseconds of an iteration; None if it could not be run."""
        slopes = [
            1e3 * (many - few) / (self.many - self.few)
            for few, many in zip(self.few_seconds, self.many_seconds, strict=True)
        ]
        return Times(each_ms=tuple(slopes)) if slopes else None


class RefineRun(Strict):
    """A refinement step at one resolution.

    Args:
        scale: 1 for full resolution, 2 for half.
        shape: of the images at it.
        times: of each step.
        parts: of one step.
        mb: the floor's bytes: both images read, the field read and written, once, in 10^6 bytes.
        radius: of the correlation window.
        peak_mib: largest resident memory of the process.
        load_before: one-minute load average when it began.
        greedy: what it is compared with.
    """

    scale: int
    shape: Shape
    times: Times
    parts: tuple[Part, ...]
    mb: float
    radius: int
    peak_mib: float
    load_before: float
    greedy: GreedyIteration


class RefineRecord(_Cost):
    """`lightcrcf bench refine`."""

    name: Literal["refine"] = "refine"
    pair: str
    threads: int
    peaks: Peaks
    runs: tuple[RefineRun, ...]


class ScalingRun(Strict):
    """One size with one number of threads.

    Args:
        shape: of both images, 1 mm voxels.
        threads: of everything.
        core: the network and its warps, arrays in, arrays out.
        step: one refinement step at full resolution.
        command_seconds: the whole command, from files to files.
        command_peak_mib: its largest resident memory.
        estimate_mib: what the program expects it to need.
        working_voxels: of the grid that it worked on.
        failure: why there is nothing more.
    """

    shape: Shape
    threads: int
    preset: str
    core: Times | None = None
    step: Times | None = None
    command_seconds: float | None = None
    command_peak_mib: float | None = None
    estimate_mib: float | None = None
    working_voxels: int | None = None
    load_before: float | None = None
    failure: str | None = None

    @property
    def voxels(self) -> int:
        """Number of voxels of one image."""
        return self.shape[0] * self.shape[1] * self.shape[2]


class ScalingRecord(_Cost):
    """`lightcrcf bench scaling`."""

    name: Literal["scaling"] = "scaling"
    model: str
    precision: str
    runs: tuple[ScalingRun, ...]

    def of(self, threads: int) -> list[ScalingRun]:
        """Return the runs with that number of threads, small to large."""
        return sorted((run for run in self.runs if run.threads == threads), key=lambda run: run.voxels)


CostRecord = CoreRecord | RefineRecord | ScalingRecord
_ANY: TypeAdapter[CostRecord] = TypeAdapter(Annotated[CostRecord, Field(discriminator="name")])


def read_cost(path: Path) -> CostRecord:
    """Read and validate a record.

    Raises:
        InputError: if the file is no valid record.
    """
    return parsed(path, _ANY.validate_json, "format lightcrcf-cost 1")


def latest_cost(folder: Path, name: str) -> CostRecord:
    """Return the newest record of that name in a folder of `DATE-NAME.json` files.

    Raises:
        InputError: if there is none.
    """
    return read_cost(newest(folder, name))


def _lines(values: dict[str, object]) -> str:
    entries = []
    for key, value in values.items():
        if key == "runs" and isinstance(value, list):
            text = "[\n  " + ",\n  ".join(json.dumps(run, ensure_ascii=False) for run in value) + "\n ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        entries.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}\n"
