"""Targets of the project for speed and memory."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from lightcrcf_bench.publish.cost_views import linearity, speedup
from lightcrcf_bench.publish.goals import Goal, goals_text
from lightcrcf_bench.records.cost import CoreRecord, RefineRecord, ScalingRecord
from lightcrcf_bench.records.schema import Record

__all__ = ["cost_goals_text", "peer_goals_text"]


def _times_the_floor(precision: str) -> Callable[[CoreRecord], float | None]:
    def measure(record: CoreRecord) -> float | None:
        run = next((run for run in record.runs if run.precision == precision), None)
        floor = None if run is None else record.floor_ms(run)
        return None if run is None or floor is None else run.times.median_ms / floor

    return measure


_CORE = (
    Goal("f32: times the floor", 2, _times_the_floor("f32"), at_most=True, digits=2),
    Goal("bf16: times the floor", 2, _times_the_floor("bf16"), at_most=True, digits=2),
)


def _step_ms(scale: int) -> Callable[[RefineRecord], float | None]:
    return lambda record: next((run.times.median_ms for run in record.runs if run.scale == scale), None)


def _greedy_by_ours(record: RefineRecord) -> float | None:
    """Return the smallest ratio of greedy's time to ours over resolutions."""
    ratios = [run.greedy.times.median_ms / run.times.median_ms for run in record.runs if run.greedy.times]
    return min(ratios, default=None)


_REFINE = (
    Goal("a step at 1/2, ms", 40, _step_ms(2), at_most=True, digits=0),
    Goal("a step at full resolution, ms", 300, _step_ms(1), at_most=True, digits=0),
    Goal("greedy iteration / ours, where it is least", 5, _greedy_by_ours, digits=1),
)


def _speedup(record: ScalingRecord) -> float | None:
    counts = sorted({run.threads for run in record.runs})
    return speedup(record, counts[0], counts[-1]) if len(counts) > 1 else None


def _worst_estimate(record: ScalingRecord) -> float | None:
    """Return the largest error of the memory estimate, in percent of the measured memory."""
    runs = ((run.estimate_mib, run.command_peak_mib) for run in record.runs)
    return max((100 * abs(estimate / taken - 1) for estimate, taken in runs if estimate and taken), default=None)


def _unevenness(threads: int) -> Callable[[ScalingRecord], float | None]:
    def measure(record: ScalingRecord) -> float | None:
        share = linearity(record, threads)
        return None if share is None else 100 * share

    return measure


_SCALING = (
    Goal("compute for each voxel off its mean, 2 threads, %", 20, _unevenness(2), at_most=True, digits=0),
    Goal("compute for each voxel off its mean, 1 thread, %", 20, _unevenness(1), at_most=True, digits=0),
    Goal("times as fast with 2 threads as with one", 1.7, _speedup, digits=2),
    Goal("estimate of memory off, at worst, %", 20, _worst_estimate, at_most=True, digits=0),
)


def _forward_ms(record: Record, network: str) -> float | None:
    return next((median(f.each_ms) for f in record.forwards if f.name == network and f.each_ms), None)


def _syn_by_ours(record: Record) -> float | None:
    ours, calls = _forward_ms(record, "lightcrcf"), record.summary.get("ants-syn", {}).get("call_seconds")
    return None if ours is None or calls is None else 1000 * calls.median / ours


def _voxelmorph_by_ours(record: Record) -> float | None:
    ours, theirs = _forward_ms(record, "lightcrcf"), _forward_ms(record, "voxelmorph")
    return None if ours is None or theirs is None else theirs / ours


def _command(method: str, measure: str) -> Callable[[Record], float | None]:
    def measured(record: Record) -> float | None:
        spread = record.summary.get(method, {}).get(measure)
        return None if spread is None else spread.median

    return measured


_PEER: dict[str, tuple[Goal[Record], ...]] = {
    "oasis-peers": (
        Goal("ANTs SyN, its call / ours, network and warp", 200, _syn_by_ours, digits=0),
        Goal("VoxelMorph, forward and warp / ours", 15, _voxelmorph_by_ours, digits=1),
        Goal("the whole command, fast, s", 4, _command("lightcrcf-fast", "seconds"), at_most=True, digits=1),
        Goal("the whole command, default, s", 7, _command("lightcrcf-default", "seconds"), at_most=True, digits=1),
        Goal("memory of fast, MiB", 700, _command("lightcrcf-fast", "peak_mib"), at_most=True, digits=0),
    )
}


def cost_goals_text(record: object) -> str:
    """Return a table of the goals for a record of cost."""
    match record:
        case CoreRecord():
            return goals_text(_CORE, record)
        case RefineRecord():
            return goals_text(_REFINE, record)
        case ScalingRecord():
            return goals_text(_SCALING, record)
    raise TypeError(f"goals of a {type(record).__name__}")


def peer_goals_text(record: Record) -> str:
    """Return a table of the goals for tools side by side."""
    return goals_text(_PEER.get(record.name, ()), record)
