"""Air around a body in a CT stays where the affine puts it."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.geometry.grid import Grid
from lightcrcf.refinement.air import faded_in_air
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration import register as registration
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume

SHAPE, SPACING = (60, 50, 26), 5.0


def chest(wider: float = 1.0, noise: float = 12.0) -> Volume:
    """A body with lungs, in Hounsfield units, in the middle of much air."""
    at = np.stack(np.meshgrid(*(SPACING * (np.arange(n) - (n - 1) / 2) for n in SHAPE), indexing="ij"))
    body = (at[0] / (75 * wider)) ** 2 + (at[1] / 55) ** 2 < 1
    lungs = sum(((at[0] - side) / 25) ** 2 + (at[1] / 35) ** 2 + (at[2] / 45) ** 2 < 1 for side in (-33, 33)) > 0
    data = np.where(lungs, -820, np.where(body, 30, -1000)) + np.random.default_rng(2).normal(0, noise, SHAPE)
    return Volume(np.maximum(data, -1024).astype(np.int16), Grid(SHAPE, np.diag([SPACING] * 3 + [1.0])))


@pytest.mark.parametrize("half", [False, True])
def test_displacements_end_in_air_and_stay_within_the_body(half: bool) -> None:
    fixed = chest()
    fixed.data[:2, :2, 12:14] = 500  # in a corner, so that the working grid shows air
    pair = WorkingPair.prepare(fixed, chest(1.1), (None, None), Affine.identity(), None, RegistrationCache())
    lattice = pair.grid.half(pair.pool) if half else pair.grid
    field = np.ones((3, *lattice.shape), np.float32)
    faded = faded_in_air(field, pair)
    places = lattice.world(np.moveaxis(np.indices(lattice.shape), 0, -1))
    x, y, _ = np.moveaxis(places, -1, 0) - (SPACING * (np.array(SHAPE) - 1) / 2)[:, None, None, None]
    inside = (x / 70) ** 2 + (y / 50) ** 2 < 1
    far = (x > 0) & (y < 0) & (np.hypot(np.maximum(np.abs(x) - 82, 0), np.maximum(np.abs(y) - 55, 0)) > 60)
    assert inside.any()
    assert far.any()
    assert faded[:, inside].min() > 0.95
    assert np.abs(faded[:, far]).max() < 0.1
    assert (np.abs(np.diff(faded[0], axis=0)) < 0.5).all()
    assert field.min() == 1  # the argument is left alone


def test_a_chest_is_registered_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing but two CTs is."""
    called = []
    monkeypatch.setattr("lightcrcf.registration.deform.faded_in_air", lambda field, _pair: called.append(1) or field)
    registration.register(chest(), chest(1.1), model="none", preset="default")
    assert called == [1]
    scans = [Volume(np.clip(v.data + 1000, 0, None).astype(np.int16), v.grid) for v in (chest(), chest(1.1))]
    registration.register(*scans, model="none", preset="default")
    assert called == [1]
