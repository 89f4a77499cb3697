"""What is made of the network's logits; the network itself is replaced by its input."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.network.brain_config import SPACING_MM
from lightcrcf.preprocessing.brain import find_brain
from lightcrcf.preprocessing.validity import examine
from lightcrcf.volumes import Volume

SHAPE = (80, 72, 64)
GRID = Grid(SHAPE, np.array([[2.0, 0, 0, -79], [0, 2, 0, -71], [0, 0, 2, -63], [0, 0, 0, 1.0]]))


def ball(centre_mm: tuple[float, float, float], radius_mm: float = 45) -> Volume:
    places = GRID.world(np.moveaxis(np.indices(SHAPE), 0, -1)) - np.array(centre_mm)
    return Volume((100 * (np.linalg.norm(places, axis=-1) < radius_mm)).astype(np.float32), GRID)


def mask_of(image: Volume) -> np.ndarray:
    return find_brain(*examine(image)).mask


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brain is what is bright, and a little to the right of it."""

    def logits(image: np.ndarray, _known: np.ndarray) -> np.ndarray:
        return np.asarray(np.roll(image, 1, axis=0) - 0.5 * image.max(), np.float32)

    monkeypatch.setattr("lightcrcf.engines.brain.brain_logits", logits)


def test_a_mirrored_head_has_the_mirrored_brain() -> None:
    image = ball((8, 4, 2))
    mirrored = Volume(np.ascontiguousarray(image.data[::-1]), GRID)
    mask = mask_of(image)
    assert np.count_nonzero(mask_of(mirrored)[::-1] != mask) < 1e-3 * np.count_nonzero(mask)


def test_masks_are_lowered_by_half_a_voxel_of_the_network_and_not_to_one_side() -> None:
    mask = mask_of(ball((0, 0, 0)))
    centre = GRID.world(np.argwhere(mask)).mean(axis=0)
    assert centre[:2] == pytest.approx([0, 0], abs=0.3)
    assert centre[2] == pytest.approx(-SPACING_MM / 2, abs=0.3)
