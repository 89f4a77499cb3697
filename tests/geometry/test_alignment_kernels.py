"""The affine's kernels against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean, gram, scores

MATRIX = np.array([[1.05, 0.1, -0.05, 0.4], [-0.08, 0.95, 0.06, 0.7], [0.04, -0.03, 1.1, -0.3]])


def images(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return rng.random((5, 7, 11), np.float32), rng.random((6, 8, 9), np.float32)


@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 1, 3), (5, 7, 11)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_block_means(factors: tuple[int, int, int], dtype: type) -> None:
    data = np.random.default_rng(1).integers(0, 200, (5, 7, 11)).astype(dtype)
    a, b, c = factors
    whole = data[: 5 // a * a, : 7 // b * b, : 11 // c * c].astype(np.float64)
    wanted = whole.reshape(5 // a, a, 7 // b, b, 11 // c, c).mean(axis=(1, 3, 5))
    found = block_mean(data, factors)
    assert found.dtype == np.float32
    d, h, w = wanted.shape
    assert np.allclose(found[:d, :h, :w], wanted, rtol=1e-5)


def test_scores_are_the_moments_of_the_gram_matrix() -> None:
    """Sums of m m, m, m f, 1, f and f f under each matrix."""
    fixed, moving = images()
    weight, valid = images(7)[0], (images(8)[1] > 0.3).astype(np.float32)
    for blank in (False, True):
        found = scores(fixed, weight, moving, valid, np.stack([np.eye(3, 4), MATRIX]), blank)
        for row, matrix in zip(found, (np.eye(3, 4), MATRIX), strict=True):
            corner = gram(fixed, weight, moving, valid, matrix, blank)[12:, 12:]
            wanted = [corner[0, 0], corner[0, 1], corner[0, 2], corner[1, 1], corner[1, 2], corner[2, 2]]
            assert np.allclose(row, wanted, rtol=1e-4)


def test_the_gram_matrix_is_symmetric_and_weighs_the_samples() -> None:
    fixed, moving = images()
    weight, valid = np.ones_like(fixed), np.ones_like(moving)
    whole = gram(fixed, weight, moving, valid, MATRIX, False)
    assert np.array_equal(whole, whole.T)
    assert np.allclose(gram(fixed, 2 * weight, moving, valid, MATRIX, False), 2 * whole, rtol=1e-5)
    first, second = weight.copy(), weight.copy()
    first[:, :3], second[:, 3:] = 0, 0
    parts = gram(fixed, first, moving, valid, MATRIX, False) + gram(fixed, second, moving, valid, MATRIX, False)
    assert np.allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_the_gram_matrix_holds_the_images_moments() -> None:
    """Under the identity, on one grid, no interpolation is left: m, 1 and f are the images themselves."""
    fixed = images()[0]
    moving = images(3)[0]
    one = np.ones_like(fixed)
    found = gram(fixed, one, moving, one, np.eye(3, 4), False)
    columns = np.stack([moving.ravel(), one.ravel(), fixed.ravel()]).astype(np.float64)
    assert np.allclose(found[12:, 12:], columns @ columns.T, rtol=1e-5)


def test_the_gram_matrix_holds_the_derivatives() -> None:
    """On a linear moving image dm/dmatrix is exact: slope times position."""
    fixed = images()[0]
    slope = np.array([0.3, -0.2, 0.5])
    at = np.moveaxis(np.indices((9, 10, 14)), 0, -1)
    moving = (at @ slope + 4).astype(np.float32)
    inside = np.zeros_like(fixed)
    inside[1:-1, 1:-1, 1:-1] = 1
    matrix = np.eye(3, 4)
    matrix[:, 3] = (0.4, 0.6, 0.5)
    found = gram(fixed, inside, moving, np.ones_like(moving), matrix, False)
    x = np.moveaxis(np.indices(fixed.shape), 0, -1)[inside > 0].astype(np.float64)
    positions = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    columns = np.concatenate(
        [
            (slope[:, None] * positions[:, None, :]).reshape(len(x), 12),
            ((x + matrix[:, 3]) @ slope + 4)[:, None],
            np.ones((len(x), 1)),
            fixed[inside > 0][:, None],
        ],
        axis=1,
    )
    assert np.allclose(found, columns.T @ columns, rtol=1e-4, atol=1e-2)
