"""The pairs that validations register and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightcrcf.training.cohort import Data
from lightcrcf.training.data import Subject

__all__ = ["TRAINED", "Pair", "watched_groups"]

TRAINED = "trained pair"
"""Group of a run that monitors nobody."""
Pair = tuple[Subject, Subject]


def watched_groups(
    cohorts: Sequence[list[Subject]], monitored: Sequence[tuple[list[Subject], list[Pair]]], data: Data
) -> Iterator[tuple[str, list[Subject], list[Pair]]]:
    """Yield name, subjects and pairs (fixed, moving) of each group.

    Args:
        cohorts: training images.
        monitored: subjects and pairs of each cohort that has some. Without any, one training pair is watched.
        data: the preparation.
    """
    for number, (subjects, pairs) in enumerate(monitored, 1):
        yield "monitor" if len(monitored) == 1 else f"monitor {number}", subjects, pairs
    if not monitored:
        first = cohorts[0][0]
        partner = next(s for s in cohorts[0][1:] if (s.name == first.name) == data.cohorts[0].within)
        yield TRAINED, [first, partner], [(first, partner)]
