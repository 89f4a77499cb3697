"""What smoothness is to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from lightcrcf.benchmark.goals import Goal
from lightcrcf.benchmark.smoothness.equal import least_gain, usual_gain
from lightcrcf.benchmark.smoothness.frontier import DATA_SETS, LUNG, frontier_name
from lightcrcf.benchmark.smoothness.known import KNOWN
from lightcrcf.benchmark.smoothness.ladder import CURVES, DEFAULT, PEERS
from lightcrcf.benchmark.smoothness.record import SmoothnessRecord
from lightcrcf.benchmark.smoothness.rescans import SAME_PERSON, rescans_name

__all__ = ["SMOOTHNESS_GOALS"]

Goals = tuple[Goal[SmoothnessRecord], ...]
Measure = Callable[[SmoothnessRecord], float | None]
_USUAL = f"{DEFAULT}-1"


def _frontier_goals(data_set: str) -> Goals:
    better = "error in mm below" if data_set == LUNG else "Dice above"
    wanted = {"greedy": 0.01, "syn": 0.05} if data_set == "brain" else dict.fromkeys(PEERS, 0.0)
    return tuple(
        Goal(f"{better} that of {CURVES[peer]} at equal smoothness, {where}", wanted[peer], measure, digits=4)
        for peer in PEERS
        for where, measure in (
            ("least over its settings", partial(least_gain, ours=DEFAULT, peer=peer)),
            ("at its own default", partial(usual_gain, ours=DEFAULT, peer=peer)),
        )
    )


def _mean(figure: str) -> Measure:
    return lambda record: record.mean(_USUAL, figure) if _USUAL in record.summary else None


def _times_syn(record: SmoothnessRecord) -> float | None:
    """SDlogJ of ours for each of SyN's, as both are without asking."""
    found = [record.mean(name, "sdlogj_inside") for name in (_USUAL, "syn-3-0") if name in record.summary]
    return found[0] / found[1] if len(found) == 2 and found[0] is not None and found[1] else None


def _times_best(record: SmoothnessRecord) -> float | None:
    """Mean error of ours for each of the best peer's, on the cases that both have."""
    ours = {trial.case: trial.figures["error_mean_mm"] for trial in record.of(_USUAL) if trial.failure is None}
    ratios = []
    for method in record.methods:
        if not method.ours and method.curve != "identity":
            theirs = {t.case: t.figures["error_mean_mm"] for t in record.of(method.name) if t.failure is None}
            both = ours.keys() & theirs.keys()
            if both:
                ratios.append(sum(ours[case] for case in both) / sum(theirs[case] for case in both))
    return max(ratios, default=None)


SMOOTHNESS_GOALS: Mapping[str, Goals] = {
    **{frontier_name(name): _frontier_goals(name) for name in (*DATA_SETS, LUNG)},
    SAME_PERSON: (Goal("SDlogJ of default for each of SyN's", 1.1, _times_syn, at_most=True, digits=2),),
    **{
        rescans_name(anatomy): (
            Goal(f"mean residual of default, {unit}", 0.1, _mean("residual_mm"), at_most=True),
            Goal("SDlogJ of default", 0.05, _mean("sdlogj_inside"), at_most=True),
        )
        for anatomy, unit in (("brain", "mm"), ("abdomen", "mm"), ("cardiac", "voxels"))
    },
    KNOWN: (Goal("mean error of default for each of the best peer's", 1.0, _times_best, at_most=True, digits=2),),
}
