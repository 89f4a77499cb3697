"""Goals that were written down before something was measured, and by how much a record reaches or misses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lightcrcf_bench.publish.markdown import table

__all__ = ["Goal", "goals_text"]

R = TypeVar("R")


@dataclass(frozen=True)
class Goal(Generic[R]):
    """One number, and where it is to lie.

    Args:
        text: what the number is.
        wanted: the bound.
        measure: the number from a record; None where a method that it needs is not in it.
        at_most: whether the bound is an upper one.
        digits: after the point, in tables.
    """

    text: str
    wanted: float
    measure: Callable[[R], float | None]
    at_most: bool = False
    digits: int = 3

    def short(self, measured: float) -> float:
        """Return by how much the target is missed; 0 or less if it is reached."""
        return measured - self.wanted if self.at_most else self.wanted - measured


def goals_text(goals: Sequence[Goal[R]], record: R) -> str:
    """Return a table of goals, and how far the record is from each."""
    if not goals:
        return "No goals were set."
    rows = []
    for goal in goals:
        measured, bound = goal.measure(record), "at most" if goal.at_most else "at least"
        wanted = f"{bound} {goal.wanted:g}"
        if measured is None:
            rows.append((goal.text, wanted, "not measured", ""))
            continue
        short = goal.short(measured)
        result = "reached" if short <= 0 else f"missed by {short:.{goal.digits}f}"
        rows.append((goal.text, wanted, f"{measured:.{goal.digits}f}", result))
    return "\n".join(table(("goal", "wanted", "measured", ""), rows))
