import itertools

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.volumes import Volume, check_usable, on_grid_of


def volume(data: np.ndarray) -> Volume:
    return Volume(data, Grid(data.shape, np.eye(4)), source="brain.nii")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.bool_])
def test_contrast_is_usable(dtype: type) -> None:
    data = np.zeros((5, 7, 11), dtype)
    data[1, 2, 3] = 1
    check_usable(volume(data), "fixed")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.bool_])
def test_constant_is_refused(dtype: type) -> None:
    with pytest.raises(InputError, match=r"brain\.nii: expected a moving image with contrast, got 1"):
        check_usable(volume(np.ones((5, 7, 11), dtype)), "moving")


BAD = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])


@BAD
def test_voxels_without_data_leave_an_image_usable(value: float) -> None:
    data = np.full((5, 7, 11), value, np.float32)
    data[0, 0, :2] = 3, 4
    check_usable(volume(data), "fixed")


@BAD
@pytest.mark.parametrize("others", [0, 1, 200])
def test_an_image_without_contrast_among_its_data_is_refused(value: float, others: int) -> None:
    data = np.full((5, 7, 11), value, np.float32)
    data.ravel()[:others] = 3
    got = "3 in every voxel" if others else "NaN or infinity in every voxel"
    with pytest.raises(InputError, match=rf"brain\.nii: expected a fixed image with contrast, got {got}; check that"):
        check_usable(volume(data), "fixed")


GRID = Grid((5, 7, 11), np.array([[0.0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3.0, 7], [0, 0, 0, 1]]))
ORDERS = [
    AxisOrder(permutation, flips)  # type: ignore[arg-type]
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def image() -> Volume:
    return Volume(np.arange(385).reshape(5, 7, 11).astype(np.int16), GRID, "image.nii")


def moved(*, shape: tuple[int, int, int] = GRID.shape, step: np.ndarray | None = None, **shift: float) -> Volume:
    """A mask on a grid that differs: by `step` of voxel indices, or by mm along x, y or z."""
    affine = GRID.affine @ (np.eye(4) if step is None else step)
    affine[:3, 3] += [shift.get(axis, 0.0) for axis in "xyz"]
    return Volume(np.ones(shape, np.uint8), Grid(shape, affine), "mask.nii")


def refusal(mask: Volume, what: str = "a mask") -> str:
    with pytest.raises(InputError) as caught:
        on_grid_of(mask, image(), what=what)
    return str(caught.value)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_same_points_in_another_order_are_put_in_order(order: AxisOrder) -> None:
    given = Volume(order.array(image().data), order.grid(GRID), "mask.nii", {"a": 1}, ("note",))
    found = on_grid_of(given, image(), what="a mask")
    assert np.array_equal(found.data, image().data)
    assert found.data.flags.c_contiguous or found is given
    assert found.grid.isclose(GRID, tolerance_mm=1e-9)
    assert (found.source, found.header, found.notes) == ("mask.nii", {"a": 1}, ("note",))


def test_what_lies_on_the_grid_is_returned_as_it_is() -> None:
    mask = moved(x=0.009)  # headers are rounded
    assert on_grid_of(mask, image(), what="a mask") is mask


def test_a_shift_is_told_in_mm_with_both_ways_out() -> None:
    message = refusal(moved(x=3.0, z=-0.25))
    assert message.startswith("mask.nii: expected a mask on the grid of image.nii, got another grid: ")
    assert "shifted by (3, 0, -0.25) mm in RAS; " in message
    assert "fslcpgeom" in message
    assert "antsApplyTransforms -d 3 -n NearestNeighbor" in message


def test_an_image_is_not_resampled_by_nearest_neighbour() -> None:
    message = refusal(moved(y=1.0), what="an image")
    assert "shifted by (0, 1, 0) mm" in message
    assert "NearestNeighbor" not in message


def test_a_reversed_axis_is_named_beside_the_shift() -> None:
    step = np.eye(4)
    step[1, 1], step[1, 3] = -1, 7  # one voxel of 2 mm too far
    message = refusal(moved(step=step))
    assert "got another grid: axis 1 reversed, shifted by (-2, 0, 0) mm in RAS; " in message
    step = np.eye(4)
    step[:2, :2], step[0, 3], step[2, 3] = [[0, -1], [1, 0]], 4, 1
    message = refusal(moved(step=step, shape=(7, 5, 11)))
    assert "got another grid: axes permuted (1, 0, 2), axis 1 reversed, shifted by (0, 0, 3) mm in RAS; " in message


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (moved(shape=(5, 7, 10)), "got another grid: (5, 7, 10) voxels instead of (5, 7, 11)"),
        (moved(step=np.diag([1, 1, 0.5, 1])), "spacing (1.5, 2, 1.5) mm instead of (1.5, 2, 3) mm"),
        (moved(step=np.diag([1, 1, 1.01, 1])), "spacing (1.5, 2, 3.03) mm instead of"),
    ],
)
def test_other_differences_are_named_too(mask: Volume, message: str) -> None:
    assert message in refusal(mask)


def test_a_turn_is_told_in_degrees() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    mask = Volume(np.ones(GRID.shape, np.uint8), Grid(GRID.shape, turn @ GRID.affine), "mask.nii")
    assert "turned by 5.73 degrees" in refusal(mask)


def test_another_shape_cannot_be_mended_by_copying_the_header() -> None:
    message = refusal(moved(shape=(5, 7, 10)), what="labels")
    assert "labels on the grid of image.nii" in message
    assert "fslcpgeom" not in message
    assert "antsApplyTransforms" in message
