"""The number of threads of the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightcrcf import _core

__all__ = ["threads_in_use", "use_threads"]


@contextmanager
def use_threads(count: int | None) -> Iterator[int]:
    """Limit kernels within the block to `count` threads (None: as before), and restore the number afterwards."""
    before = _core.thread_count()
    number = before if count is None else max(1, min(count, _core.usable_cores()))
    _core.set_thread_count(number)
    try:
        yield number
    finally:
        _core.set_thread_count(before)


def threads_in_use() -> int:
    """Return the maximum number of threads of kernels called from this thread."""
    return _core.thread_count()
