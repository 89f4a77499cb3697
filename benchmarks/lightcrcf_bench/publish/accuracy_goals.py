"""Targets of the project on each accuracy protocol.

Methods are compared by their mean difference over the pairs that both have, so one that ran on a few of them counts.
Their times are compared where they were taken on one day, on a machine that was busy for both or for neither.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, median

from lightcrcf_bench.publish.goals import Goal
from lightcrcf_bench.records.parts import Method
from lightcrcf_bench.records.schema import Record

__all__ = ["ACCURACY_GOALS"]

_LABELS = "lightcrcf-fast@hippocampus-mr-labels"


def _mean(record: Record, method: str, measure: str) -> float | None:
    if method not in record.summary:
        return None
    spread = record.summary[method].get(measure)
    return None if spread is None else spread.mean


def _difference(record: Record, ours: str, other: str, measure: str) -> float | None:
    """Return a measure of ours minus that of another method, mean over the pairs that have both."""
    both = record.shared((ours, other), measure)
    return fmean(mine - its for mine, its in both) if both else None


def _differences(record: Record, ours: str, measure: str, *, within_folding: float | None = None) -> dict[str, float]:
    """Return the differences of our method from each deformable peer that folds in few enough voxels."""
    found = {}
    for method in record.methods:
        folding = _mean(record, method.name, "folding_percent")
        counts = folding is not None and (within_folding is None or folding <= within_folding)
        if _is_peer(method) and counts and (apart := _difference(record, ours, method.name, measure)) is not None:
            found[method.name] = apart
    return found


def _is_peer(method: Method) -> bool:
    return not method.ours and method.name != "identity"


def _above(ours: str, reference: str) -> Callable[[Record], float | None]:
    """Return the Dice of our method minus that of another method."""
    return lambda record: _difference(record, ours, reference, "dice")


def _above_best(ours: str, *, within_folding: float | None = None) -> Callable[[Record], float | None]:
    """Return the Dice of our method minus that of the best peer."""
    return lambda record: min(_differences(record, ours, "dice", within_folding=within_folding).values(), default=None)


def _times_as_fast(ours: str) -> Callable[[Record], float | None]:
    """Return the median seconds of the best peer by Dice, relative to ours, over pairs timed on one day."""

    def measure(record: Record) -> float | None:
        peers = _differences(record, ours, "dice")
        if not peers:
            return None
        best = min(peers, key=peers.__getitem__)
        times = record.seconds_together((best, ours)) if record.busy(best) == record.busy(ours) else []
        return median(its for its, _ in times) / median(mine for _, mine in times) if times else None

    return measure


def _hd95_above_least(ours: str) -> Callable[[Record], float | None]:
    return lambda record: max(_differences(record, ours, "hd95").values(), default=None)


def _dice(ours: str) -> Callable[[Record], float | None]:
    return lambda record: _mean(record, ours, "dice")


def _most_folding(record: Record) -> float | None:
    """Return the largest mean folding of our methods, in percent of voxels."""
    ours = [method.name for method in record.methods if method.ours]
    found = [value for name in ours if (value := _mean(record, name, "folding_percent")) is not None]
    return max(found, default=None)


def _most_folding_of_a_pair(record: Record) -> float | None:
    spread = record.summary.get("lightcrcf-diffeomorphic", {}).get("folding_percent")
    return None if spread is None else spread.maximum


def _folding(percent: float) -> tuple[Goal[Record], ...]:
    return (
        Goal("folding of ours, mean over pairs, %", percent, _most_folding, at_most=True, digits=4),
        Goal("folding with `--diffeomorphic`, worst pair, %", 1e-4, _most_folding_of_a_pair, at_most=True, digits=4),
    )


_BRAIN: tuple[Goal[Record], ...] = (
    Goal("Dice of fast above ANTs SyN", 0.04, _above("lightcrcf-fast", "ants-syn")),
    Goal("Dice of default above the best classical method", -0.005, _above_best("lightcrcf-default")),
    Goal("Dice of accurate above the best classical method", 0.02, _above_best("lightcrcf-accurate"), digits=4),
    Goal("Dice that bf16 costs fast", 0.001, _above("lightcrcf-fast", "lightcrcf-bf16"), at_most=True, digits=4),
    Goal("default: times as fast as the best classical method", 10, _times_as_fast("lightcrcf-default"), digits=1),
    Goal("accurate: times as fast as the best classical method", 3, _times_as_fast("lightcrcf-accurate"), digits=1),
    *_folding(0.1),
)

ACCURACY_GOALS: dict[str, tuple[Goal[Record], ...]] = {
    "brain-accuracy": _BRAIN,
    "brain-ordered-accuracy": tuple(goal for goal in _BRAIN if "times as fast" not in goal.text),
    "heads-accuracy": (
        Goal("Dice of default above the best classical method", 0.0, _above_best("lightcrcf-default"), digits=4),
        *_folding(0.1),
    ),
    "hippocampus-accuracy": (
        Goal("Dice of default above the best classical method", 0.02, _above_best("lightcrcf-default"), digits=4),
        Goal("Dice of accurate above the best classical method", 0.02, _above_best("lightcrcf-accurate"), digits=4),
        Goal("Dice of the weakly supervised model", 0.86, _dice(_LABELS)),
        *_folding(0.1),
    ),
    "abdomen-accuracy": (
        Goal(
            "Dice of default above the best classical method that folds in at most 1 %", 0.05,
            _above_best("lightcrcf-default", within_folding=1.0),
        ),
        *_folding(0.5),
    ),
    "cardiac-accuracy": (
        Goal("Dice above no registration", 0.20, _above("lightcrcf-fast", "identity")),
        Goal("HD95 above the least of the peers, voxels", 0.0, _hd95_above_least("lightcrcf-fast"), True, 2),
        *_folding(0.1),
    ),
}  # fmt: skip
