"""Overlap at equal smoothness: ours, interpolated along its curve, where another tool's setting lies.

Smoothness is the mean of SDlogJ inside the anatomy. Ours is never continued to fields smoother than those that it was
run for; where it is nowhere as rough as the other, its roughest field counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from lightcrcf_bench.smoothness.record import Setting, SmoothnessRecord, Trial

__all__ = ["ROUGHNESS", "Compared", "along", "at_equal_smoothness", "least_gain", "overlap_of", "usual_gain"]

ROUGHNESS = "sdlogj_inside"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Compared:
    """A setting of another tool, and ours at its smoothness.

    Args:
        setting: of the other tool.
        roughness: its mean SDlogJ.
        theirs: its mean overlap, or error.
        ours: interpolated along the curve of our means; None where ours has no field as smooth.
        ahead: in how many cases ours is better, interpolated along the curve of each.
        cases: of how many that can be compared.
    """

    setting: Setting
    roughness: float
    theirs: float
    ours: float | None
    ahead: int
    cases: int


def overlap_of(record: SmoothnessRecord) -> tuple[str, int]:
    """Return the figure by which a record tells how well images were aligned, and 1 if more is better or else -1."""
    errors = any("target_error_mm" in trial.figures for trial in record.trials)
    return ("target_error_mm", -1) if errors else ("dice", 1)


def along(points: Points, roughness: float) -> float | None:
    """Interpolate linearly between points (roughness, overlap); None below the least rough, constant above.

    Example:
        >>> along([(0.2, 0.6), (0.4, 0.7)], 0.3), along([(0.2, 0.6), (0.4, 0.7)], 0.1)
        (0.65, None)
        >>> along([(0.2, 0.6), (0.4, 0.7)], 0.9)
        0.7
    """
    ordered = sorted(points)
    if not ordered or roughness < ordered[0][0]:
        return None
    at, values = zip(*ordered, strict=True)
    return round(float(np.interp(roughness, at, values)), 9)


def at_equal_smoothness(record: SmoothnessRecord, ours: str, peer: str) -> list[Compared]:
    """Return each setting of a peer's curve against our curve, on the cases that it and all of ours share."""
    figure, sign = overlap_of(record)
    own = [_by_case(record, setting, figure) for setting in record.curve(ours)]
    found = []
    for setting in record.curve(peer):
        theirs = _by_case(record, setting, figure)
        shared = [case for case in record.data.names if case in theirs and all(case in column for column in own)]
        if not own or not shared:
            continue
        pairs = [([column[case] for column in own], theirs[case]) for case in shared]
        each = [(along(curve, rough), value) for curve, (rough, value) in pairs]
        compared = [sign * (mine - value) for mine, value in each if mine is not None]
        curve = [_mean([column[case] for case in shared]) for column in own]
        roughness, value = _mean([theirs[case] for case in shared])
        ahead = sum(gain > 0 for gain in compared)
        found.append(Compared(setting, roughness, value, along(curve, roughness), ahead, len(compared)))
    return found


def least_gain(record: SmoothnessRecord, ours: str, peer: str) -> float | None:
    """Return our smallest gain at equal smoothness; None if incomparable."""
    return min(_gains(record, ours, peer, usual=False), default=None)


def usual_gain(record: SmoothnessRecord, ours: str, peer: str) -> float | None:
    """Return our gain at the smoothness of the peer's default."""
    return min(_gains(record, ours, peer, usual=True), default=None)


def _gains(record: SmoothnessRecord, ours: str, peer: str, *, usual: bool) -> list[float]:
    sign = overlap_of(record)[1]
    rows = [row for row in at_equal_smoothness(record, ours, peer) if row.setting.usual or not usual]
    return [sign * (row.ours - row.theirs) for row in rows if row.ours is not None]


def _by_case(record: SmoothnessRecord, setting: Setting, figure: str) -> dict[str, tuple[float, float]]:
    def point(trial: Trial) -> tuple[float, float]:
        return trial.figures[ROUGHNESS], trial.figures[figure]

    return {trial.case: point(trial) for trial in record.of(setting.name) if trial.failure is None}


def _mean(points: Points) -> tuple[float, float]:
    return fmean(point[0] for point in points), fmean(point[1] for point in points)
