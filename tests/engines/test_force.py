"""The force of the local correlation that networks see: what it means, and that both implementations agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightcrcf.engines.force import forces, unit_force
from lightcrcf.network import force
from lightcrcf.network.config import NetworkConfig
from lightcrcf.network.model import LightCRCF

SHAPE = (11, 13, 19)
Float32 = NDArray[np.float32]


def blob(centre: float) -> Float32:
    z, y, x = np.indices(SHAPE, dtype=np.float32)
    return np.exp(-((z - 5) ** 2 + (y - 6) ** 2 + (x - centre) ** 2) / 18).astype(np.float32)


def by_pytorch(fixed: Float32, moved: Float32) -> Float32:
    images = (torch.from_numpy(image)[None, None] for image in (fixed, moved))
    result: Float32 = force.unit_force(*images)[0].numpy()
    return result


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("shape", [SHAPE, (2, 3, 4), (1, 6, 9)])
def test_the_native_force_is_that_of_pytorch(noise: float, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(7)
    fixed, moved = (
        blob(c)[: shape[0], : shape[1], : shape[2]] + noise * rng.random(shape, dtype=np.float32) for c in (8.5, 10.0)
    )
    np.testing.assert_allclose(unit_force(fixed, moved), by_pytorch(fixed, moved), atol=2e-3)


@pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1)])
def test_that_of_full_resolution_is_the_mean_over_blocks(pool: tuple[int, int, int]) -> None:
    rng, shape = np.random.default_rng(5), (12, 10, 14)
    coarse = [n // p for n, p in zip(shape, pool, strict=True)]
    fixed, moving = rng.random((2, *shape), dtype=np.float32)
    field = rng.normal(0, 0.5, (3, *coarse)).astype(np.float32)
    tensors = [torch.from_numpy(x)[None] for x in (fixed[None], moving[None], field)]
    by_reference = LightCRCF(NetworkConfig(force=True, pool=pool))._forces(*tensors, both=True)
    got = forces(fixed, moving, field, pool, both=True)
    for wanted, found in zip(by_reference, got, strict=True):
        np.testing.assert_allclose(found, wanted[0].numpy(), atol=2e-3)
    still, back = forces(fixed, moving, np.zeros_like(field), pool, both=True)
    (d, h, w), (p, q, r) = coarse, pool
    blocks = unit_force(fixed, moving).reshape(3, d, p, h, q, w, r)
    np.testing.assert_allclose(still, blocks.mean(axis=(2, 4, 6)), atol=1e-5)
    assert np.abs(got[0] - still).max() > 0.05
    np.testing.assert_array_equal(back, forces(moving, fixed, np.zeros_like(field), pool)[0])


def test_it_points_to_where_the_moving_image_lies_and_never_longer_than_one() -> None:
    """Sampling further along the last axis moves a blob back by as much."""
    found = unit_force(blob(8.5), blob(10.5))
    length = np.sqrt((found**2).sum(axis=0))
    where = blob(8.5) > 0.5
    assert found[2][where].mean() > 0.3
    assert np.abs(found[:2, where].mean(axis=1)).max() < 0.05
    assert 0.99 < length.max() <= 1.0001


INNER = (slice(None), *(slice(4, -4),) * 3)
"""Away from borders, beyond which images are zero."""


def test_identical_images_and_images_that_show_nothing_have_none() -> None:
    flat, nothing = np.full(SHAPE, 0.5, np.float32), np.zeros(SHAPE, np.float32)
    texture = np.random.default_rng(3).random(SHAPE, dtype=np.float32)
    for fixed, moved in ((texture, texture), (flat, texture), (texture, flat), (nothing, nothing)):
        assert np.abs(unit_force(fixed, moved)[INNER]).max() < 1e-3


@pytest.mark.parametrize(("gain", "offset"), [(0.7, 0.0), (-0.8, 1.0), (0.5, 0.3)])
def test_contrast_hardly_counts(gain: float, offset: float) -> None:
    """Of the moving image none, of the fixed image no factor: its unit grows with it."""
    fixed, moved = np.random.default_rng(3).random((2, *SHAPE), dtype=np.float32)
    wanted = unit_force(fixed, moved)[INNER]
    np.testing.assert_allclose(unit_force(fixed, gain * moved + offset)[INNER], wanted, atol=0.01)
    np.testing.assert_allclose(unit_force(0.6 * fixed, moved)[INNER], wanted, atol=0.05)


def test_each_pair_of_a_batch_has_its_own_unit() -> None:
    images = torch.stack([torch.from_numpy(blob(c))[None] for c in (8.5, 9.5)])
    both = force.unit_force(images, images.flip(0) * 0.5)
    torch.testing.assert_close(both[:1], force.unit_force(images[:1], images[1:] * 0.5))
    torch.testing.assert_close(both[1:], force.unit_force(images[1:], images[:1] * 0.5))
