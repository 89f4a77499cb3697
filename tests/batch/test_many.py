"""Many registrations from Python in this process; on a cluster they are in test_cluster.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lightcrcf
from lightcrcf.cache import registration as shared_module
from lightcrcf.errors import InputError, UsageError
from lightcrcf.volumes import read

QUICK: dict[str, Any] = {"model": "none", "init": "none", "preset": "fast", "threads": 1}


def test_results_come_as_they_finish_and_failures_stop_nothing(people: list[Path]) -> None:
    taken = []

    def pairs() -> Iterator[Any]:
        for moving in (people[1], Path("/no/such.nii"), people[2]):
            taken.append(moving)
            yield people[0], moving

    results = lightcrcf.register_many(pairs(), **QUICK)
    assert taken == []
    first = next(results)
    assert len(taken) == 1
    assert first.registration is not None
    assert first.registration.moved.grid.isclose(read(people[0]).grid)
    second, third = results
    assert isinstance(second.error, InputError)
    assert [found.index for found in (first, second, third)] == [0, 1, 2]
    assert third.error is None


def test_what_belongs_to_a_pair_may_come_with_it(people: list[Path]) -> None:
    labels = [p.with_name(p.name.replace(".nii", "_labels.nii")) for p in people[:2]]
    pair = {"fixed": people[0], "moving": people[1], "fixed_labels": labels[0], "moving_labels": [labels[1]]}
    (found,) = lightcrcf.register_many([pair], **QUICK)
    assert found.registration is not None
    assert len(found.registration.moved_labels) == 1
    assert found.registration.record.labels[0].structures["1"].dice > 0


def test_the_network_is_opened_once(people: list[Path], coarse_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_engine = shared_module.open_engine

    def spy(weights: Any, **options: Any) -> Any:
        opened.append(weights.name)
        return open_engine(weights, **options)

    monkeypatch.setattr(shared_module, "open_engine", spy)
    pairs = [(people[0], people[1]), (people[2], people[3])]
    found = list(lightcrcf.register_many(pairs, model=coarse_model, preset="fast", init="none", threads=1))
    assert [f.error for f in found] == [None, None]
    assert opened == ["coarse"]


@pytest.mark.parametrize("pair", [{"fixed": "a.nii"}, {"fixed": "a", "moving": "b", "moving_label": "c"}])
def test_a_pair_that_is_none_is_an_error_at_once(pair: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="pair"):
        list(lightcrcf.register_many([pair], **QUICK))


def test_options_that_no_pair_would_take_are_an_error_at_once(people: list[Path]) -> None:
    with pytest.raises(UsageError, match="preset"):
        list(lightcrcf.register_many([(people[0], people[1])], preset="best"))
    with pytest.raises(TypeError, match="colour"):
        list(lightcrcf.register_many([(people[0], people[1])], colour="red"))
