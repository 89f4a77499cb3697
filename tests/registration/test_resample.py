"""Images and label maps moved, and what their voxels without data become."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.options import Options, fill_value
from lightcrcf.preprocessing import missing_data
from lightcrcf.preprocessing.validity import examine
from lightcrcf.registration.resample import move, move_labels
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

GridMaker = Callable[..., Grid]

SHAPE = (14, 17, 11)
OUTSIDE = (slice(None), slice(0, 3))  # of the moving image, once it was moved by three voxels


def ct(dtype: type = np.int16) -> NDArray:
    rng, data = np.random.default_rng(4), np.full(SHAPE, -1000)
    data += rng.integers(0, 12, SHAPE)
    data[3:11, 4:13, 2:9] = 40 + rng.integers(-60, 60, (8, 9, 7))
    return data.astype(dtype)


@pytest.fixture
def onto(grids: GridMaker) -> Volume:
    """Where to move to."""
    grid = grids(SHAPE, (2.0, 3.0, 2.5), axes="ASL", turn=(5, 9, -4))
    return Volume(np.zeros(SHAPE, np.float32), grid, "fixed", {"descrip": "of the fixed image"})


def three_on(grid: Grid) -> Chain:
    """Takes voxel j of the fixed image to j - 3 of the moving one."""
    matrix = np.eye(4)
    matrix[:3, 3] = -3 * grid.affine[:3, 1]
    return Chain(Affine.identity(), None, Affine(matrix))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_air_is_outside_of_a_ct(dtype: type, onto: Volume) -> None:
    data = ct(dtype)
    moved = move(three_on(onto.grid), Volume(data, onto.grid, "ct"), onto, "auto", "auto")
    np.testing.assert_allclose(moved.data[:, 3:], data[:, :-3], atol=0.1)
    assert np.unique(moved.data[OUTSIDE]).tolist() == pytest.approx([-995], abs=6)
    assert (moved.source, moved.header, moved.data.dtype) == ("ct", onto.header, np.float32)


@pytest.mark.parametrize("fill", [7.0, -1024.0, 0.5])
def test_or_what_was_asked_for(fill: float, onto: Volume) -> None:
    moved = move(three_on(onto.grid), Volume(ct(np.float32), onto.grid), onto, "linear", fill)
    assert (moved.data[OUTSIDE] == fill).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -3024.0])
@pytest.mark.parametrize("interpolation", ["auto", "linear", "nearest", "cubic"])
def test_voxels_without_data_become_the_same(odd: float, interpolation: str, onto: Volume) -> None:
    data = ct(np.float32)
    data[12:] = odd
    moved = move(three_on(onto.grid), Volume(data, onto.grid), onto, interpolation, 7.0)  # type: ignore[arg-type]
    assert np.isfinite(moved.data).all()
    np.testing.assert_allclose(moved.data[12:], 7, atol=1e-4 if interpolation == "cubic" else 0)
    automatic = move(three_on(onto.grid), Volume(data, onto.grid), onto, interpolation, "auto").data  # type: ignore[arg-type]
    np.testing.assert_allclose(automatic[12:], -995, atol=6)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("interpolation", ["auto", "linear", "cubic"])
def test_or_stay_without(dtype: type, interpolation: str, onto: Volume) -> None:
    data = ct(dtype)
    data[12:] = -3024
    moved = move(three_on(onto.grid), Volume(data, onto.grid), onto, interpolation, "nan").data  # type: ignore[arg-type]
    assert np.isnan(moved[OUTSIDE]).all()
    assert np.isnan(moved[12:]).all()
    np.testing.assert_allclose(moved[:12, 3:], data[:12, :-3], atol=30 if interpolation == "cubic" else 1e-3)


@pytest.mark.parametrize("value", [7.5, -1e5])
def test_padding_of_integers_becomes_a_value_that_they_cannot_hold(value: float, onto: Volume) -> None:
    data = ct()
    data[12:] = -3024
    moved = move(three_on(onto.grid), Volume(data, onto.grid), onto, "linear", value)
    assert (moved.data[12:] == value).all()
    with pytest.raises(UsageError, match="expected a value of int16"):
        move(three_on(onto.grid), Volume(data, onto.grid), onto, "nearest", value)


@pytest.mark.parametrize("fill", ["auto", "nan", -77.0])
def test_what_was_examined_is_not_examined_again(
    fill: float | str, onto: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ct(np.float32)
    data[12:], data[3, 4, 5] = -3024, np.nan
    volume = Volume(data, onto.grid)
    expected = move(three_on(onto.grid), volume, onto, "linear", fill).data  # type: ignore[arg-type]
    seen, extent = examine(volume)
    monkeypatch.setattr(missing_data, "find_padding", lambda *_: pytest.fail("padding was looked for again"))
    for given in (volume, seen):
        moved = move(three_on(onto.grid), given, onto, "linear", fill, extent)  # type: ignore[arg-type]
        np.testing.assert_array_equal(moved.data, expected)


def test_labels_keep_what_would_be_padding_of_an_image(onto: Volume) -> None:
    """Small structures, of which hardly a voxel has an equal neighbour."""
    labels = np.random.default_rng(3).integers(1, 40, SHAPE).astype(np.int16)
    labels[:2] = 2035
    moved = move_labels(three_on(onto.grid), Volume(labels, onto.grid), onto)
    np.testing.assert_array_equal(moved.data[:, 3:], labels[:, :-3])
    assert not moved.data[OUTSIDE].any()


def test_label_maps_get_zero_whatever_their_border_is(onto: Volume) -> None:
    labels = np.full(SHAPE, 3, np.uint8)
    labels[5:9, 5:12] = 8
    moved = move(three_on(onto.grid), Volume(labels, onto.grid), onto, "auto", "auto")
    np.testing.assert_array_equal(moved.data[:, 3:], labels[:, :-3])
    assert not moved.data[OUTSIDE].any()
    assert moved.data.dtype == np.uint8
    assert (move(three_on(onto.grid), Volume(labels, onto.grid), onto, "auto", 7.0).data[OUTSIDE] == 7).all()


@pytest.mark.parametrize("fill", [-1.0, 0.5, 256.0, 1e9])
def test_a_value_that_labels_cannot_hold_is_refused(fill: float, onto: Volume) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:9] = 8
    with pytest.raises(
        UsageError, match=r"fill: expected a value of uint8, as atlas has, got .*--interpolation linear"
    ):
        move(three_on(onto.grid), Volume(labels, onto.grid, "atlas"), onto, "nearest", fill)
    moved = move(three_on(onto.grid), Volume(labels, onto.grid, "atlas"), onto, "linear", fill)
    assert (moved.data[OUTSIDE] == np.float32(fill)).all()


def test_an_image_by_nearest_neighbour_keeps_its_type_and_its_background(onto: Volume) -> None:
    moved = move(three_on(onto.grid), Volume(ct(), onto.grid), onto, "nearest", "auto")
    assert moved.data.dtype == np.int16
    np.testing.assert_array_equal(moved.data[:, 3:], ct()[:, :-3])
    assert np.abs(moved.data[OUTSIDE] + 995).max() <= 6


def test_nothing_of_the_caller_is_changed(onto: Volume) -> None:
    data = ct(np.float32)
    data[12:] = np.nan
    data.setflags(write=False)
    move(three_on(onto.grid), Volume(data, onto.grid), onto, "linear", "auto")


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("auto", "auto"), ("-1024", -1024.0), (" 7 ", 7.0), (0, 0.0), (2.5, 2.5), ("nan", "nan"), ("NaN", "nan"),
        (float("nan"), "nan"), ("-3.4028235e38", -3.4028235e38),
    ],
)  # fmt: skip
def test_what_may_be_typed(typed: str | float, value: str | float) -> None:
    assert fill_value(typed) == value


@pytest.mark.parametrize("typed", ["", "air", "1e39", "inf", "-inf", "1,5", float("inf")])
def test_what_may_not(typed: str | float) -> None:
    with pytest.raises(UsageError, match="fill: expected auto, nan, or a number"):
        fill_value(typed)
    with pytest.raises(UsageError, match="fill"):
        Options(fill=typed).check()  # type: ignore[arg-type]
