from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightcrcf.errors import InputError
from lightcrcf.transforms.affine import Affine


def build(small: np.ndarray, offset: np.ndarray) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] += small
    matrix[:3, 3] = offset
    return Affine(matrix)


affines = st.builds(
    build,
    arrays(np.float64, (3, 3), elements=st.floats(-0.3, 0.3)),  # diagonally dominant, so invertible
    arrays(np.float64, 3, elements=st.floats(-100, 100)),
)
points = arrays(np.float64, (2, 5, 3), elements=st.floats(-200, 200))


@given(affines, points)
def test_inverse_undoes(affine: Affine, x: np.ndarray) -> None:
    np.testing.assert_allclose(affine.inverse().points(affine.points(x)), x, atol=1e-8)


@given(affines, affines, points)
def test_compose_applies_the_other_first(first: Affine, second: Affine, x: np.ndarray) -> None:
    np.testing.assert_allclose(second.compose(first).points(x), second.points(first.points(x)), atol=1e-8)


def test_identity() -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Affine.identity().points(x), x)


def test_inverse_keeps_the_last_row_exact() -> None:
    affine = build(np.full((3, 3), 0.1), np.array([1e3, 1e-3, 7]))
    np.testing.assert_array_equal(affine.inverse().matrix[3], [0, 0, 0, 1])


def test_the_matrix_is_a_read_only_copy() -> None:
    matrix = np.eye(4)
    affine = Affine(matrix)
    matrix[0, 3] = 5
    assert affine.matrix[0, 3] == 0
    assert not affine.matrix.flags.writeable


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.diag([1.0, 0, 1, 1]), np.diag([1, np.inf, 1, 1]), np.diag([1.0, 1, 1, 2])],
    ids=["3x3", "singular", "infinite", "projective"],
)
def test_bad_matrices_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="invertible 4x4"):
        Affine(matrix)
