"""Targets of smoothness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

from lightcrcf_bench.publish.goals import Goal
from lightcrcf_bench.smoothness.contrasts import CONTRAST_SETS
from lightcrcf_bench.smoothness.equal import least_gain, usual_gain
from lightcrcf_bench.smoothness.frontier import DATA_SETS, LUNG, frontier_name
from lightcrcf_bench.smoothness.known import KNOWN
from lightcrcf_bench.smoothness.known_contrasts import KNOWN_CONTRASTS, KNOWN_RIGID
from lightcrcf_bench.smoothness.ladder import CURVES, DEFAULT, PEERS, PEERS_ACROSS
from lightcrcf_bench.smoothness.record import SmoothnessRecord
from lightcrcf_bench.smoothness.rescans import SAME_PERSON, rescans_name

__all__ = ["SMOOTHNESS_GOALS"]

Goals = tuple[Goal[SmoothnessRecord], ...]
Measure = Callable[[SmoothnessRecord], float | None]
_USUAL, _RIGID = f"{DEFAULT}-1", "lightcrcf-rigid"


_WANTED = {"greedy": 0.02, "syn": 0.06}  # at their defaults, of brains
_DICE = 0.64  # of brains without asking
_ACROSS = {"brain-t2": 0.04, "brain-pd": 0.04, "brain-epi": 0.04, "brain-flair": 0.0, "brain-ct": 0.0}
_RIGID_MM = 0.3


def _frontier_goals(data_set: str) -> Goals:
    better = "error in mm below" if data_set == LUNG else "Dice above"
    usual = _WANTED if data_set == "brain" else dict.fromkeys(PEERS, 0.0)
    goals = tuple(
        Goal(f"{better} that of {CURVES[peer]} at equal smoothness, {where}", wanted, measure, digits=4)
        for peer in PEERS
        for where, wanted, measure in (
            ("least over its settings", 0.0, partial(least_gain, ours=DEFAULT, peer=peer)),
            ("at its own default", usual[peer], partial(usual_gain, ours=DEFAULT, peer=peer)),
        )
    )
    if data_set == "brain":
        return (Goal("mean Dice of default", _DICE, _mean("dice"), digits=4), *goals)
    return goals


def _across_goals(data_set: str) -> Goals:
    return tuple(
        Goal(
            f"Dice above that of {CURVES[peer]} at equal smoothness, at its own default",
            _ACROSS[data_set],
            partial(usual_gain, ours=DEFAULT, peer=peer),
            digits=4,
        )
        for peer in PEERS_ACROSS
    )


def _mean(figure: str) -> Measure:
    return lambda record: record.mean(_USUAL, figure) if _USUAL in record.summary else None


def _extreme(figure: str, of: Callable[[list[float]], float]) -> Measure:
    """Return the worst of all cases."""

    def measure(record: SmoothnessRecord) -> float | None:
        found = [trial.figures[figure] for trial in record.of(_USUAL) if trial.failure is None]
        return of(found) if found else None

    return measure


def _above_syn(record: SmoothnessRecord) -> float | None:
    """Return the difference in image similarity between our result and that of SyN."""
    found = [record.mean(name, "correlation") for name in (_USUAL, "syn-3-0") if name in record.summary]
    return found[0] - found[1] if len(found) == 2 and found[0] is not None and found[1] is not None else None


def _times_syn(record: SmoothnessRecord) -> float | None:
    """Return the ratio of our SDlogJ to that of SyN, both by default."""
    found = [record.mean(name, "sdlogj_inside") for name in (_USUAL, "syn-3-0") if name in record.summary]
    return found[0] / found[1] if len(found) == 2 and found[0] is not None and found[1] else None


def _rigid_error(record: SmoothnessRecord) -> float | None:
    return record.mean(_RIGID, "error_mean_mm") if _RIGID in record.summary else None


def _times_best_peer(record: SmoothnessRecord) -> float | None:
    """Return mean error of ours for each of that of the peer whose mean is least."""
    peers = [m.name for m in record.methods if not m.ours and m.curve != "identity"]
    errors = [error for name in peers if (error := record.mean(name, "error_mean_mm")) is not None]
    ours = record.mean(_USUAL, "error_mean_mm") if _USUAL in record.summary else None
    return ours / min(errors) if ours is not None and errors else None


def _times_best(record: SmoothnessRecord, of: Callable[[list[float]], float]) -> float | None:
    """Return the ratio of our mean error to that of the best peer in a case: of all cases, or of the worst."""
    best: dict[str, float] = {}
    for method in record.methods:
        if not method.ours and method.curve != "identity":
            for trial in record.of(method.name):
                if trial.failure is None:
                    best[trial.case] = min(trial.figures["error_mean_mm"], best.get(trial.case, math.inf))
    ours = {trial.case: trial.figures["error_mean_mm"] for trial in record.of(_USUAL) if trial.failure is None}
    ratios = [error / best[case] for case, error in ours.items() if case in best]
    return of(ratios) if ratios else None


SMOOTHNESS_GOALS: Mapping[str, Goals] = {
    **{frontier_name(name): _frontier_goals(name) for name in (*DATA_SETS, LUNG)},
    **{frontier_name(name): _across_goals(name) for name in CONTRAST_SETS},
    KNOWN_RIGID: (Goal("mean error of rigid, mm", _RIGID_MM, _rigid_error, at_most=True),),
    KNOWN_CONTRASTS: (
        Goal("error of default for that of the best peer", 1.0, _times_best_peer, at_most=True, digits=2),
    ),
    SAME_PERSON: (
        Goal("SDlogJ of default", 0.14, _mean("sdlogj_inside"), at_most=True),
        Goal("least 1st percentile of the volume ratio", 0.7, _extreme("ratio_p1_inside", min), digits=2),
        Goal("largest 99th percentile", 1.4, _extreme("ratio_p99_inside", max), at_most=True, digits=2),
        Goal("largest volume ratio", 3.0, _extreme("ratio_max_inside", max), at_most=True, digits=2),
        Goal("correlation of the images above SyN's", 0.0, _above_syn, digits=4),
        Goal("SDlogJ of default for each of SyN's", 1.0, _times_syn, at_most=True, digits=2),
    ),
    **{
        rescans_name(anatomy): (
            Goal(f"mean residual of default, {unit}", 0.1, _mean("residual_mm"), at_most=True),
            Goal("SDlogJ of default", 0.05, _mean("sdlogj_inside"), at_most=True),
        )
        for anatomy, unit in (("brain", "mm"), ("abdomen", "mm"), ("cardiac", "voxels"))
    },
    KNOWN: (
        Goal(
            "error of default for that of the best peer, median of the truths",
            1.0,
            partial(_times_best, of=median),
            at_most=True,
            digits=2,
        ),
        Goal("of the worst truth", 1.0, partial(_times_best, of=max), at_most=True, digits=2),
    ),
}
