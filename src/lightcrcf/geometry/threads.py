"""The number of threads of the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba

from lightcrcf import _core

__all__ = ["threads_in_use", "use_threads"]

# The number that Numba started, which is the maximum.
_LAUNCHED: int = vars(numba.config)["NUMBA_NUM_THREADS"]


@contextmanager
def use_threads(count: int | None) -> Iterator[int]:
    """Limit kernels within the block to `count` threads (all by default), and restore the number afterwards."""
    before = numba.get_num_threads()
    number = before if count is None else max(1, min(count, _LAUNCHED))
    numba.set_num_threads(number)
    _core.set_thread_count(number)
    try:
        yield number
    finally:
        numba.set_num_threads(before)
        _core.set_thread_count(before)


def threads_in_use() -> int:
    """Return the maximum number of threads of kernels called from this thread."""
    return int(numba.get_num_threads())
