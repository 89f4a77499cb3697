"""Label maps of several atlases become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import UsageError
from lightcrcf.labels.fusion import FUSIONS, fuse

SHAPE = (18, 23, 14)


def squares(seed: int, shift: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """An image of two bricks somewhere, and their labels."""
    labels = np.zeros(SHAPE, np.int32)
    labels[4 + shift : 10 + shift, 5:15, 3:10] = 2035
    labels[10 + shift : 14 + shift, 5:15, 3:10] = 4
    noise = np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    return (np.select([labels == 4, labels == 2035], [1.0, 0.6], 0.1) + noise).astype(np.float32), labels


def scored(truth: NDArray[Any], found: NDArray[Any]) -> float:
    return float((truth == found).mean())


@pytest.mark.parametrize("method", FUSIONS)
def test_two_that_are_right_outvote_one(method: str) -> None:
    target, truth = squares(0, 0)
    images, labels = zip(squares(1, 0), squares(2, 3), squares(3, 0), strict=True)
    fused = fuse(target, images, labels, (1.0, 1.0, 2.5), method)
    np.testing.assert_array_equal(fused.labels, truth)
    assert fused.labels.dtype == np.int16
    assert fused.disagreements == np.count_nonzero(labels[0] != labels[1])
    assert sum(fused.weights) == pytest.approx(1)
    disagreements = labels[0] != labels[1]
    assert (fused.confidence[~disagreements] == 1).all()
    assert (fused.confidence[disagreements] < 1).all()


@pytest.mark.parametrize("method", ["weighted", "joint"])
def test_one_that_looks_right_is_believed_more_than_two_that_do_not(method: str) -> None:
    target, truth = squares(0, 0)
    images, labels = zip(squares(1, 2), squares(2, 2), squares(3, 0), strict=True)
    fused, counted = (fuse(target, images, labels, (1.0, 1.2, 1.0), m) for m in (method, "vote"))
    assert scored(truth, fused.labels) > 0.99 > scored(truth, counted.labels)
    assert fused.weights[2] > 0.5


def test_one_atlas_is_its_own_result() -> None:
    image, labels = squares(1, 0)
    fused = fuse(image, [image], [labels], (1, 1, 1), "joint")
    np.testing.assert_array_equal(fused.labels, labels)
    assert (fused.disagreements, fused.weights) == (0, (1.0,))


@pytest.mark.parametrize(("code", "kind"), [(255, np.uint8), (256, np.int16), (-2, np.int16), (40_000, np.int32)])
def test_the_type_holds_all_codes(code: int, kind: Any) -> None:
    image, labels = squares(1, 0)
    labels = np.where(labels == 0, 0, np.where(labels == 4, 4, code))
    fused = fuse(image, [image, image], [labels, labels], (1, 1, 1), "joint")
    assert fused.labels.dtype == kind
    np.testing.assert_array_equal(fused.labels, labels)


def test_no_label_at_all() -> None:
    image, labels = squares(1, 0)
    fused = fuse(image, [image], [np.zeros_like(labels)], (1, 1, 1), "joint")
    assert not fused.labels.any()


def test_an_unknown_method() -> None:
    image, labels = squares(1, 0)
    with pytest.raises(UsageError, match="expected one of vote, weighted, joint, got guess"):
        fuse(image, [image], [labels], (1, 1, 1), "guess")
