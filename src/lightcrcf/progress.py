"""Progress messages of long computations: formatted durations, and a limit on their rate."""

from __future__ import annotations

import time

__all__ = ["LOG_INTERVAL_S", "Throttle", "format_duration"]

LOG_INTERVAL_S = 30.0
"""Seconds between two lines in a log."""


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
