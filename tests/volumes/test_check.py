import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, check_usable


def volume(data: np.ndarray) -> Volume:
    return Volume(data, Grid(data.shape, np.eye(4)), source="brain.nii")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.bool_])
def test_contrast_is_usable(dtype: type) -> None:
    data = np.zeros((5, 7, 11), dtype)
    data[1, 2, 3] = 1
    check_usable(volume(data), "fixed")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.bool_])
def test_constant_is_refused(dtype: type) -> None:
    with pytest.raises(InputError, match=r"brain\.nii: expected a moving image with contrast, got 1"):
        check_usable(volume(np.ones((5, 7, 11), dtype)), "moving")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_voxel_is_refused_with_the_way_out(value: float) -> None:
    data = np.random.default_rng(0).normal(size=(5, 7, 11)).astype(np.float32)
    data[4, 5, 6] = value
    with pytest.raises(
        InputError, match=r"got 1 of 385 NaN or infinite; replace them, for instance with numpy\.nan_to_num"
    ):
        check_usable(volume(data), "fixed")
