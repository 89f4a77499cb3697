"""How many threads the compiled kernels use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba

__all__ = ["threads_in_use", "use_threads"]

# As many as Numba started; no call can ask for more.
_LAUNCHED: int = vars(numba.config)["NUMBA_NUM_THREADS"]


@contextmanager
def use_threads(count: int | None) -> Iterator[int]:
    """Run the block's kernels on at most `count` threads (all by default); the old number comes back afterwards."""
    before = numba.get_num_threads()
    number = before if count is None else max(1, min(count, _LAUNCHED))
    numba.set_num_threads(number)
    try:
        yield number
    finally:
        numba.set_num_threads(before)


def threads_in_use() -> int:
    """How many the kernels of this thread use at most."""
    return int(numba.get_num_threads())
