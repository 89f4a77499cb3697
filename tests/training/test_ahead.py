"""Batches in the background: the same as in turn, each made once, none beyond the end."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from lightcrcf.training.data import Ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_it_gives_what_was_asked_for_and_makes_nothing_twice_or_beyond_the_end(threads: int) -> None:
    made: Counter[int] = Counter()
    ahead = Ahead(lambda n: (made.update([n]), n * n)[1], 7, threads)
    assert [ahead.take(n) for n in range(3, 7)] == [9, 16, 25, 36]
    ahead.close()
    assert made == {3: 1, 4: 1, 5: 1, 6: 1}


def test_the_next_one_is_begun_before_it_is_asked_for() -> None:
    begun = threading.Event()
    ahead = Ahead(lambda n: begun.set() if n == 1 else None, 9)
    ahead.take(0)
    assert begun.wait(10)
    ahead.close()


def test_what_goes_wrong_is_told_where_it_is_asked_for() -> None:
    ahead = Ahead(lambda n: 1 // (1 - n), 9)
    assert ahead.take(0) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.take(1)
    ahead.close()
