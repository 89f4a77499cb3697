from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.regularity import folding_percent, ndv_percent, sdlogj, sdlogj_l2r

Field = NDArray[np.float32]
SHAPE = (7, 9, 12)


def linear_field(matrix: NDArray[np.float64], shape: tuple[int, int, int] = SHAPE) -> Field:
    """u with x + u(x) = matrix @ x."""
    index = np.indices(shape).reshape(3, -1)
    return ((matrix - np.eye(3)) @ index).reshape(3, *shape).astype(np.float32)


def noise(scale: float, shape: tuple[int, int, int] = SHAPE) -> Field:
    return np.random.default_rng(11).normal(scale=scale, size=(3, *shape)).astype(np.float32)


def determinants(field: Field) -> NDArray[np.float64]:
    """det(1 + du/dx) written out with NumPy's gradient."""
    columns = [np.stack(np.gradient(field[c].astype(np.float64))) for c in range(3)]
    jacobian = np.moveaxis(np.stack(columns), (0, 1), (-2, -1)) + np.eye(3)
    return np.asarray(np.linalg.det(jacobian))


def inverted_share(field: Field) -> float:
    """Volume of inverted tetrahedra over all cubes of the grid, each cut into five in both ways."""
    corners = np.array(list(product((0, 1), repeat=3)))
    total = 0.0
    for base in product(*(range(n - 1) for n in field.shape[1:])):
        points = {tuple(c): base + c + field[(slice(None), *(base + c))] for c in corners}
        for parity in (0, 1):
            central = [c for c in corners if c.sum() % 2 == parity]
            tetrahedra = [central]
            for c in corners[corners.sum(axis=1) % 2 != parity]:
                tetrahedra.append([c, *(np.where(np.arange(3) == a, 1 - c, c) for a in range(3))])
            for tetrahedron in tetrahedra:
                moved = np.array([points[tuple(c)] for c in tetrahedron])
                at_rest = np.linalg.det(np.array(tetrahedron[1:]) - tetrahedron[0])
                volume = np.linalg.det(moved[1:] - moved[0]) * np.sign(at_rest) / 6
                total += -min(volume, 0.0) / 2
    return total


def test_a_hand_folded_field_is_counted_exactly() -> None:
    field = np.zeros((3, *SHAPE), dtype=np.float32)
    field[2, 3, 4, 5], field[2, 3, 4, 7] = 1.5, -1.5  # J = 1 + (-1.5 - 1.5) / 2 = -0.5 between the two
    folded = determinants(field) <= 0
    assert folded.sum() == 1
    assert folded[3, 4, 6]
    assert folding_percent(field) == pytest.approx(100 / folded.size)


def test_folding_counts_as_numpy_does() -> None:
    field = noise(0.8)
    mask = np.random.default_rng(2).random(SHAPE) < 0.4
    folded = determinants(field) <= 0
    assert 0.01 < folded.mean() < 0.99
    assert folding_percent(field) == pytest.approx(100 * folded.mean())
    assert folding_percent(field, mask) == pytest.approx(100 * folded[mask].mean())


def test_a_collapsed_axis_is_folded() -> None:
    assert folding_percent(linear_field(np.diag([1.0, 0.0, 1.0]))) == 100.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shear_and_shift_do_not_fold(axis: int) -> None:
    matrix = np.eye(3)
    matrix[axis, (axis + 1) % 3] = 4.0
    field = linear_field(matrix) + np.float32(9.0)
    assert folding_percent(field) == 0.0
    assert ndv_percent(field) == 0.0
    assert sdlogj(field) == pytest.approx(0.0, abs=1e-6)
    assert sdlogj_l2r(field) == pytest.approx(0.0, abs=1e-6)


def test_sdlogj_is_the_spread_of_the_logarithm() -> None:
    field = noise(0.15)
    expected = determinants(field)
    assert expected.min() > 0
    assert sdlogj(field) == pytest.approx(np.log(expected).std(), rel=1e-4)
    mask = np.random.default_rng(2).random(SHAPE) < 0.4
    assert sdlogj(field, mask) == pytest.approx(np.log(expected[mask]).std(), rel=1e-4)


def test_sdlogj_clips_folds() -> None:
    field = noise(0.8)
    assert sdlogj(field) == pytest.approx(np.log(np.clip(determinants(field), 1e-9, 1e9)).std(), rel=1e-3)


def test_learn2regs_sdlogj_adds_three_and_cuts_two_voxels() -> None:
    field = noise(0.4)
    inner = determinants(field)[2:-2, 2:-2, 2:-2]
    assert sdlogj_l2r(field) == pytest.approx(np.log(np.clip(inner + 3, 1e-9, 1e9)).std(), rel=1e-4)
    assert sdlogj_l2r(field) < sdlogj(field) / 3


def test_an_affine_factor_changes_neither_folding_nor_sdlogj() -> None:
    field = noise(0.3)
    matrix = np.array([[1.3, 0.2, 0.0], [-0.1, 0.8, 0.1], [0.0, 0.3, 1.1]])
    index = np.indices(SHAPE)
    scaled = np.tensordot(matrix, field + index, axes=1) - index
    assert folding_percent(scaled) == pytest.approx(folding_percent(field))
    mask = determinants(field) > 0.01
    assert sdlogj(scaled, mask) == pytest.approx(sdlogj(field, mask), rel=1e-3)


def test_mirroring_inverts_all_volume() -> None:
    assert ndv_percent(linear_field(np.diag([-1.0, 1.0, 1.0]))) == pytest.approx(100.0)
    assert ndv_percent(linear_field(np.diag([2.0, -0.5, 3.0]))) == pytest.approx(300.0, rel=1e-5)


def test_ndv_sees_the_voxel_that_jumps_over_its_neighbour() -> None:
    field = np.zeros((3, *SHAPE), dtype=np.float32)
    field[1, 3, 4, 6] = 1.5
    assert folding_percent(field) == 0.0
    assert ndv_percent(field) == pytest.approx(100 * inverted_share(field) / np.prod(np.array(SHAPE) - 2), rel=1e-5)
    assert ndv_percent(field) > 0


def test_ndv_is_the_volume_of_inverted_tetrahedra() -> None:
    # A margin of rest: each cube's tetrahedra are then all attributed to inner voxels.
    field = noise(0.7)
    for axis in (1, 2, 3):
        ends = [slice(None)] * 4
        for ends[axis] in (slice(0, 2), slice(-2, None)):
            field[tuple(ends)] = 0
    assert ndv_percent(field) == pytest.approx(100 * inverted_share(field) / np.prod(np.array(SHAPE) - 2), rel=1e-4)


def test_ndv_in_slabs_equals_ndv_in_one_piece() -> None:
    field = noise(0.5, (41, 6, 5))
    rows = [np.isin(np.arange(41), range(start, start + 13)) for start in range(1, 40, 13)]
    parts = [ndv_percent(field, np.broadcast_to(row[:, None, None], (41, 6, 5))) for row in rows]
    assert ndv_percent(field) == pytest.approx(np.mean(parts), rel=1e-5)


def test_fields_with_the_channel_last_are_refused() -> None:
    with pytest.raises(InputError, match="put the channel first"):
        folding_percent(np.zeros((*SHAPE, 3)))


@pytest.mark.parametrize("measure", [folding_percent, sdlogj, ndv_percent])
def test_bad_masks_are_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(InputError, match="mask"):
        measure(noise(0.1), np.zeros(SHAPE))
    with pytest.raises(InputError, match="mask"):
        measure(noise(0.1), np.ones(SHAPE[::-1]))
