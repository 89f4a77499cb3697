"""Rows of pairs and levels, and the class of objectives, at the boundary of the extension: errors, never crashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from boundary_arguments import half_field, noise, pairs, schedule

from lightcrcf import _core

SHAPE = (5, 7, 11)
POOL = (2, 1, 2)
Rows = list[tuple[Any, ...]]


def changed(rows: Rows, place: int, value: Any, row: int = 0) -> Rows:
    """Return the rows with one value of one row replaced."""
    return [(*each[:place], value, *each[place + 1 :]) if n == row else each for n, each in enumerate(rows)]


def refined(images: Any, levels: Any, start: Any = None, template: Any = None, after: Any = None) -> Any:
    return _core.refine(images, levels, POOL, start, template, after)


def test_valid_rows_are_taken() -> None:
    found = refined(pairs(*SHAPE), schedule(1), half_field(*SHAPE), half_field(*SHAPE))
    assert found[0].shape == (3, *SHAPE)
    assert np.isfinite(found[0]).all()
    assert len(found[3]) == len(found[4]) == 3


TOO_LARGE = np.empty((5, 7, 12), np.float32)
PAIR_CHANGES: list[tuple[int, Any]] = [
    (0, TOO_LARGE), (1, TOO_LARGE), (2, TOO_LARGE), (3, TOO_LARGE), (0, np.empty((0, 7, 11), np.float32)),
    (0, noise(*SHAPE).astype(np.float64)), (1, noise(*SHAPE)[:, ::-1]), (1, noise(5, 7, 22)[:, :, ::2]), (1, None),
    (0, noise(5, 77)), (4, ((np.nan, 1.0, 1.0), (0.1, 1.0, 1.0))), (4, (0.1, 0.1)), (5, (True,)), (6, np.inf),
    (6, None), (6, "half"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), PAIR_CHANGES)
@pytest.mark.parametrize("row", [0, 1])
def test_invalid_pairs_are_refused(place: int, value: Any, row: int) -> None:
    images = changed(pairs(*SHAPE), place, value, row)
    with pytest.raises((TypeError, ValueError)):
        refined(images, schedule(1))
    with pytest.raises((TypeError, ValueError)):
        _core.LevelObjective(images, schedule(1)[0], POOL)


KIND, MEASURE = (False, 1.5, 0.5), ("lncc", 1, 0.0, 0.7)
LEVEL_CHANGES: list[tuple[int, Any]] = [
    (0, 3), (0, 0), (0, 16), (0, "2"), (1, 4), (1, 0), (1, 1), (2, -1), (2, 2**70), (2, 1.5),
    (3, 1.01), (3, 0.0), (3, np.nan), (4, np.inf),
    (5, 1e300), (6, np.nan), (7, -np.inf), (8, np.nan), (9, []), (9, [KIND] * 9), (9, [(True, 1.5, 0.5)]),
    (9, [(False, -1.0, 0.5)]), (9, [(False, 1e9, 0.5)]), (9, [(False, 1.0, np.nan)]), (9, [(False, 1.0)]), (10, []),
    (10, [MEASURE]), (10, [MEASURE, ("nothing", 1, 0.0, 0.7)]), (10, [MEASURE, ("lncc", -1, 0.0, 0.7)]),
    (10, [MEASURE, ("lncc", 2**40, 0.0, 0.7)]), (10, [MEASURE, ("mse", 1, 0.5, 0.7)]),
    (10, [MEASURE, ("lncc", 1, -1.0, 0.7)]), (10, [MEASURE, ("lncc", 1, 1.0, np.inf)]),
    (10, [MEASURE, MEASURE, MEASURE]),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), LEVEL_CHANGES)
def test_invalid_levels_are_refused(place: int, value: Any) -> None:
    levels = changed(schedule(1), place, value)
    with pytest.raises((TypeError, ValueError)):
        refined(pairs(*SHAPE), levels)
    with pytest.raises((TypeError, ValueError)):
        _core.LevelObjective(pairs(*SHAPE), levels[0], POOL)


@pytest.mark.parametrize(
    "call",
    [
        lambda: refined([], schedule(1)),
        lambda: refined(pairs(*SHAPE), []),
        lambda: refined(pairs(*SHAPE), schedule(1)[::-1]),
        lambda: refined(pairs(*SHAPE), changed(schedule(1), 0, 4)[:1], half_field(*SHAPE)),
        lambda: refined(pairs(*SHAPE), schedule(1), half_field(*SHAPE)[:2]),
        lambda: refined(pairs(*SHAPE), schedule(1), noise(3, *SHAPE)),
        lambda: refined(pairs(*SHAPE), schedule(1), None, noise(3, *SHAPE)),
        lambda: refined(pairs(*SHAPE), schedule(1), after=3),
        lambda: _core.refine(pairs(*SHAPE), schedule(1), (2, 2, 3), None, None, None),
        lambda: _core.refine(pairs(*SHAPE), schedule(1), (2, 2), None, None, None),
        lambda: _core.LevelObjective([], schedule(1)[0], POOL),
        lambda: _core.LevelObjective(pairs(*SHAPE), schedule(1)[0], (0, 1, 2)),
    ],
)
def test_what_does_not_fit_together_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        call()


@pytest.fixture
def objective() -> _core.LevelObjective:
    return _core.LevelObjective(pairs(*SHAPE), schedule(1)[2], POOL)


METHODS: list[Callable[[_core.LevelObjective], Any]] = [
    lambda o: o.evaluate(noise(3, 5, 7, 12)),
    lambda o: o.evaluate(noise(2, *SHAPE)),
    lambda o: o.evaluate(noise(3, *SHAPE).astype(np.float64)),
    lambda o: o.force(noise(3, 5, 7, 10)),
    lambda o: o.force(noise(4, *SHAPE)),
    lambda o: o.force(o.fixed),
    lambda o: o.local_similarity(noise(5, 7, 12), noise(*SHAPE)),
    lambda o: o.local_similarity(noise(*SHAPE), noise(5, 7, 12)),
    lambda o: o.local_similarity(o.moved, o.moved),
    lambda o: o.multiply_moving(noise(5, 7, 12)),
    lambda o: o.multiply_moving(None),
    lambda o: o.merge([], None),
    lambda o: o.merge([noise(3, *SHAPE)] * 9, None),
    lambda o: o.merge([noise(3, *SHAPE), noise(3, 5, 7, 12)], None),
    lambda o: o.merge([noise(3, *SHAPE)], noise(3, 5, 7, 12)),
    lambda o: o.merge([None], None),
]


@pytest.mark.parametrize("call", METHODS)
def test_methods_refuse_what_does_not_fit(objective: _core.LevelObjective, call: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        call(objective)


def test_views_are_read_only_and_outlive_the_objective(objective: _core.LevelObjective) -> None:
    fixed, moved = objective.fixed, objective.moved
    objective.evaluate(None)
    before = moved.copy()
    with pytest.raises(ValueError, match="read-only"):
        moved[0] = 1
    del objective
    np.testing.assert_array_equal(moved, before)
    assert fixed.shape == SHAPE


def test_factors_multiply_a_copy_of_the_moving_image(objective: _core.LevelObjective) -> None:
    """At full resolution without a mask the image is the caller's."""
    image = noise(*SHAPE)
    rows: Rows = [(image, image, None, None, None, (False, False), 1.0)]
    single = _core.LevelObjective(rows, changed(schedule(1)[2:], 10, [MEASURE])[0], POOL)
    before = image.copy()
    single.multiply_moving(np.full(SHAPE, 2, np.float32))
    np.testing.assert_array_equal(single.moving, 2 * before)
    np.testing.assert_array_equal(image, before)
