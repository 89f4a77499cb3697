"""A whole head of which so much is missing that it has no kind of its own is refined all the same; an organ is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import classify
from lightcrcf.registration.register import register
from lightcrcf.volumes import Volume

Maker = Callable[..., tuple[Volume, Volume]]


@pytest.fixture(scope="module")
def heads(brains: Maker, grids: Callable[..., Grid]) -> tuple[Volume, Volume]:
    """Two persons, whole."""
    fixed = brains(grids((66, 77, 60), (3.0, 3.0, 3.2), axes="LPS"), head=True)[0]
    where = grids((80, 64, 70), (2.8, 3.1, 3.0), axes="ASR", centre=(14, -9, 20))
    return fixed, brains(where, person=1, turn=(-6, 4, 11), shift_mm=(14, -9, 20), head=True)[0]


def without_the_lower(volume: Volume, share: float) -> Volume:
    """Its axes towards RAS."""
    whole = volume.canonical()
    gone = round(share * whole.grid.shape[2])
    data = np.ascontiguousarray(whole.data[:, :, gone:])
    return Volume(data, whole.grid.crop((0, 0, gone), (data.shape[0], data.shape[1], data.shape[2])), "a cut head")


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_a_cut_head_is_refined(side: str, heads: tuple[Volume, Volume]) -> None:
    fixed, moving = heads
    cut = without_the_lower(fixed if side == "fixed" else moving, 0.5)
    assert classify(cut).kind == "other"
    found = register(cut, moving) if side == "fixed" else register(fixed, cut)
    assert found.record.deformed is True
    assert found.quality.verdict == "check"
    assert "no model fits" in " ".join(found.quality.reasons)


def test_a_head_is_not_squeezed_into_an_organ(heads: tuple[Volume, Volume]) -> None:
    fixed, moving = heads
    place = fixed.grid.world(np.moveaxis(np.indices(fixed.grid.shape), 0, -1))
    ball = np.linalg.norm(place - np.array([10, 5, 15]), axis=-1) < 35
    organ = replace(fixed, data=np.where(ball, fixed.data, 0))
    assert classify(organ).kind == "other"
    found = register(organ, moving)
    assert found.transform.field is None
    assert found.quality.verdict != "pass"
