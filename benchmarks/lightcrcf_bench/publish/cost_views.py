"""Tables of the records of cost, for documents and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.cost import CoreRecord, Part, Peaks, RefineRecord, ScalingRecord, ScalingRun, Times
from lightcrcf_bench.records.parts import Machine
from lightcrcf_bench.records.schema import BUSY

__all__ = ["COST_VIEWS", "core_text", "linearity", "refine_text", "scaling_text", "speedup"]


def core_text(record: CoreRecord) -> str:
    """Return a row for each precision, where its time goes, and how it was measured."""
    return "\n".join([_core(record), *(f"\n{_core_parts(record, run.precision)}" for run in record.runs)])


def refine_text(record: RefineRecord) -> str:
    """Return a row for each resolution, where its time goes, and how it was measured."""
    parts = (f"\nAt 1/{run.scale}:\n\n{_parts(run.parts, record.peaks, 'f32')}" for run in record.runs)
    return "\n".join([_refine(record), *parts])


def scaling_text(record: ScalingRecord) -> str:
    """Return a row for each size and number of threads, and what follows."""
    header = (
        "size", "threads", "compute, ms", "per 10⁶ voxels", "step, ms", "command, s", "peak, MiB", "expected", "off by"
    )  # fmt: skip
    rows = [_scaling_row(run, record.machine) for run in record.runs]
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in _scaling_notes(record))])


def linearity(record: ScalingRecord, threads: int) -> float | None:
    """Return the largest relative deviation of the time per voxel from its mean over sizes; None for one size.

    1 means that a size takes twice the mean or nothing.
    """
    per_voxel = [run.core.median_ms / run.voxels for run in record.of(threads) if run.core]
    if len(per_voxel) < 2:
        return None
    mean = float(np.mean(per_voxel))
    return max(abs(value / mean - 1) for value in per_voxel)


def speedup(record: ScalingRecord, one: int, many: int) -> float | None:
    """Return the median speed-up of `many` threads over `one` across sizes, from alternating calls.

    Where one failed in a later round, the calls before that count.
    """
    times = {(run.shape, run.threads): run.core.each_ms for run in record.runs if run.core}
    ratios = [
        np.median([alone / together for alone, together in zip(times[shape, one], each, strict=False)])
        for (shape, n), each in times.items()
        if n == many and (shape, one) in times
    ]
    return float(np.median(ratios)) if ratios else None


def _core(record: CoreRecord) -> str:
    header = (
        "precision", "median, ms", "quartiles, ms", "floor, ms", "times the floor", "GFLOP", "compiling, ms",
        "peak, MiB",
    )  # fmt: skip
    rows = []
    for run in record.runs:
        floor = record.floor_ms(run)
        rows.append(
            (
                run.precision,
                f"{run.times.median_ms:.0f}{_busy(run.load_before, record.machine)}",
                _quartiles(run.times),
                "" if floor is None else f"{floor:.0f}",
                "" if floor is None else f"{run.times.median_ms / floor:.2f}",
                f"{run.gflop:.1f}",
                f"{run.prepare_ms:.0f}",
                f"{run.peak_mib:.0f}" + (f" (GPU {run.device_peak_mib:.0f})" if run.device_peak_mib else ""),
            )
        )
    trained = "" if record.parameters_training is None else f", {record.parameters_training:,} in training"
    notes = [
        f"{'x'.join(map(str, record.shape))} voxels, {record.model}, {record.parameters:,} parameters{trained}; "
        f"{record.engine} on {record.device}. {record.protocol}",
        _machine(record, record.peaks),
    ]
    if any(_busy(run.load_before, record.machine) for run in record.runs):
        notes.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _core_parts(record: CoreRecord, precision: str) -> str:
    run = next((run for run in record.runs if run.precision == precision), None)
    if run is None:
        return f"No run in {precision}: this processor does not have it."
    return f"Where the time goes, {precision}:\n\n{_parts(run.parts, record.peaks, precision)}"


def _parts(parts: Sequence[Part], peaks: Peaks, precision: str) -> str:
    """Render the time of each part with its lower bound, input and output arrays included."""
    total = sum(part.ms for part in parts)
    header = ("part", "calls", "ms", "share, %", "GFLOP", "MB", "own floor, ms")
    rows = [
        (
            part.name,
            str(part.calls),
            f"{part.ms:.1f}",
            f"{100 * part.ms / total:.0f}",
            f"{part.gflop:.2f}" if part.gflop else "",
            f"{part.mb:.0f}",
            f"{peaks.floor_ms(part.gflop, part.mb, precision):.1f}",
        )
        for part in parts
    ]
    return "\n".join(table(header, rows))


def _refine(record: RefineRecord) -> str:
    header = (
        "resolution", "size", "window", "step, ms", "quartiles, ms", "floor, ms", "times the floor",
        "greedy iteration, ms", "greedy / ours",
    )  # fmt: skip
    rows, notes = [], []
    for run in record.runs:
        floor, greedy = record.peaks.floor_ms(0.0, run.mb, "f32"), run.greedy.times
        rows.append(
            (
                "full" if run.scale == 1 else f"1/{run.scale}",
                "x".join(map(str, run.shape)),
                f"{2 * run.radius + 1}³",
                f"{run.times.median_ms:.0f}{_busy(run.load_before, record.machine)}",
                _quartiles(run.times),
                f"{floor:.1f}",
                f"{run.times.median_ms / floor:.1f}",
                f"{greedy.median_ms:.0f}" if greedy else "none",
                f"{greedy.median_ms / run.times.median_ms:.1f}" if greedy else "",
            )
        )
        if run.greedy.failure:
            notes.append(f"greedy: {run.greedy.failure}")
    notes = [f"{record.pair}. {record.protocol}", _machine(record, record.peaks), *notes]
    if any(_busy(run.load_before, record.machine) for run in record.runs):
        notes.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _scaling_row(run: ScalingRun, machine: Machine) -> tuple[str, ...]:
    size = "x".join(map(str, run.shape))
    if run.core is None or run.step is None or run.command_peak_mib is None or run.estimate_mib is None:
        return (size, str(run.threads), run.failure or "", *[""] * 6)
    return (
        size,
        str(run.threads),
        f"{run.core.median_ms:.0f}{_busy(run.load_before or 0.0, machine)}",
        f"{1e6 * run.core.median_ms / run.voxels:.0f}",
        f"{run.step.median_ms:.0f}",
        f"{run.command_seconds:.1f}",
        f"{run.command_peak_mib:.0f}",
        f"{run.estimate_mib:.0f}",
        f"{100 * (run.estimate_mib / run.command_peak_mib - 1):+.0f} %",
    )


def _scaling_notes(record: ScalingRecord) -> list[str]:
    preset = record.runs[0].preset
    notes = [f"{record.model}, {record.precision}, preset {preset}. {record.protocol}", _machine(record, None)]
    counts = sorted({run.threads for run in record.runs})
    for count in counts:
        if (off := linearity(record, count)) is not None:
            notes.append(f"With {_threads(count)}, compute for each voxel is within {100 * off:.0f} % of its mean.")
    if len(counts) > 1 and (factor := speedup(record, counts[0], counts[-1])) is not None:
        notes.append(f"{counts[-1]} threads compute {factor:.2f} times as fast as {_threads(counts[0])}.")
    if any(_busy(run.load_before or 0.0, record.machine) for run in record.runs):
        notes.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    return notes


def _machine(record: CoreRecord | RefineRecord | ScalingRecord, peaks: Peaks | None) -> str:
    where = record.machine
    text = f"{where.cpu}, {where.cores} cores, {record.measured.isoformat()}"
    if peaks is not None:
        products = ", ".join(f"{value:.0f} GFLOP/s {name}" for name, value in peaks.gflops.items())
        text += f", {peaks.threads} threads; a large matrix product reaches {products}, a copy "
        text += f"{peaks.copy_gb_per_s:.1f} GB/s (read plus written)"
    return f"{text}{f'; {record.note}' if record.note else ''}."


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _busy(load: float, machine: Machine) -> str:
    """Return a dagger if the load was more than the benchmark's own last run can have left."""
    return BUSY if load > machine.cores + 1 else ""


def _quartiles(times: Times) -> str:
    low, high = times.quartiles_ms
    return f"{low:.0f} to {high:.0f}"


def _of(kind: type, view: Callable[[Any], str], record: object) -> str:
    if not isinstance(record, kind):
        raise InputError("a table", expected=f"a {kind.__name__}", got=type(record).__name__, remedy="name its view")
    return view(record)


COST_VIEWS: dict[str, Callable[[object], str]] = {
    "compute": partial(_of, CoreRecord, _core),
    "parts-f32": partial(_of, CoreRecord, partial(_core_parts, precision="f32")),
    "parts-bf16": partial(_of, CoreRecord, partial(_core_parts, precision="bf16")),
    "steps": partial(_of, RefineRecord, refine_text),
    "sizes": partial(_of, ScalingRecord, scaling_text),
}
