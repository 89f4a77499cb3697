"""A deformation has to be better than none, by more than what noise gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.grid import Grid
from lightcrcf.refinement.acceptance import gains
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume

Texture = Callable[..., tuple[NDArray, NDArray, NDArray]]
Metric = Literal["lncc", "mse"]
METRICS: tuple[Metric, Metric] = ("lncc", "mse")


def pair_of(fixed: NDArray, moving: NDArray, masks: tuple[Any, Any] = (None, None)) -> WorkingPair:
    grid = Grid(fixed.shape, np.diag([2.0, 2.0, 2.0, 1.0]))  # type: ignore[arg-type]
    volumes = [Volume(data, grid) for data in (fixed, moving)]
    return WorkingPair.prepare(*volumes, masks, Affine.identity(), None, RegistrationCache())


def on_grid_of(pair: WorkingPair, displacement: NDArray) -> NDArray:
    """A field of `texture` on the working grid, which has a margin."""
    start = np.round(pair.images[0].grid.voxels(pair.grid.world((0, 0, 0)))).astype(int)
    sizes = zip(pair.grid.shape, start, displacement.shape[1:], strict=True)
    places = [np.clip(np.arange(n) + first, 0, size - 1) for n, first, size in sizes]
    return np.ascontiguousarray(displacement[(slice(None), *np.ix_(*places))])


def noisy(image: NDArray, sigma: float, seed: int) -> NDArray:
    return (image + np.abs(np.random.default_rng(seed).normal(0, sigma, image.shape))).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_what_truly_differs_is_worth_a_deformation(texture: Texture, metric: Metric, sigma: float) -> None:
    moving, fixed, right = texture()
    pair = pair_of(noisy(fixed, sigma, 1), noisy(moving, sigma, 2))
    field = on_grid_of(pair, right)
    assert gains([pair], field, [metric])
    assert gains([pair], downsample(field, pair.pool), [metric])  # on the half grid
    assert not gains([pair], -field, [metric])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_nothing_is_gained_by_moving_what_is_the_same(texture: Texture, metric: Metric, sigma: float) -> None:
    _, fixed, right = texture()
    pair = pair_of(noisy(fixed, sigma, 1), noisy(fixed, sigma, 2))
    for share in (0.0, 0.02, 0.3, 1.0):
        assert not gains([pair], np.float32(share) * on_grid_of(pair, right), [metric])


def test_a_smooth_factor_is_no_difference(texture: Texture) -> None:
    """A scanner's bias field: what brings it down is no anatomy."""
    moving, fixed, right = texture()
    ramp = np.exp(0.6 * (np.arange(fixed.shape[1]) / fixed.shape[1] - 0.5)).astype(np.float32)[:, None]
    same = pair_of(fixed, (fixed * ramp).astype(np.float32))
    for share in (0.02, 0.3, 1.0):
        assert not gains([same], np.float32(share) * on_grid_of(same, right), ["lncc"])
    other = pair_of(fixed, (moving * ramp).astype(np.float32))
    assert gains([other], on_grid_of(other, right), ["lncc"])


def test_only_what_counts_is_compared(texture: Texture) -> None:
    """The images differ where a mask leaves them out, and nowhere else."""
    moving, fixed, right = texture()
    half = np.arange(fixed.shape[2]) < fixed.shape[2] // 2
    mixed = np.where(half, fixed, moving).astype(np.float32)
    grid = Grid(fixed.shape, np.diag([2.0, 2.0, 2.0, 1.0]))  # type: ignore[arg-type]
    mask = Volume((half & np.ones(fixed.shape, bool)).astype(np.uint8), grid)
    pair, masked = pair_of(fixed, mixed), pair_of(fixed, mixed, (mask, None))
    field = on_grid_of(pair, np.where(half, 0, right).astype(np.float32))
    assert gains([pair], field, ["lncc"])
    assert not gains([masked], field, ["lncc"])
