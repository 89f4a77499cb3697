from __future__ import annotations

import numpy as np
import pytest
import torch

from lightcrcf.geometry import kernels
from lightcrcf.network import sampling

SHAPE = (5, 7, 11)


def test_each_channel_moves_along_its_own_axis() -> None:
    image = torch.rand(1, 2, *SHAPE)
    for axis in range(3):
        one = torch.zeros(1, 3, *SHAPE)
        one[:, axis] = 1
        moved, n = sampling.warp(image, one), SHAPE[axis]
        torch.testing.assert_close(moved.narrow(axis + 2, 0, n - 1), image.narrow(axis + 2, 1, n - 1))
        torch.testing.assert_close(moved.select(axis + 2, n - 1), image.select(axis + 2, n - 1))


@pytest.mark.parametrize("size", [0.3, 4.0])
def test_warp_upsample_and_compose_are_those_of_the_kernels(size: float) -> None:
    fine = tuple(2 * n for n in SHAPE)
    u, v = (size * torch.randn(1, 3, *SHAPE) for _ in range(2))
    features = torch.randn(1, 4, *SHAPE)
    for got, wanted in (
        (sampling.warp(features, u), kernels.warp(features[0].numpy(), u[0].numpy())),
        (sampling.upsample(u), kernels.upsample(u[0].numpy(), fine)),
        (sampling.compose(u, v), kernels.compose(u[0].numpy(), v[0].numpy())),
    ):
        np.testing.assert_allclose(got[0].numpy(), wanted, atol=1e-4)


def test_composing_is_warping_twice() -> None:
    image = torch.arange(11.0).expand(1, 1, *SHAPE)
    u, v = torch.zeros(2, 1, 3, *SHAPE)
    u[:, 2], v[:, 2] = 2, 1
    both = sampling.warp(image, sampling.compose(u, v))
    torch.testing.assert_close(both, sampling.warp(sampling.warp(image, u), v))
    torch.testing.assert_close(both[..., :8], image[..., 3:])


def test_a_single_voxel_has_nothing_to_interpolate() -> None:
    image, shift = torch.full((1, 2, 1, 1, 1), 3.0), torch.full((1, 3, 1, 1, 1), 0.7)
    assert sampling.warp(image, shift).flatten().tolist() == [3.0, 3.0]
    assert sampling.upsample(shift).unique().tolist() == [pytest.approx(1.4)]
