import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, bounding_boxes, compact, label_codes


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
    assert compact(labels, label_codes(labels)).tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize("far", [90, 1 << 40])
def test_codes_far_apart_are_compacted_as_close_ones(far: int) -> None:
    labels = np.array([[0, far, -7], [4, far + 1, 4], [far - 1, 1, 5]])
    assert compact(labels, np.array([4, far])).tolist() == [[0, 2, 0], [1, 0, 1], [0, 0, 0]]
    assert compact(np.array([3, 4, 5], np.uint8), np.array([4])).tolist() == [0, 1, 0]


def test_compacting_to_nothing_gives_zeros() -> None:
    assert compact(np.array([3, 4]), np.array([], dtype=np.int64)).tolist() == [0, 0]


def test_boxes_hold_each_label_and_nothing_more() -> None:
    labels = np.zeros((5, 7, 11), dtype=np.int16)
    labels[1:3, 4, 2:9] = 40
    labels[4, 6, 10] = 3
    boxes = bounding_boxes(labels, np.array([3, 40, 99]))
    assert boxes[0].tolist() == [[4, 5], [6, 7], [10, 11]]
    assert boxes[1].tolist() == [[1, 3], [4, 5], [2, 9]]
    assert (boxes[2, :, 0] > boxes[2, :, 1]).all()
