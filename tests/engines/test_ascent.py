"""The steps up the force after the finest level: what they do, and that both implementations agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightcrcf.engines.ascent import ascend
from lightcrcf.evaluation.regularity import sdlogj
from lightcrcf.geometry.determinant import even_out, jacobian_determinant
from lightcrcf.geometry.kernels import warp_upsampled
from lightcrcf.geometry.refinement_kernels import correlation_terms, gaussian_taps, smooth
from lightcrcf.network import ascent
from lightcrcf.network.config import Shape

Float32 = NDArray[np.float32]
Pair = Callable[[Shape], tuple[Float32, Float32]]
POOLS = pytest.mark.parametrize("pool", [(2, 2, 2), (2, 2, 1)])


def textured(shape: Shape, seed: int = 3) -> Float32:
    """Noise without flat windows, smooth over some voxels, in [0, 1]."""
    noise = np.random.default_rng(seed).random((1, *shape), dtype=np.float32)
    out = np.empty_like(noise)
    smooth(noise, gaussian_taps((1.5, 1.5, 1.5)), out)
    found: Float32 = ((out - out.min()) / (out.max() - out.min()))[0]
    return found


def small_field(shape: Shape, size: float = 0.4) -> Float32:
    noise = np.random.default_rng(9).normal(size=(3, *shape)).astype(np.float32)
    out = np.empty_like(noise)
    smooth(noise, gaussian_taps((2.0, 2.0, 2.0)), out)
    return np.asarray(size * out / np.abs(out).max(), np.float32)


def by_pytorch(fixed: Float32, moving: Float32, field: Float32, steps: int, pool: Shape) -> Float32:
    images = (torch.from_numpy(image)[None, None] for image in (fixed, moving))
    found: Float32 = ascent.ascend(*images, torch.from_numpy(field)[None], steps, pool)[0].numpy()
    return found


@POOLS
def test_the_native_steps_are_those_of_pytorch(pool: Shape) -> None:
    fixed, shape = textured((24, 20, 28)), tuple(n // p for n, p in zip((24, 20, 28), pool, strict=True))
    moving, field = textured((24, 20, 28), seed=4), small_field(shape)
    for steps in (1, 3):
        wanted = by_pytorch(fixed, moving, field, steps, pool)
        np.testing.assert_allclose(ascend(fixed, moving, field, steps, pool), wanted, atol=2e-3)
        assert np.abs(wanted - field).max() > 0.1


def test_they_raise_the_similarity_and_leave_their_input() -> None:
    fixed, field = textured((32, 36, 40)), small_field((16, 18, 20), size=1.2)
    moving, start = warp_upsampled(fixed[None], field)[0], np.zeros_like(field)
    gained = []
    for steps in (0, 2, 6):
        moved = warp_upsampled(moving[None], ascend(fixed, moving, start, steps, (2, 2, 2)))[0]
        found, counted, _ = correlation_terms(fixed, moved, None, 2, 1e-6, np.empty((3, *fixed.shape), np.float32))
        gained.append(found / counted)
    assert gained[0] < gained[1] < gained[2]
    assert 1 - gained[2] < 0.8 * (1 - gained[0])
    assert not start.any()


def test_images_that_are_alike_stay_where_they_are() -> None:
    fixed = textured((24, 20, 28))
    still = ascend(fixed, fixed, np.zeros((3, 12, 10, 14), np.float32), 4, (2, 2, 2))
    assert not still.any()


def test_without_forces_a_rough_field_becomes_smoother() -> None:
    flat, rough = np.full((24, 20, 28), 0.5, np.float32), small_field((12, 10, 14), size=1.5)
    assert sdlogj(ascend(flat, flat, rough, 4, (2, 2, 2))) < 0.9 * sdlogj(rough)


def test_determinants_smoothing_and_evening_out_are_those_of_the_refinement() -> None:
    field = small_field((9, 10, 11), size=2.5)
    tensor = torch.from_numpy(field)[None]
    np.testing.assert_allclose(ascent.determinant(tensor)[0].numpy(), jacobian_determinant(field), atol=1e-5)
    smoothed, evened = np.empty_like(field), field.copy()
    smooth(field, gaussian_taps((0.9, 0.9, 0.9)), smoothed)
    np.testing.assert_allclose(ascent.smooth(tensor, 0.9)[0].numpy(), smoothed, atol=1e-5)
    even_out(evened, jacobian_determinant(field), 0.2)
    np.testing.assert_allclose(ascent.even_out(tensor, 0.2)[0].numpy(), evened, atol=1e-5)


def test_an_axis_of_one_slice_is_no_axis_to_even_out() -> None:
    field = small_field((1, 8, 9))
    assert np.isfinite(ascent.even_out(torch.from_numpy(field)[None], 0.2).numpy()).all()
