import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightcrcf.errors import InputError
from lightcrcf.volumes.orientation import corner_distance, orthogonal_grid

SHAPE = (5, 7, 11)


def test_rounding_is_left_alone(affine: np.ndarray) -> None:
    grid, notes = orthogonal_grid(SHAPE, affine.astype(np.float32), "a")
    np.testing.assert_array_equal(grid.affine, affine.astype(np.float32))
    assert notes == ()


@settings(max_examples=50, deadline=None)
@given(shear=st.lists(st.floats(-0.004, 0.004), min_size=9, max_size=9), flip=st.sampled_from([-1.0, 1.0]))
def test_mending_gives_orthonormal_axes_close_by(shear: list[float], flip: float) -> None:
    axes = (np.eye(3) + np.reshape(shear, (3, 3))) * (flip, 1, 1)
    matrix = np.eye(4)
    matrix[:3, :3] = axes / np.linalg.norm(axes, axis=0) * (1.5, 2.0, 3.25)
    matrix[:3, 3] = -17, 23, 41
    grid, _ = orthogonal_grid(SHAPE, matrix, "a")
    np.testing.assert_allclose(grid.directions.T @ grid.directions, np.eye(3), atol=2e-6)
    np.testing.assert_allclose(grid.spacing_mm, (1.5, 2.0, 3.25))
    np.testing.assert_allclose(grid.world([2, 3, 5]), (matrix @ [2, 3, 5, 1])[:3])
    assert np.sign(np.linalg.det(grid.affine)) == flip
    assert corner_distance(grid.affine, matrix, SHAPE) < 0.02 * 30


@pytest.mark.parametrize("scale", [0, np.nan, np.inf])
def test_impossible_spacing_is_refused(affine: np.ndarray, scale: float) -> None:
    matrix = affine.copy()
    matrix[:3, 1] = scale
    with pytest.raises(InputError, match="a: expected finite positive spacing"):
        orthogonal_grid(SHAPE, matrix, "a")
