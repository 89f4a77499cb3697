"""Progress of long computations: durations of stages, formatted times, and a limit on the rate of messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["LOG_INTERVAL_S", "Stopwatch", "Throttle", "format_duration"]

LOG_INTERVAL_S = 30.0
"""Seconds between two lines in a log."""


class Stopwatch:
    """Durations of the stages of a computation.

    Args:
        progress: called with the name of each stage and the fraction done when the stage begins.
    """

    def __init__(self, progress: Callable[[str, float], None]) -> None:
        self._progress, self.seconds = progress, dict[str, float]()

    @contextmanager
    def stage(self, name: str, fraction: float) -> Iterator[None]:
        """Time the block under `name`; blocks of one name add up."""
        self._progress(name, fraction)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Throttle:
    """A rate limiter: true at most once per interval.

    Args:
        interval_s: seconds.
        start: whether the first call returns True at once.

    Example:
        >>> may_print = Throttle()
        >>> may_print(), may_print()
        (True, False)
    """

    def __init__(self, interval_s: float = LOG_INTERVAL_S, *, start: bool = True) -> None:
        self._interval_s = interval_s
        self._next = time.monotonic() + (0.0 if start else interval_s)

    def __call__(self) -> bool:
        """Return whether the interval has passed, and start the next one."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._interval_s
        return True


def format_duration(seconds: float) -> str:
    """Format a duration in the largest unit that fits.

    Example:
        >>> [format_duration(s) for s in (4.4, 100, 5400, 200000)]
        ['4 s', '2 min', '1.5 h', '56 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36000 else f"{seconds / 3600:.0f} h"
