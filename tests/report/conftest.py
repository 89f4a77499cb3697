"""One small registration with a field, for all tests of the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightcrcf.demo.phantom import KnownPair, deformed_copy, phantom
from lightcrcf.registration.register import Registration, register
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField


@pytest.fixture(scope="session")
def pair() -> KnownPair:
    return deformed_copy(*phantom(spacing_mm=4.0), seed=7)


@pytest.fixture(scope="session")
def registration(pair: KnownPair) -> Registration:
    """An affine registration and a smooth field, which folds at one place."""
    affine = register(pair.fixed, pair.moving, model="none")
    grid = pair.fixed.grid.half()
    bump = np.exp(-np.square((np.indices(grid.shape).T - np.array(grid.shape) / 2) / (3, 4, 5)).sum(axis=-1).T)
    field = DisplacementField(grid, np.stack([-5 * bump, bump, 0 * bump]).astype(np.float32))
    chain = Chain(affine.transform.before, field, affine.transform.after)
    return replace(affine, transform=chain, moved=chain.resample(pair.moving, pair.fixed.grid, "linear"))
