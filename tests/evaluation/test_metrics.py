import math

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.evaluation.metrics import dice, mse

SHAPE = (5, 7, 11)


def test_dice_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(3)
    codes = np.array([0, 4, 17, 207, 2035, 2**31])
    fixed, moved = rng.choice(codes, size=(2, *SHAPE))
    scores = dice(fixed, moved)
    assert list(scores) == [4, 17, 207, 2035, 2**31]
    for code, value in scores.items():
        a, b = fixed == code, moved == code
        assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-12)


def test_one_voxel_shift_along_each_axis_is_seen() -> None:
    fixed = np.zeros(SHAPE, dtype=np.int16)
    fixed[1:3, 2:5, 3:8] = 9  # 2 x 3 x 5 voxels
    for axis, length in enumerate((2, 3, 5)):
        assert dice(fixed, np.roll(fixed, 1, axis))[9] == pytest.approx((length - 1) / length)


def test_a_label_that_fixed_lacks_is_nan_and_a_lost_one_is_zero() -> None:
    fixed = np.array([[[1, 1, 2]]])
    moved = np.array([[[1, 1, 3]]])
    scores = dice(fixed, moved, labels=[1, 2, 3, 4])
    assert scores[1] == 1.0
    assert scores[2] == 0.0
    assert math.isnan(scores[3])
    assert math.isnan(scores[4])


def test_dice_does_not_care_how_codes_are_stored() -> None:
    fixed = np.arange(60).reshape(3, 4, 5) % 4
    moved = fixed[:, ::-1]
    assert dice(fixed.astype(np.uint8), moved.astype(np.float64)) == dice(fixed, moved)


def test_dice_of_empty_fixed_labels_is_empty() -> None:
    assert dice(np.zeros(SHAPE, int), np.ones(SHAPE, int)) == {}


def test_background_is_no_label() -> None:
    with pytest.raises(InputError, match="got 0"):
        dice(np.ones(SHAPE, int), np.ones(SHAPE, int), labels=[0, 1])


def test_dice_of_other_shapes_is_refused() -> None:
    with pytest.raises(InputError, match=r"moved labels: expected the shape \(5, 7, 11\)"):
        dice(np.ones(SHAPE, int), np.ones((5, 11, 7), int))


def test_mse_inside_a_mask() -> None:
    fixed = np.zeros(SHAPE, dtype=np.float32)
    moved = fixed.copy()
    moved[2, 3, 4] = 3.0
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 3, 3:5] = True
    assert mse(fixed, moved) == pytest.approx(9 / fixed.size)
    assert mse(fixed, moved, mask) == pytest.approx(4.5)


def test_mse_does_not_overflow_unsigned_images() -> None:
    assert mse(np.array([[[0]]], dtype=np.uint8), np.array([[[200]]], dtype=np.uint8)) == 40000.0


def test_mse_in_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="at least one voxel"):
        mse(np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE))
