"""How far a cohort is: pairs done, pairs an hour, time left."""

from __future__ import annotations

from dataclasses import dataclass

from lightcrcf.progress import format_duration

__all__ = ["Tally"]


@dataclass(frozen=True)
class Tally:
    """A moment of a batch.

    Args:
        total: pairs to do now, those that an earlier run finished apart.
        done: of them.
        failed: of those done.
        seconds: since the work began.

    Example:
        >>> print(Tally(total=300, done=100, failed=1, seconds=720.0))
        100 of 300 pairs, 500 an hour, 24 min left, 1 failed
    """

    total: int
    done: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def pairs_an_hour(self) -> float | None:
        """None until a pair is done."""
        return 3600 * self.done / self.seconds if self.done and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """As long as the others take as long; None until a pair is done."""
        rate = self.pairs_an_hour
        return None if rate is None else 3600 * (self.total - self.done) / rate

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} pairs"
        if self.pairs_an_hour is not None and self.seconds_left is not None:
            text += f", {self.pairs_an_hour:.0f} an hour, {format_duration(self.seconds_left)} left"
        return text + (f", {self.failed} failed" if self.failed else "")
