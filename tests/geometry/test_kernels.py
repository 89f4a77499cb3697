"""Every kernel against its plain NumPy twin in float64, and against torch where torch has the operation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry import kernels
from lightcrcf.geometry.threads import use_threads

SHAPE = (5, 7, 11)
CHANNELS = [1, 2, 3, 5]
Sample = Callable[[NDArray, NDArray], NDArray]
Voxels = Callable[[tuple[int, ...]], NDArray]


def field(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE, size: float = 2.0) -> NDArray:
    return (size * rng.standard_normal((3, *shape))).astype(np.float32)


def upsample_twin(coarse: NDArray, shape: tuple[int, int, int], sample: Sample, voxels: Voxels) -> NDArray:
    return 2 * sample(coarse, (voxels(shape) - 0.5) / 2)


@pytest.mark.parametrize("channels", CHANNELS)
def test_warp(rng: np.random.Generator, trilinear: Sample, voxels: Voxels, channels: int) -> None:
    features, u = rng.random((channels, *SHAPE), dtype=np.float32), field(rng)
    warped = kernels.warp(features, u)
    assert warped.dtype == np.float32
    assert warped.shape == features.shape
    np.testing.assert_allclose(warped, trilinear(features, voxels(SHAPE) + u), atol=2e-6)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("channels", CHANNELS)
def test_warp_by_one_voxel_shifts_along_its_axis(rng: np.random.Generator, axis: int, channels: int) -> None:
    features = rng.random((channels, *SHAPE), dtype=np.float32)
    u = np.zeros((3, *SHAPE), np.float32)
    u[axis] = 1
    source = np.minimum(np.arange(SHAPE[axis]) + 1, SHAPE[axis] - 1)
    np.testing.assert_array_equal(kernels.warp(features, u), np.take(features, source, axis + 1))


@pytest.mark.parametrize("channels", CHANNELS)
def test_warp_equals_torch(rng: np.random.Generator, voxels: Voxels, channels: int) -> None:
    import torch

    features, u = rng.random((channels, *SHAPE), dtype=np.float32), field(rng)
    unit = [2 * x / (n - 1) - 1 for x, n in zip(voxels(SHAPE) + u, SHAPE, strict=True)]
    points = torch.from_numpy(np.stack(unit[::-1], axis=-1))[None]
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(features).double()[None], points, padding_mode="border", align_corners=True
    )
    np.testing.assert_allclose(kernels.warp(features, u), expected[0].numpy(), atol=2e-6)


@pytest.mark.parametrize("shape", [(6, 8, 12), (5, 7, 11), (6, 7, 12), (5, 8, 11)])
def test_upsample(rng: np.random.Generator, trilinear: Sample, voxels: Voxels, shape: tuple[int, int, int]) -> None:
    coarse = field(rng, (3, 4, 6))
    expected = upsample_twin(coarse, shape, trilinear, voxels)
    np.testing.assert_allclose(kernels.upsample(coarse, shape), expected, atol=2e-6)


def test_upsample_of_single_voxels(rng: np.random.Generator, trilinear: Sample, voxels: Voxels) -> None:
    coarse = field(rng, (1, 2, 1))
    expected = upsample_twin(coarse, (2, 3, 1), trilinear, voxels)
    np.testing.assert_allclose(kernels.upsample(coarse, (2, 3, 1)), expected, atol=1e-6)


def test_upsample_equals_torch(rng: np.random.Generator) -> None:
    import torch

    coarse = field(rng, (3, 4, 6))
    expected = 2 * torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None], scale_factor=2, mode="trilinear", align_corners=False
    )
    np.testing.assert_allclose(kernels.upsample(coarse, (6, 8, 12)), expected[0].numpy(), atol=2e-6)


@pytest.mark.parametrize("channels", CHANNELS)
def test_warp_upsampled_equals_both_in_turn(rng: np.random.Generator, channels: int) -> None:
    features, coarse = rng.random((channels, *SHAPE), dtype=np.float32), field(rng, (3, 4, 6))
    expected = kernels.warp(features, kernels.upsample(coarse, SHAPE))
    np.testing.assert_array_equal(kernels.warp_upsampled(features, coarse), expected)


def test_compose(rng: np.random.Generator, trilinear: Sample, voxels: Voxels) -> None:
    u, v = field(rng), field(rng)
    np.testing.assert_allclose(kernels.compose(u, v), v + trilinear(u, voxels(SHAPE) + v), atol=1e-5)


def test_compose_applies_u_first_to_images(rng: np.random.Generator) -> None:
    """Moving by compose(u, v) is moving by u and then by v; shown with shifts of whole voxels, away from borders."""
    image = rng.random((1, *SHAPE), dtype=np.float32)
    u, v = np.zeros((3, *SHAPE), np.float32), np.zeros((3, *SHAPE), np.float32)
    u[2, :, :, ::2], v[2], v[1] = 1, 2, -1
    both = kernels.warp(kernels.warp(image, u), v)
    once = kernels.warp(image, kernels.compose(u, v))
    np.testing.assert_array_equal(once[:, :, 1:, :-3], both[:, :, 1:, :-3])


def test_compose_upsampled(rng: np.random.Generator) -> None:
    coarse, residual = field(rng, (3, 4, 6)), field(rng)
    expected = kernels.compose(kernels.upsample(coarse, SHAPE), residual)
    np.testing.assert_array_equal(kernels.compose_upsampled(coarse, residual), expected)


def test_results_do_not_depend_on_the_number_of_threads(rng: np.random.Generator) -> None:
    shape = (16, 18, 20)
    image, u, coarse = rng.random((2, *shape), dtype=np.float32), field(rng, shape), field(rng, (8, 9, 10))

    def results() -> list[NDArray]:
        smooth = kernels.upsample(coarse / 20, shape)
        return [
            kernels.warp(image, u),
            kernels.warp_upsampled(image, coarse),
            kernels.compose_upsampled(coarse, u),
            kernels.invert(smooth),
            kernels.resample(image[0], shape, np.eye(3, 4), field=u, interpolation="cubic"),
            kernels.resample(image[0], shape, np.eye(3, 4), field=u, interpolation="nearest"),
        ]

    with use_threads(1):
        alone = results()
    for one, many in zip(alone, results(), strict=True):
        np.testing.assert_array_equal(one, many)


def test_inputs_of_any_layout_are_taken_and_left_alone(rng: np.random.Generator) -> None:
    features, u = rng.random((2, *SHAPE), dtype=np.float32), field(rng)
    expected = kernels.warp(features, u)
    frozen, fortran = features.copy(), np.asfortranarray(u.astype(np.float64))
    frozen.setflags(write=False)
    np.testing.assert_array_equal(kernels.warp(frozen, fortran), expected)
    np.testing.assert_array_equal(frozen, features)
    flipped = np.ascontiguousarray(features[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(kernels.warp(flipped, u), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_wild_displacements_read_within_bounds(rng: np.random.Generator, bad: float) -> None:
    features = rng.random((2, *SHAPE), dtype=np.float32)
    u = np.full((3, *SHAPE), bad, np.float32)
    end = -1 if bad > 0 else 0  # NaN ends at the first voxel
    expected = np.broadcast_to(features[:, end, end, end].reshape(2, 1, 1, 1), features.shape)
    np.testing.assert_array_equal(kernels.warp(features, u), expected)
    resampled = kernels.resample(features[0], SHAPE, np.eye(3, 4), field=u, fill=-1.0)
    np.testing.assert_array_equal(resampled, np.full(SHAPE, -1, np.float32))
    assert kernels.invert(u).shape == u.shape


def test_memory_that_is_given_is_used(rng: np.random.Generator) -> None:
    image, u, v = (rng.normal(size=(n, 6, 7, 8)).astype(np.float32) for n in (1, 3, 3))
    for call, expected in (
        (lambda out: kernels.warp(image, u, out), kernels.warp(image, u)),
        (lambda out: kernels.compose(u, v, out), kernels.compose(u, v)),
    ):
        out = np.full_like(expected, np.nan)
        assert call(out) is out
        np.testing.assert_array_equal(out, expected)
