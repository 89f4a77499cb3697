"""Registrations that share what they found: the same bytes as alone, found out once, forgotten with the volume."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightcrcf.cache import registration as shared_module
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.refinement import working_pair as pair_module
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume

Pair = tuple[Volume, Volume]


def same(a: Registration, b: Registration) -> None:
    """Equal to the bit."""
    np.testing.assert_array_equal(a.moved.data, b.moved.data)
    assert a.metrics == b.metrics
    assert a.transform.field is not None
    assert b.transform.field is not None
    np.testing.assert_array_equal(a.transform.field.displacement, b.transform.field.displacement)


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """First arguments of each call of a function, which still does its work."""
    function, calls = getattr(module, name), []

    def call(first: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(first)
        return function(first, *arguments, **options)

    monkeypatch.setattr(module, name, call)
    return calls


def test_the_fixed_image_is_prepared_and_the_network_opened_once(
    pair: Pair, coarse_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed, moving = pair
    options: dict[str, Any] = {"model": coarse_model, "preset": "fast", "init": "none"}
    alone = register(fixed, moving, **options), register(moving, moving, **options)
    prepared = counted(monkeypatch, pair_module, "normalize")
    opened = counted(monkeypatch, shared_module, "open_engine")
    shared = RegistrationCache()
    first = register(fixed, moving, shared=shared, **options)
    again = register(fixed, moving, shared=shared, **options)
    other = register(moving, moving, shared=shared, **options)
    same(first, alone[0])
    same(again, alone[0])
    same(other, alone[1])
    assert [id(v) for v in prepared] == [id(fixed), id(moving)]
    assert len(opened) == 1


def test_another_precision_is_another_network(coarse_model: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = counted(monkeypatch, shared_module, "open_engine")
    shared = RegistrationCache()
    for threads in (1, 2, 2):
        register(*pair, model=coarse_model, preset="fast", init="none", threads=threads, shared=shared)
    assert len(opened) == 2


def test_results_go_with_their_volume(pair: Pair) -> None:
    shared = RegistrationCache()
    volume = Volume(pair[0].data, pair[0].grid)
    shared.get_or_compute(volume, "answer", lambda: 42)
    assert len(shared._results) == 1
    del volume
    gc.collect()
    assert len(shared._results) == 0
