"""Batches that background threads prepare while the network trains on those before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from lightcrcf.memory import limit_malloc_arenas

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Results of a function of consecutive numbers, of which the next ones are computed in the background.

    Args:
        make: gives the same for the same number, whenever and in whichever thread.
        end: the first number that is not asked for.
        threads: so many numbers are computed at once.
    """

    def __init__(self, make: Callable[[int], T], end: int, threads: int = 1) -> None:
        limit_malloc_arenas()
        self._make, self._end, self._ahead = make, end, threads
        self._threads = ThreadPoolExecutor(threads, initializer=torch.set_flush_denormal, initargs=(True,))
        self._coming: dict[int, Future[T]] = {}

    def take(self, number: int) -> T:
        """Return the result for a number, which is asked for once; those after it are begun.

        Raises:
            Exception: what `make` raised.
        """
        for n in range(number, min(number + 1 + self._ahead, self._end)):
            if n not in self._coming:
                self._coming[n] = self._threads.submit(self._make, n)
        return self._coming.pop(number).result()

    def close(self) -> None:
        """Stop; what is being computed ends first."""
        self._threads.shutdown(cancel_futures=True)
