"""Vectors of 16 numbers in kernels, beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.geometry.compiled import device
from lightcrcf.geometry.simd import (
    LANES,
    broadcast,
    iota,
    load,
    load_bounded,
    load_masked,
    maximum,
    select_above,
    sqrt,
    store,
    store_masked,
)

Array = np.ndarray


@device
def computed(a: Array, b: Array, out: Array) -> None:
    for k in range(0, a.size, LANES):
        x, y = load(a, k), load(b, k)
        store(x + y, out[0], k)
        store(x - y, out[1], k)
        store(x * y, out[2], k)
        store(x / y, out[3], k)
        store(sqrt(x), out[4], k)
        store(maximum(x, y), out[5], k)
        store(select_above(x, broadcast(np.float32(0.5)), x, y), out[6], k)


@device
def copied(source: Array, start: int, count: int, out: Array) -> None:
    store_masked(load_masked(source, start, count), out, 0, count)


@device
def filled_up(source: Array, count: int, out: Array) -> None:
    store(load_masked(source, 0, count), out, 0)


@device
def between(source: Array, at: int, first: int, end: int, out: Array) -> None:
    store(load_bounded(source, at, first, end), out, 0)


@device
def counted(first: np.float32, out: Array) -> None:
    values = iota(first)
    values += values
    store(values, out, 0)


def test_operators_are_those_of_numpy(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 3 * LANES), dtype=np.float32) + np.float32(0.1)
    out = np.empty((7, a.size), np.float32)
    computed(a, b, out)
    wanted = (a + b, a - b, a * b, a / b, np.sqrt(a), np.maximum(a, b), np.where(a > 0.5, a, b))
    for found, expected in zip(out, wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_no_number_is_never_the_larger_one_of_two() -> None:
    a, b = np.full((2, LANES), np.nan, np.float32)
    b[:] = 0
    out = np.empty((7, LANES), np.float32)
    computed(a, b, out)
    np.testing.assert_array_equal(out[5], 0)
    assert np.isnan(out[4]).all()


@pytest.mark.parametrize("count", [0, 1, 7, 15, 16, 17])
def test_parts_touch_nothing_beyond(count: int) -> None:
    source, out = np.arange(40, dtype=np.float32), np.full(2 * LANES, -1, np.float32)
    copied(source, 5, count, out)
    within = min(count, LANES)
    np.testing.assert_array_equal(out[:within], source[5 : 5 + within])
    np.testing.assert_array_equal(out[within:], -1)


@pytest.mark.parametrize("count", [0, 3, 16])
def test_what_is_not_read_is_zero(count: int) -> None:
    out = np.full(LANES, -1, np.float32)
    filled_up(np.ones(LANES, np.float32), count, out)
    np.testing.assert_array_equal(out, np.arange(LANES) < count)


@pytest.mark.parametrize(("at", "first", "end"), [(-1, 0, 9), (0, 0, 16), (5, 3, 30), (20, 4, 27), (3, 8, 8)])
def test_what_lies_outside_is_zero(at: int, first: int, end: int) -> None:
    source, out = np.arange(1, 41, dtype=np.float32), np.full(LANES, -1, np.float32)
    between(source, at, first, end, out)
    places = at + np.arange(LANES)
    within = (places >= first) & (places < end)
    np.testing.assert_array_equal(out, np.where(within, source[np.clip(places, 0, 39)], 0))


def test_numbers_follow_one_another() -> None:
    out = np.empty(LANES, np.float32)
    counted(np.float32(-3), out)
    np.testing.assert_array_equal(out, 2 * (np.arange(LANES) - 3))
