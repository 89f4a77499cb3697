"""Pseudo-contrasts of a generated brain: shades, voxels and noise are those of the contrast."""

from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume
from lightcrcf_bench.accuracy.pseudo_contrasts import CONTRASTS, pseudo_contrast

SHAPE = (52, 61, 57)
VENTRICLE, WHITE, CORTEX, OUTSIDE, PUTAMEN, ORBITAL = 51, 44, 100, 0, 57, 146


@pytest.fixture(scope="module")
def brain() -> tuple[Volume, Volume]:
    """Shells of liquor, white and grey matter, as a T1 shows them, with its axes turned."""
    middle = [(n - 1) / 2 for n in SHAPE]
    radius = np.linalg.norm(
        [(x - c) / (0.45 * n) for x, c, n in zip(np.indices(SHAPE), middle, SHAPE, strict=True)], axis=0
    )
    codes = np.select([radius < 0.3, radius < 0.7, radius < 1], [VENTRICLE, WHITE, CORTEX], OUTSIDE)
    codes[22:30, 10:14, 25:30], codes[20:26, 44:48, 20:25] = ORBITAL, PUTAMEN
    shades = np.select([codes == VENTRICLE, codes == CORTEX, codes == ORBITAL, codes > 0], [150, 500, 500, 900], 0)
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    image = np.where(codes > 0, np.maximum(shades + noise, 1), 0).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = 30, 25, -20
    grid = Grid(SHAPE, affine)
    return Volume(image, grid), Volume(codes.astype(np.uint8), grid)


def shade(volume: Volume, labels: Volume, code: int) -> float:
    """The median of a structure, away from others."""
    canonical = labels.canonical()
    inside = np.argwhere(canonical.data == code)[::7]
    at = np.rint(volume.grid.voxels(canonical.grid.world(inside))).astype(int)
    at = np.clip(at, 0, np.array(volume.grid.shape) - 1)
    return float(np.median(volume.data[tuple(at.T)]))


@pytest.mark.parametrize("name", CONTRASTS)
def test_tissues_have_the_order_of_the_contrast(brain: tuple[Volume, Volume], name: str) -> None:
    found = pseudo_contrast(*brain, name, 3)
    contrast = CONTRASTS[name]
    wanted = contrast.shades[1:4]
    got = [shade(found, brain[1], code) for code in (VENTRICLE, CORTEX, WHITE)]
    if name != "PD":  # of which two shades are nearly one
        assert np.argsort(got).tolist() == np.argsort(wanted).tolist()
    assert found.grid.spacing_mm[2] == pytest.approx(contrast.slice_mm)
    assert not found.data[0, 0].any()
    assert (found.data >= 0).all()


def test_the_same_seed_gives_the_same_image(brain: tuple[Volume, Volume]) -> None:
    one, two, other = (pseudo_contrast(*brain, "FLAIR", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.data, two.data)
    assert (one.data != other.data).any()


def test_it_lies_where_the_brain_lies(brain: tuple[Volume, Volume]) -> None:
    image, labels = brain
    found = pseudo_contrast(image, labels, "T2", 1)
    centres = [
        volume.grid.world(np.argwhere(data).mean(axis=0))
        for volume, data in ((image, image.data > 0), (found, found.data > 0))
    ]
    np.testing.assert_allclose(*centres, atol=0.5)
