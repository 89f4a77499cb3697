"""Planes look the way radiologists expect, whatever the order of the axes."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.report.planes import Frame, Plane, slice_image
from lightcrcf.volumes import Volume

GRID = Grid((20, 26, 30), np.array([[2.0, 0, 0, -20], [0, 1.5, 0, 5], [0, 0, 1.0, 7], [0, 0, 0, 1]]))


def volume() -> Volume:
    """A box whose values grow to the right by 1, to the front by 100, upwards by 10000 a mm."""
    data = np.zeros(GRID.shape, np.float32)
    inner = (slice(3, 17), slice(4, 22), slice(5, 25))
    i, j, k = np.indices(GRID.shape)
    data[inner] = (1e6 + 2.0 * i + 150.0 * j + 10000.0 * k)[inner]
    return Volume(data, GRID)


def planes(given: Volume) -> tuple[Plane, Plane, Plane]:
    return Frame.around(given).planes()


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_all_orders_of_axes_give_the_same_pictures(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    given = volume()
    order = AxisOrder(axes, flips)
    other = Volume(order.array(given.data), order.grid(GRID))
    for plane, same in zip(planes(given), planes(other), strict=True):
        assert plane.grid.isclose(same.grid)
        np.testing.assert_allclose(slice_image(given, plane), slice_image(other, same), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "leftwards", "upwards"),
    [("axial", (1, 0, 0), (0, 1, 0)), ("coronal", (1, 0, 0), (0, 0, 1)), ("sagittal", (0, 1, 0), (0, 0, 1))],
)
def test_right_is_on_the_left_and_the_face_on_the_left(
    name: str, leftwards: tuple[int, ...], upwards: tuple[int, ...]
) -> None:
    plane = next(p for p in planes(volume()) if p.name == name)
    world = plane.world
    np.testing.assert_allclose((world[0, 0] - world[0, 1]) / plane.pixel_mm, leftwards, atol=1e-9)
    np.testing.assert_allclose((world[0, 0] - world[1, 0]) / plane.pixel_mm, upwards, atol=1e-9)
    letters = {(1, 0, 0): "RL", (0, 1, 0): "AP", (0, 0, 1): "SI"}
    assert plane.letters == letters[leftwards] + letters[upwards]


def test_pixels_are_square_and_as_small_as_the_voxels() -> None:
    assert {plane.pixel_mm for plane in planes(volume())} == {1.0}


def test_a_picture_says_where_it_lies_and_how_long_a_bar_is() -> None:
    axial, coronal, sagittal = planes(volume())
    for plane, axis, letters in ((axial, 2, "SI"), (coronal, 1, "AP"), (sagittal, 0, "RL")):
        at = plane.world[0, 0, axis]
        assert plane.place == f"{letters[int(at < 0)]} {abs(at):.0f} mm"
        width = plane.grid.shape[1] * plane.pixel_mm
        assert width / 13 < plane.bar_mm <= width / 5


def test_outside_of_the_volume_is_not_a_number() -> None:
    plane = planes(volume())[0]
    shifted = Volume(volume().data, GRID.crop((0, 500, 0), GRID.shape))
    assert np.isnan(slice_image(shifted, plane)).all()


def test_a_few_slices_are_shown_one_beside_the_other_and_not_from_the_side() -> None:
    grid = Grid((80, 90, 8), np.diag([1.0, 1.0, 1.0, 1.0]))
    data = np.zeros(grid.shape, np.float32)
    data[10:70, 12:80, 1:7] = 100 + np.arange(6, dtype=np.float32)
    frame = Frame.around(Volume(data, grid))
    assert frame.flat is not None
    assert [plane.name for plane in frame.planes()] == ["axial"] * 3
    heights = [plane.world[0, 0, 2] for stack in frame.stacks(5) for plane in stack]
    assert heights == sorted(heights)
    assert heights[0] < heights[7] < heights[-1]
    through = frame.through(np.array([20.0, 30.0, 5.0]))
    assert through[1].world[0, 0, 2] == 5.0
    assert Frame.around(volume()).flat is None
