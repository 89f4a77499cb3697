from __future__ import annotations

import numpy as np
import pytest

from lightcrcf.transforms.labels import is_label_map

SHAPE = (15, 17, 21)


def blocks() -> np.ndarray:
    """Codes 0, 4, 2035 in blocks of some voxels."""
    i, j, k = np.indices(SHAPE)
    return np.array([0, 4, 2035])[(i // 6 + j // 5 + k // 7) % 3]


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64", ">i2"])
def test_label_maps_of_any_dtype(dtype: str) -> None:
    assert is_label_map(blocks().astype(dtype))


def test_masks_and_constants_are_label_maps() -> None:
    assert is_label_map(blocks() > 0)
    assert is_label_map((blocks() > 0).astype(np.uint8))
    assert is_label_map(np.zeros(SHAPE, np.int16))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_images_of_any_dtype(dtype: str) -> None:
    image = np.random.default_rng(0).integers(0, 200, SHAPE)
    image[:8] = 0  # background
    assert not is_label_map(image.astype(dtype))


def test_padding_of_any_value_does_not_count() -> None:
    scan = np.random.default_rng(0).integers(-100, 900, SHAPE).astype(np.int16)
    scan[:, :9] = -3024
    assert not is_label_map(scan)


def test_fractions_and_nan_make_an_image() -> None:
    assert not is_label_map(blocks() + 0.5)
    assert not is_label_map(np.where(blocks() == 4, np.nan, blocks()))
