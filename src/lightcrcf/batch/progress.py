"""Progress of a batch: pairs done, pairs per hour, time left."""

from __future__ import annotations

from dataclasses import dataclass

from lightcrcf.progress import format_duration

__all__ = ["BatchProgress"]


@dataclass(frozen=True)
class BatchProgress:
    """Progress of a batch at one moment.

    Args:
        total: pairs to register, without those finished by an earlier run.
        done: pairs registered so far.
        failed: pairs of those that failed.
        seconds: since the start.

    Example:
        >>> print(BatchProgress(total=300, done=100, failed=1, seconds=720.0))
        100 of 300 pairs, 500 an hour, 24 min left, 1 failed
    """

    total: int
    done: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def pairs_an_hour(self) -> float | None:
        """Pairs per hour; None until a pair is done."""
        return 3600 * self.done / self.seconds if self.done and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time at the current rate; None until a pair is done."""
        rate = self.pairs_an_hour
        return None if rate is None else 3600 * (self.total - self.done) / rate

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} pairs"
        if self.pairs_an_hour is not None and self.seconds_left is not None:
            text += f", {self.pairs_an_hour:.0f} an hour, {format_duration(self.seconds_left)} left"
        return text + (f", {self.failed} failed" if self.failed else "")
