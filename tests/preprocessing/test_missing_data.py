"""Where an image holds what was measured, and what stands where it does not: filling, padding, the background."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.missing_data import estimate_background, fill_missing, find_padding, measured_mask
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]
Maker = Callable[[], NDArray[np.int16]]

SHAPE = (20, 26, 23)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("value", [-3024, -2000, 0, 4000])
def test_padding_is_a_constant_at_the_border_far_from_the_rest(
    value: int, dtype: type, ct: Maker, corners: NDArray
) -> None:
    data = ct()
    data[corners] = value
    found = find_padding(data.astype(dtype))
    assert found is not None
    np.testing.assert_array_equal(found, corners)


@pytest.mark.parametrize("value", [-1000, -1024])
def test_air_is_no_padding(value: int, ct: Maker, corners: NDArray) -> None:
    data = ct()
    data[corners] = value
    assert find_padding(data) is None


def test_black_around_a_masked_brain_or_a_head_is_no_padding(brains: BrainMaker, grids: GridMaker) -> None:
    grid = grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR", turn=(4, -7, 3))
    for head in (False, True):
        image = brains(grid, head=head)[0]
        assert find_padding(image.data) is None
        assert measured_mask(image) is None


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_padding_is_told_from_air_of_one_value_whichever_is_more(columns: int, ct: Maker) -> None:
    data = np.maximum(ct(), -990)  # most of it is that
    data[:, :columns] = -3024
    found = find_padding(data)
    assert found is not None
    np.testing.assert_array_equal(found, data == -3024)


def test_saturated_tissue_that_reaches_the_border_is_no_padding() -> None:
    data = np.random.default_rng(6).integers(0, 12, SHAPE)
    data[4:16, 5:20, 4:23] = np.random.default_rng(7).integers(60, 200, (12, 15, 19))
    data[5:15, 6:19, 20:] = 255
    assert np.mean(data == 255) > 0.005
    assert find_padding(data) is None


def test_what_interpolation_left_between_padding_and_air_goes_with_it(ct: Maker, corners: NDArray) -> None:
    data = ct().astype(np.float32)
    data[corners] = -3024
    data[0, 5:9, 5:9] = -2500
    found = find_padding(data)
    assert found is not None
    assert found[0, 5:9, 5:9].all()


def test_the_value_of_padding_inside_of_tissue_is_tissue(ct: Maker, corners: NDArray) -> None:
    """0 is padding at the border, and water within."""
    data = ct()
    data[corners] = 0
    data[9:11, 12:14, 10:14] = 0
    found = find_padding(data)
    assert found is not None
    np.testing.assert_array_equal(found, corners)


def test_padding_is_told_where_other_voxels_are_not_finite(ct: Maker, corners: NDArray) -> None:
    data = ct().astype(np.float64)
    data[corners] = -3024
    data[:, :, :3] = np.nan
    found = find_padding(data, np.isfinite(data))
    assert found is not None
    np.testing.assert_array_equal(found[:, :, 3:], corners[:, :, 3:])


@pytest.mark.parametrize(("fill", "wanted"), [("auto", -990), (7.0, 7), (-2048.0, -2048)])
def test_filling(fill: float | str, wanted: float, grids: GridMaker, ct: Maker, corners: NDArray) -> None:
    data = ct()
    data[corners] = -3024
    volume, value = fill_missing(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5))), fill)  # type: ignore[arg-type]
    assert value == pytest.approx(wanted, abs=9 if fill == "auto" else 0)
    assert volume.data.dtype == np.int16
    assert np.abs(volume.data[corners] - value).max() < 1
    np.testing.assert_array_equal(volume.data[~corners], data[~corners])


@pytest.mark.parametrize("value", [-1e5, 0.5, float("nan")])
def test_filling_with_what_integers_cannot_hold(value: float, grids: GridMaker, ct: Maker, corners: NDArray) -> None:
    data = ct()
    data[corners] = -3024
    volume, _ = fill_missing(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5))), value)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, np.where(corners, np.float32(value), data))


def test_the_background_of_integers_is_a_whole_number(grids: GridMaker, ct: Maker) -> None:
    data = ct()
    data[data < -800] = np.random.default_rng(7).choice([-1000, -1001], np.count_nonzero(data < -800))
    data[0], data[-1] = np.where(np.arange(26 * 23).reshape(26, 23) % 2, -1000, -1001), -1000
    assert estimate_background(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5)))).is_integer()


def test_a_few_voxels_with_data_among_many_without(grids: GridMaker) -> None:
    shape = (130, 131, 133)
    data = np.full(shape, np.nan, np.float32)
    data[1, 1, 1:3] = 5, 9
    assert estimate_background(Volume(data, grids(shape, (2.0, 3.0, 2.5))), np.isfinite(data)) == 5


def test_the_background_is_that_of_air(brains: BrainMaker, grids: GridMaker, ct: Maker) -> None:
    grid = grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR")
    brain, head = brains(grid)[0], brains(grids((66, 77, 60), (3.2, 3.0, 3.4)), head=True)[0]
    assert estimate_background(brain) == 0
    assert estimate_background(Volume(brain.data - 1000, grid)) == -1000
    assert 0 <= estimate_background(head) < 20
    assert estimate_background(Volume(ct(), grids(SHAPE, (2.0, 3.0, 2.5)))) == pytest.approx(-990, abs=9)


def test_the_background_is_that_of_air_where_little_of_the_border_is_known(
    grids: GridMaker, ct: Maker, corners: NDArray
) -> None:
    """0 HU in the place of what is unknown would be water, brighter than air."""
    data = np.where(corners, np.nan, ct())
    data[[0, -1]] = data[:, [0, -1]] = np.nan
    assert estimate_background(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5)))) == pytest.approx(-990, abs=10)


def test_the_background_is_not_one_voxel_far_below_all_others(brains: BrainMaker, grids: GridMaker) -> None:
    image = brains(grids((46, 58, 41), (3.2, 3.0, 3.4)))[0]
    for where in ((0, 0, 0), (23, 29, 20)):
        data = image.data - np.float32(1000)
        data[where] = -1e9
        assert estimate_background(Volume(data, image.grid)) == -1000


def test_the_background_of_a_statistical_map_is_zero(grids: GridMaker, corners: NDArray) -> None:
    data = np.random.default_rng(5).normal(0, 2, SHAPE)
    data[corners] = np.nan
    data[[0, -1]] = np.nan
    assert estimate_background(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5)))) == 0


def test_a_crop_from_inside_has_its_least_value_for_a_background(grids: GridMaker) -> None:
    data = np.random.default_rng(5).normal(500, 40, SHAPE)
    found = estimate_background(Volume(data, grids(SHAPE, (1.0, 1.5, 1.25))))
    assert data.min() <= found < 450
