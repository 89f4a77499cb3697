"""The affine's kernels against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean, correlation_sums, normal_equations
from lightcrcf.geometry.threads import use_threads

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
        found = correlation_sums(fixed, weight, moving, valid, np.stack([np.eye(3, 4), MATRIX]), blank)
        for row, matrix in zip(found, (np.eye(3, 4), MATRIX), strict=True):
            corner = normal_equations(fixed, weight, moving, valid, matrix, blank)[12:, 12:]
            wanted = [corner[0, 0], corner[0, 1], corner[0, 2], corner[1, 1], corner[1, 2], corner[2, 2]]
            assert np.allclose(row, wanted, rtol=1e-4)


def test_the_gram_matrix_is_symmetric_and_weighs_the_samples() -> None:
    fixed, moving = images()
    weight, valid = np.ones_like(fixed), np.ones_like(moving)
    whole = normal_equations(fixed, weight, moving, valid, MATRIX, False)
    assert np.array_equal(whole, whole.T)
    assert np.allclose(normal_equations(fixed, 2 * weight, moving, valid, MATRIX, False), 2 * whole, rtol=1e-5)
    first, second = weight.copy(), weight.copy()
    first[:, :3], second[:, 3:] = 0, 0
    parts = normal_equations(fixed, first, moving, valid, MATRIX, False) + normal_equations(
        fixed, second, moving, valid, MATRIX, False
    )
    assert np.allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_the_gram_matrix_holds_the_images_moments() -> None:
    """Under the identity, on one grid, no interpolation is left: m, 1 and f are the images themselves."""
    fixed = images()[0]
    moving = images(3)[0]
    one = np.ones_like(fixed)
    found = normal_equations(fixed, one, moving, one, np.eye(3, 4), False)
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
    found = normal_equations(fixed, inside, moving, np.ones_like(moving), matrix, False)
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


def by_hand(
    fixed: NDArray[np.float32],
    weight: NDArray[np.float32],
    moving: NDArray[np.float32],
    valid: NDArray[np.float32],
    matrix: NDArray[np.float64],
    blank_outside: bool,
) -> NDArray[np.float64]:
    """`normal_equations` in plain NumPy: the columns themselves, and one product."""
    x = np.indices(fixed.shape).reshape(3, -1).T.astype(np.float64)
    positions = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    q, size = positions @ matrix.T, np.array(moving.shape)
    inside = ((q >= -0.5) & (q < size - 0.5)).all(axis=1)
    clamped = np.clip(q, 0, size - 1)
    low = np.minimum(clamped.astype(int), size - 2)
    part = clamped - low
    m, slope = np.zeros(len(x)), np.zeros((len(x), 3))
    for corner in np.ndindex(2, 2, 2):
        value = moving[tuple((low + corner).T)].astype(np.float64)
        along = np.where(corner, part, 1 - part)
        m += value * along.prod(axis=1)
        for axis in range(3):
            slope[:, axis] += value * (2 * corner[axis] - 1) * np.delete(along, axis, axis=1).prod(axis=1)
    slope[(q <= 0) | (q >= size - 1)] = 0
    m, slope = np.where(inside, m, 0), np.where(inside[:, None], slope, 0)
    nearest = np.clip(np.floor(q + 0.5).astype(int), 0, size - 1)
    factor = np.where(inside, valid[tuple(nearest.T)], float(blank_outside))
    derivatives = (slope[:, :, None] * positions[:, None, :]).reshape(len(x), 12)
    columns = np.concatenate([derivatives, m[:, None], np.ones((len(x), 1)), fixed.reshape(-1, 1)], axis=1)
    return columns.T @ (columns * (weight.ravel() * factor)[:, None])


@pytest.mark.parametrize("blank_outside", [False, True])
def test_the_gram_matrix_equals_plain_numpy(blank_outside: bool) -> None:
    fixed, moving = images()
    weight, valid = images(7)[0] * (images(9)[0] > 0.3), (images(8)[1] > 0.3).astype(np.float32)
    found = normal_equations(fixed, weight, moving, valid, MATRIX, blank_outside)
    assert np.allclose(found, by_hand(fixed, weight, moving, valid, MATRIX, blank_outside), rtol=1e-4, atol=1e-3)


def test_the_derivatives_equal_finite_differences() -> None:
    """Of the sum of f m, entry by entry of the matrix; the steps stay within the cells."""
    fixed, moving = images()
    weight = np.zeros_like(fixed)
    weight[1:4, 2:5, 2:7] = 1
    matrix = np.array([[1.0, 0, 0, 0.4], [0, 1.0, 0, 0.3], [0, 0, 1.0, 0.6]])
    one = np.ones_like(moving)
    derivatives = normal_equations(fixed, weight, moving, one, matrix, False)[:12, 14]
    for n in range(12):
        step = np.zeros(12)
        step[n] = 0.01
        ends = [
            normal_equations(fixed, weight, moving, one, matrix + s * step.reshape(3, 4), False)[12, 14]
            for s in (-1, 1)
        ]
        assert (ends[1] - ends[0]) / 0.02 == pytest.approx(derivatives[n], rel=5e-3, abs=1e-3)


def test_threads_change_no_bit() -> None:
    rng = np.random.default_rng(4)
    fixed, moving, data = (
        rng.random((60, 61, 62), np.float32),
        rng.random((50, 70, 60), np.float32),
        rng.random((90, 80, 70)),
    )
    one, valid = np.ones_like(fixed), np.ones_like(moving)
    results = []
    for threads in (1, 2):
        with use_threads(threads):
            sums = (
                normal_equations(fixed, one, moving, valid, MATRIX, True),
                correlation_sums(fixed, one, moving, valid, MATRIX[None], True),
            )
            results.append((*sums, block_mean(data, (2, 3, 1))))
    for single, double in zip(*results, strict=True):
        assert np.array_equal(single, double)


def test_block_means_of_views_and_of_what_is_not_finite() -> None:
    data = np.random.default_rng(2).random((5, 7, 11), np.float32)
    view = data.transpose(2, 0, 1)[::-1, :, ::-1]
    assert np.array_equal(block_mean(view, (3, 1, 2)), block_mean(view.copy(), (3, 1, 2)))
    data[0, 0, :2] = np.nan, np.inf
    assert block_mean(data, (1, 1, 2))[0, 0, 0] == 0
    assert block_mean(data[:, :, :3], (1, 1, 2))[4, 6, 1] == data[4, 6, 2]  # a cut block averages what it has
