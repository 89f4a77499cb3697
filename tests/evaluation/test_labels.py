from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, bounding_boxes, check_label_map, code_indices, label_codes
from lightcrcf.volumes import read


def test_integral_floats_are_labels() -> None:
    codes = as_codes(np.array([[0.0, 2035.0]], dtype=np.float32), "labels")
    assert codes.dtype == np.int64
    assert codes.tolist() == [[0, 2035]]


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf])
def test_an_image_is_no_label_volume(bad: float) -> None:
    with pytest.raises(InputError, match="whole numbers"):
        as_codes(np.array([1.0, bad]), "labels")


def test_text_is_refused() -> None:
    with pytest.raises(InputError, match="expected integers"):
        as_codes(np.array(["a"]), "labels")


def test_booleans_are_one_label() -> None:
    assert label_codes(np.array([True, False])).tolist() == [1]


def test_codes_may_be_huge_and_negative() -> None:
    labels = np.array([2**31, -5, 0, 7], dtype=np.int64)
    assert label_codes(labels).tolist() == [-5, 7, 2**31]
    assert code_indices(labels, label_codes(labels)).tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize("far", [90, 1 << 40])
def test_codes_far_apart_are_compacted_as_close_ones(far: int) -> None:
    labels = np.array([[0, far, -7], [4, far + 1, 4], [far - 1, 1, 5]])
    assert code_indices(labels, np.array([4, far])).tolist() == [[0, 2, 0], [1, 0, 1], [0, 0, 0]]
    assert code_indices(np.array([3, 4, 5], np.uint8), np.array([4])).tolist() == [0, 1, 0]


def test_compacting_to_nothing_gives_zeros() -> None:
    assert code_indices(np.array([3, 4]), np.array([], dtype=np.int64)).tolist() == [0, 0]


def test_boxes_hold_each_label_and_nothing_more() -> None:
    labels = np.zeros((5, 7, 11), dtype=np.int16)
    labels[1:3, 4, 2:9] = 40
    labels[4, 6, 10] = 3
    boxes = bounding_boxes(labels, np.array([3, 40, 99]))
    assert boxes[0].tolist() == [[4, 5], [6, 7], [10, 11]]
    assert boxes[1].tolist() == [[1, 3], [4, 5], [2, 9]]
    assert (boxes[2, :, 0] > boxes[2, :, 1]).all()


def tiles(codes: np.ndarray, size: int, shape: tuple[int, int, int] = (36, 48, 40)) -> np.ndarray:
    """Cubes of `size` voxels, each with a random one of `codes`; half of the volume is background."""
    rng = np.random.default_rng(0)
    coarse = rng.choice(codes, [-(-n // size) for n in shape])
    labels = coarse.repeat(size, 0).repeat(size, 1).repeat(size, 2)[tuple(slice(n) for n in shape)].copy()
    labels[: shape[0] // 3] = 0
    return labels


def grey_values(dtype: type, most: int) -> np.ndarray:
    """A smooth, noisy image of whole numbers, with air of 0 around it."""
    shape = (36, 48, 40)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    image = most * (0.5 + 0.3 * np.sin(5 * x + 2 * y) * np.cos(4 * z)) + np.random.default_rng(1).normal(
        0, most / 80, shape
    )
    return np.where(x**2 + y**2 + z**2 < 0.8, np.clip(image, 0, most), 0).astype(dtype)


@pytest.mark.parametrize(
    "labels",
    [
        tiles(np.arange(1, 139), 3),
        tiles(np.arange(1, 139), 2),
        tiles(np.arange(1002, 2036), 3).astype(np.int16),
        tiles(np.r_[2:80, 11101:11176, 12101:12176], 3).astype(np.int32),
        tiles(np.r_[2:80, 11101:11176], 3).astype(np.float32),
        np.random.default_rng(0).integers(0, 4, (36, 48, 40)).astype(np.uint8),
        np.arange(5 * 7 * 3).reshape(5, 7, 3),
        np.zeros((36, 48, 40), np.uint8),
        tiles(np.arange(-100, 100), 3).astype(np.int8),
        tiles(np.array([5, 1 << 40]), 3).astype(np.uint64),
        np.zeros((36, 48, 40), np.bool_),
    ],
    ids=lambda labels: f"{labels.dtype}-{len(np.unique(labels))}",
)
def test_label_maps_are_label_maps(labels: np.ndarray) -> None:
    check_label_map(labels, "labels.nii")


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.int16, 1800), (np.float32, 255), (np.uint16, 60000)])
def test_whole_grey_values_are_an_image(dtype: type, most: int) -> None:
    image = np.rint(grey_values(np.float64, most)).astype(dtype)
    with pytest.raises(
        InputError, match=r"^t1\.nii: expected a label map, got an image: \d+ values, .* % of neighbours"
    ):
        check_label_map(image, "t1.nii")


def test_padding_does_not_hide_an_image() -> None:
    image = grey_values(np.int16, 1800) - 1024
    with pytest.raises(InputError, match="expected a label map"):
        check_label_map(image, "ct.nii")


def test_fractions_are_an_image() -> None:
    with pytest.raises(InputError, match=r"^t1\.nii: expected whole numbers"):
        check_label_map(grey_values(np.float32, 200) / 3, "t1.nii")


@pytest.mark.data
def test_real_label_maps_and_real_images(data: Path) -> None:
    for name in ("oasis/sub-1000", "oasis-trt-asl/sub-01", "ixi-2mm/sub-IXI048", "chaos-t2/sub-01"):
        image = "T2w" if "chaos" in name else "T1w"
        for step in (1, 3):  # a coarse map changes its label more often
            labels = read(data / f"{name}_dseg.nii.gz")
            check_label_map(labels.data[::step, ::step, ::step], "labels")
            with pytest.raises(InputError, match="expected a label map"):
                check_label_map(read(data / f"{name}_{image}.nii.gz").data[::step, ::step, ::step], "image")
