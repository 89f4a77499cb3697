"""What counts as padding, and what does not although it is constant at the border."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.preprocessing.missing_data import find_padding

SHAPE = (24, 28, 32)


def trunk(air: float, *, noise: float = 0.0) -> NDArray[np.float64]:
    """Soft tissue of about 40 HU with some fat and bone in air, which ends two voxels before each face."""
    rng = np.random.default_rng(2)
    ct = np.full(SHAPE, air) + rng.normal(0, max(noise, 1e-9), SHAPE).round()
    ct[6:18, 5:23, 2:-2] = rng.normal(40, 15, (12, 18, 28)).round()
    ct[8:10, 7:12, 2:-2], ct[14:16, 13:16, 2:-2] = -100, 700
    return ct


@pytest.mark.parametrize("noise", [0.0, 8.0])
@pytest.mark.parametrize("value", [-3024, -2000, -2048])
def test_what_is_less_than_air_is_padding_whether_or_not_air_is_constant(value: int, noise: float) -> None:
    ct = trunk(-1000, noise=noise)
    ct[:, :3] = value
    found = find_padding(ct)
    assert found is not None
    np.testing.assert_array_equal(found, ct == value)


@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_zero_beside_air_is_padding_but_no_zero_inside_of_the_body(noise: float) -> None:
    ct = trunk(-1000, noise=noise)
    ct[:, :3] = 0
    found = find_padding(ct)
    assert found is not None
    assert found[:, :3].all()
    assert np.count_nonzero(found[:, 3:]) == 0


@pytest.mark.parametrize("air", [-1000, -1024])
def test_constant_air_is_none(air: int) -> None:
    assert find_padding(trunk(air)) is None


@pytest.mark.parametrize("values", [(0, 1), (0, 200), (2, 200), (-1000, 40), (255, 0)])
def test_neither_is_what_surrounds_a_shape_of_one_value(values: tuple[int, int]) -> None:
    shape = np.full(SHAPE, values[0], np.int16)
    shape[5:19, 6:22, 4:28] = values[1]
    assert find_padding(shape) is None


def test_a_masked_brain_is_not_padded_though_its_darkest_tissue_is_far_from_zero() -> None:
    """As in T2: white matter is dark, and what lies next to the mask is bright."""
    radius = np.linalg.norm(
        [(x - (n - 1) / 2) / (0.42 * n) for x, n in zip(np.indices(SHAPE), SHAPE, strict=True)], axis=0
    )
    shades = np.select([radius < 0.6, radius < 0.8, radius < 1], [350, 600, 1000], 0)
    noise = np.random.default_rng(1).normal(0, 20, SHAPE)
    assert find_padding(np.where(shades > 0, shades + noise, 0)) is None
