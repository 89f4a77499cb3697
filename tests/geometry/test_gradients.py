from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightcrcf.geometry import gradients, kernels

Array = NDArray[np.float64]
SHAPE = (5, 7, 11)
CHANNELS = pytest.mark.parametrize("channels", [1, 2, 3, 5])


@pytest.fixture(params=[0.4, 3.0], ids=["small", "beyond the borders"])
def displacement(request: pytest.FixtureRequest, rng: np.random.Generator) -> NDArray[np.float32]:
    """Away from whole voxels, where the trilinear interpolant has a corner and two derivatives."""
    u = rng.normal(scale=request.param, size=(3, *SHAPE))
    position = u + np.indices(SHAPE)
    fraction = position - np.floor(position)
    position = np.floor(position) + np.clip(fraction, 0.05, 0.95)
    return (position - np.indices(SHAPE)).astype(np.float32)


def image(rng: np.random.Generator, channels: int) -> NDArray[np.float32]:
    return rng.normal(size=(channels, *SHAPE)).astype(np.float32)


@CHANNELS
def test_the_gradient_towards_the_displacement_is_that_of_its_numpy_twin(
    channels: int,
    displacement: NDArray,
    rng: np.random.Generator,
    trilinear: Callable[[NDArray, NDArray], Array],
    voxels: Callable[[tuple[int, ...]], Array],
) -> None:
    features, upstream = image(rng, channels), image(rng, channels)
    position, step = voxels(SHAPE) + displacement, 1e-4
    wanted = np.empty((3, *SHAPE))
    for axis in range(3):
        offset = step * np.eye(3)[axis].reshape(3, 1, 1, 1)
        slope = (trilinear(features, position + offset) - trilinear(features, position - offset)) / (2 * step)
        inside = (position[axis] > 0) & (position[axis] < SHAPE[axis] - 1)
        wanted[axis] = np.where(inside, (slope * upstream).sum(axis=0), 0)
    got = gradients.warp_gradient(features, displacement, upstream)
    np.testing.assert_allclose(got, wanted, atol=2e-4)


@CHANNELS
def test_the_gradient_towards_the_features_is_the_adjoint_of_the_warp(
    channels: int, displacement: NDArray, rng: np.random.Generator
) -> None:
    features, upstream = image(rng, channels), image(rng, channels)
    forward = (kernels.warp(features, displacement).astype(float) * upstream).sum()
    backward = (gradients.warp_features_gradient(displacement, upstream).astype(float) * features).sum()
    assert backward == pytest.approx(forward, abs=1e-3)


def test_the_gradient_towards_the_features_is_the_sum_of_trilinear_weights(
    displacement: NDArray, rng: np.random.Generator, voxels: Callable[[tuple[int, ...]], Array]
) -> None:
    upstream, wanted = image(rng, 2), np.zeros((2, *SHAPE))
    last = np.array(SHAPE).reshape(3, 1, 1, 1) - 1
    position = np.clip(voxels(SHAPE) + displacement, 0, last)
    low = np.minimum(np.floor(position).astype(int), np.maximum(last - 1, 0))
    for corner in np.ndindex(2, 2, 2):
        up = np.array(corner).reshape(3, 1, 1, 1)
        weight = np.where(up, position - low, 1 - (position - low)).prod(axis=0)
        for channel in range(2):
            np.add.at(wanted[channel], tuple(low + up), weight * upstream[channel])
    got = gradients.warp_features_gradient(displacement, upstream)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_constant_image_pulls_nowhere(displacement: NDArray) -> None:
    flat = np.full((2, *SHAPE), 7, np.float32)
    assert not gradients.warp_gradient(flat, displacement, np.ones_like(flat)).any()


def test_one_axis_of_a_ramp_pulls_along_that_axis_only() -> None:
    still = np.zeros((3, *SHAPE), np.float32)
    for axis in range(3):
        ramp = np.indices(SHAPE)[axis][None].astype(np.float32)
        found = gradients.warp_gradient(ramp, still + np.float32(0.25), np.ones_like(ramp))
        wanted = np.zeros((3, *SHAPE))
        wanted[axis] = np.indices(SHAPE)[axis] < SHAPE[axis] - 1
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("radius", [0, 1, 2, 4, 6])
@pytest.mark.parametrize("channels", [1, 5])
def test_the_window_mean_is_that_of_pytorch(channels: int, radius: int, rng: np.random.Generator) -> None:
    images = image(rng, channels)
    # PyTorch takes no padding beyond half the window; zeros around the image mean the same.
    padded = torch.nn.functional.pad(torch.from_numpy(images), (radius,) * 6)
    wanted = torch.nn.functional.avg_pool3d(padded, 2 * radius + 1, stride=1)
    np.testing.assert_allclose(gradients.window_mean(images, radius), wanted.numpy(), atol=5e-6)


@pytest.mark.parametrize("radius", [1, 3])
def test_the_window_mean_is_its_own_adjoint(radius: int, rng: np.random.Generator) -> None:
    one, other = image(rng, 2), image(rng, 2)
    there = (gradients.window_mean(one, radius).astype(float) * other).sum()
    assert (gradients.window_mean(other, radius).astype(float) * one).sum() == pytest.approx(there, abs=1e-5)


def test_what_is_not_finite_stays_within_its_windows(rng: np.random.Generator) -> None:
    images = image(rng, 1)
    images[0, 2, 3, 4] = np.inf
    expected = np.zeros(SHAPE, np.bool_)
    expected[1:4, 2:5, 3:6] = True
    np.testing.assert_array_equal(~np.isfinite(gradients.window_mean(images, 1)[0]), expected)


@pytest.mark.parametrize("shape", [(1, 6, 70), (4, 1, 3), (5, 3, 1), (1, 1, 1)])
def test_gradients_on_grids_of_single_voxels(shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    features, upstream = rng.normal(size=(2, 2, *shape)).astype(np.float32)
    u = rng.normal(size=(3, *shape)).astype(np.float32)
    forward = (kernels.warp(features, u).astype(float) * upstream).sum()
    backward = (gradients.warp_features_gradient(u, upstream).astype(float) * features).sum()
    assert backward == pytest.approx(forward, abs=1e-4)
    single = [axis for axis in range(3) if shape[axis] == 1]
    assert not gradients.warp_gradient(features, u, upstream)[single].any()


def test_gradients_are_the_same_bytes_on_every_run(displacement: NDArray, rng: np.random.Generator) -> None:
    features, upstream = image(rng, 3), image(rng, 3)
    for compute in (
        lambda: gradients.warp_gradient(features, displacement, upstream),
        lambda: gradients.warp_features_gradient(displacement, upstream),
        lambda: gradients.window_mean(features, 2),
    ):
        assert compute().tobytes() == compute().tobytes()
