"""What of a volume is known, on any grid: NaN, padding, cuts, lesions, and what a field of view leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.preprocessing import foreground, missing_data
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.preprocessing.validity import Extent, compare_extremes, examine
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]
Maker = Callable[[], NDArray[np.int16]]

SHAPE = (20, 26, 23)
ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]
OPEN = np.zeros((3, 2), np.bool_)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_becomes_background_and_is_unknown(odd: float, grids: GridMaker, ct: Maker) -> None:
    data = ct().astype(np.float32)
    data[:, :4] = odd
    volume = Volume(data, grids(SHAPE, (2.0, 3.0, 2.5), axes="ASL", turn=(5, 9, -4)))
    before = data.copy()
    seen, extent = examine(volume)
    np.testing.assert_array_equal(data, before)  # the caller's
    assert extent.known is not None
    np.testing.assert_array_equal(extent.known, np.isfinite(before))
    assert extent.reasons == {"not finite": 4 * 20 * 23}
    assert np.unique(seen.data[:, :4]).tolist() == pytest.approx([-990], abs=9)
    np.testing.assert_array_equal(seen.data[:, 4:], before[:, 4:])
    assert seen.data.dtype == np.float32


@pytest.mark.parametrize("missing", [9.97e36, 3e38, -3e38, float(np.finfo(np.float32).max), 1e300])
@pytest.mark.parametrize("share", ["one", "half"])
def test_numbers_that_overflow_squares_are_not_measured(
    missing: float, share: str, grids: GridMaker, ct: Maker
) -> None:
    data = ct().astype(np.float32 if abs(missing) < 1e39 else np.float64)
    data[(10, 13, 11) if share == "one" else slice(0, 10)] = missing
    seen, extent = examine(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5))))
    assert extent.known is not None
    np.testing.assert_array_equal(extent.known, data != missing)
    assert extent.reasons == {"not finite": np.count_nonzero(data == missing)}
    assert np.abs(seen.data).max() < 2000


def test_numbers_as_large_as_1e30_are_measured(grids: GridMaker, ct: Maker) -> None:
    data = ct().astype(np.float32) * np.float32(1e27)
    assert examine(Volume(data, grids(SHAPE, (2.0, 3.0, 2.5))))[1].reasons == {}


def test_the_foreground_is_found_once(grids: GridMaker, monkeypatch: pytest.MonkeyPatch, ct: Maker) -> None:
    found, calls = foreground.foreground, []
    for module in (foreground, missing_data):
        monkeypatch.setattr(module, "foreground", lambda data: calls.append(data.shape) or found(data))
    examine(Volume(ct(), grids(SHAPE, (2.0, 3.0, 2.5))))
    assert len(calls) == 1


def test_nothing_but_nan_is_refused(grids: GridMaker) -> None:
    volume = Volume(np.full(SHAPE, np.nan, np.float32), grids(SHAPE, (2.0, 3.0, 2.5)), "empty map")
    for look in (examine, fill_missing):
        with pytest.raises(InputError, match="empty map: expected an image, got NaN or infinity in every voxel"):
            look(volume)  # type: ignore[operator]


def test_a_volume_of_which_all_is_known_is_the_same_object(grids: GridMaker, ct: Maker) -> None:
    volume = Volume(ct(), grids(SHAPE, (2.0, 3.0, 2.5)))
    seen, extent = examine(volume)
    assert seen is volume
    assert (extent.known, extent.extreme, extent.reasons) == (None, None, {})
    assert not extent.closed.any()
    assert fill_missing(volume)[0] is volume
    assert extent.known_on(volume.grid) is None
    assert extent.usable_mask(volume, None) is None


def test_known_is_what_lies_within_the_grid(grids: GridMaker) -> None:
    """To half a voxel around the outer ones; a face that is closed lets everything through."""
    mine = grids((9, 7, 5), (2.0, 3.0, 4.0), axes="LPS", turn=(7, -12, 5), centre=(3, 1, -2))
    around = mine.crop((-3, -2, -1), (15, 11, 7))
    for closed in (OPEN, np.array([[True, False], [False, True], [False, False]])):
        found = Extent(mine, None, closed, {}).known_on(around)
        wanted = np.zeros(around.shape, np.float32)
        begin, end = ([0 if c else n for c, n in zip(closed[:, side], (3, 2, 1), strict=True)] for side in (0, 1))
        wanted[begin[0] : 15 - end[0], begin[1] : 11 - end[1], begin[2] : 7 - end[2]] = 1
        assert found is not None
        np.testing.assert_array_equal(found, wanted)
    assert Extent(mine, None, ~OPEN, {}).known_on(around) is None
    assert Extent(mine, None, OPEN, {}).known_on(mine) is None


def test_known_moves_with_the_matrix(grids: GridMaker) -> None:
    mine = grids((9, 7, 5), (2.0, 3.0, 4.0), axes="SAL", turn=(3, 8, -5))
    step = np.eye(4)
    step[:3, 3] = mine.affine[:3, 0] * 2  # so that voxel i of the other grid is voxel i + 2 of this one
    found = Extent(mine, None, OPEN, {}).known_on(mine, step)
    assert found is not None
    assert found.any(axis=(1, 2)).tolist() == 7 * [True] + 2 * [False]


def test_a_voxel_whose_interpolation_needs_an_unknown_one_is_unknown(grids: GridMaker) -> None:
    mine = grids((9, 7, 5), (2.0, 3.0, 4.0), axes="LPS", turn=(7, -12, 5))
    known = np.ones(mine.shape, np.bool_)
    known[4, 3, 2] = False
    extent = Extent(mine, known, OPEN, {})
    found = extent.known_on(mine)
    assert found is not None
    np.testing.assert_array_equal(found, known)
    between = np.eye(4)
    between[:3, 3] = mine.affine[:3, 1] / 2
    found = extent.known_on(mine, between)
    assert found is not None
    assert np.argwhere(found[:, :-1] == 0).tolist() == [[4, 2, 2], [4, 3, 2]]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_axes_do_not_matter(order: AxisOrder, grids: GridMaker) -> None:
    """What is known of a volume in another order is known in the same places."""
    rng = np.random.default_rng(8)
    mine = grids((6, 9, 7), (2.0, 3.0, 2.5), axes="ASL", turn=(7, -12, 5))
    onto = grids((11, 8, 10), (2.2, 2.9, 3.1), axes="LPS", turn=(-5, 3, 8), centre=(2, -1, 3))
    known, extreme = np.ones(mine.shape, np.bool_), rng.random(mine.shape) < 0.05
    known[:, 2:4, 5] = False
    closed = np.array([[True, False], [False, False], [True, True]])
    extent = Extent(mine, known, closed, {"not finite": 12}, extreme)
    other = extent.reordered(order)
    assert other.grid.isclose(order.grid(mine))
    assert other.reasons == extent.reasons
    for one, two in ((extent.known_on, other.known_on), (extent.usable_on, other.usable_on)):
        a, b = one(onto), two(onto)
        assert a is not None
        assert b is not None
        assert 0 < a.mean() < 1
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("order", ORDERS[::5], ids=str)
def test_a_volume_is_seen_the_same_whatever_its_axes(order: AxisOrder, brains: BrainMaker, grids: GridMaker) -> None:
    image = brains(grids((70, 84, 62), (2.0, 2.1, 1.9), axes="RAS"))[0]
    cropped = Volume(image.data[:, :60].copy(), image.grid.crop((0, 0, 0), (70, 60, 62)))
    cropped.data[:, :, 40:] = 0
    seen = examine(cropped)[1]
    turned = examine(Volume(order.array(cropped.data), order.grid(cropped.grid)))[1]
    again = turned.reordered(order.inverse())
    assert seen.known is not None
    assert again.known is not None
    np.testing.assert_array_equal(again.known, seen.known)
    np.testing.assert_array_equal(again.closed, seen.closed)
    assert turned.reasons == seen.reasons


def test_a_masked_brain_goes_on_as_background_beyond_the_grid_but_where_it_is_cut(
    brains: BrainMaker, grids: GridMaker
) -> None:
    image = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="LPS"))[0]
    assert examine(image)[1].closed.all()
    tight = Volume(image.data[:, 20:], image.grid.crop((0, 20, 0), (46, 38, 41)))
    extent = examine(tight)[1]
    assert extent.known is None
    assert extent.closed.tolist() == [[True, True], [False, True], [True, True]]
    head = brains(grids((60, 72, 56), (3.2, 3.0, 3.4)), head=True)[0]
    assert not examine(head)[1].closed.any()


@pytest.mark.parametrize("value", [0, 37])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_a_constant_beyond_a_plane_through_the_anatomy_is_unknown(
    value: int, axis: int, last: bool, brains: BrainMaker, grids: GridMaker
) -> None:
    image = brains(grids((84, 62, 70), (2.1, 1.9, 2.0), axes="PIR", turn=(3, -4, 2)))[0]
    data = np.where(image.data == 0, value, image.data).astype(np.int16)
    gone = [slice(None)] * 3
    n = data.shape[axis]
    gone[axis] = slice(n * 6 // 10, None) if last else slice(0, n * 4 // 10)
    data[tuple(gone)] = value
    seen, extent = examine(Volume(data, image.grid))
    wanted = np.ones(data.shape, np.bool_)
    wanted[tuple(gone)] = False
    assert extent.known is not None
    assert not extent.known[~wanted].any()
    assert (extent.known != wanted).any(axis=tuple(a for a in range(3) if a != axis)).sum() <= 1  # the slice at the cut
    assert list(extent.reasons) == ["beyond a cut"]
    assert not extent.closed[axis, int(last)]
    assert np.delete(extent.closed.ravel(), 2 * axis + last).all()
    np.testing.assert_array_equal(seen.data, data)
    _, twice = examine(Volume(np.where(wanted, data, np.float32(np.nan)), image.grid))
    assert twice.reasons["not finite"] == np.count_nonzero(~wanted)
    assert sum(twice.reasons.values()) == np.count_nonzero(~twice.known)  # each voxel for one reason


def lesion(image: Volume, times: float, size: int = 5) -> tuple[Volume, NDArray[np.bool_]]:
    """`image` with a block that is so many times as bright as its tissue, and where it is."""
    where = np.zeros(image.data.shape, np.bool_)
    where[16 : 16 + size + 2, 24 : 24 + size, 15 : 15 + size + 1] = True
    bright = times * np.median(image.data[image.data > 0])
    return Volume(np.where(where, bright, image.data).astype(np.float32), image.grid), where


@pytest.mark.parametrize("times", [6, 30, 1e4])
def test_a_bright_lesion_and_its_rim_are_extreme(times: float, brains: BrainMaker, grids: GridMaker) -> None:
    plain = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))[0]
    image, where = lesion(plain, times, 9)
    seen, extent = examine(image)
    assert seen is image
    assert extent.known is None
    assert extent.extreme is not None
    assert extent.extreme[where].all()
    reach = [extent.extreme.any(axis=tuple(b for b in range(3) if b != a)).sum() for a in range(3)]
    assert reach == [11 + 4, 9 + 4, 10 + 4]
    assert extent.reasons == {"extreme": int(extent.extreme.sum())}
    counts = extent.usable_mask(image, None)
    assert counts is not None
    np.testing.assert_array_equal(counts.data, ~extent.extreme)
    usable = extent.usable_on(image.grid)
    assert usable is not None
    np.testing.assert_array_equal(usable, ~extent.extreme)
    assert extent.known_on(image.grid) is None  # it is known all the same


@pytest.mark.parametrize(("times", "extreme"), [(3.9, False), (4.2, False), (7.5, True), (100, True)])
def test_a_small_lesion_is_extreme_where_no_fluid_is_as_bright(
    times: float, extreme: bool, brains: BrainMaker, grids: GridMaker
) -> None:
    """A cyst of half a hundredth of the foreground: natural fluid of as much aligns abdomens, and stays."""
    plain = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))[0]
    image, where = lesion(plain, times, 5)
    assert 0.002 < np.mean(where[plain.data > 0]) < 0.01
    found = examine(image)[1].extreme
    assert (found is not None) == extreme
    assert found is None or found[where].all()


@pytest.mark.parametrize(("size", "small"), [(5, True), (9, False)])
def test_an_affine_uses_what_is_extreme_but_small(size: int, small: bool, brains: BrainMaker, grids: GridMaker) -> None:
    plain = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))[0]
    found, _ = compare_extremes(*(examine(image)[1] for image in (lesion(plain, 30, size)[0], plain)))
    assert found.extreme is not None
    assert (found.for_affine().extreme is None) == small


def test_fluid_in_the_other_image_hides_no_lesion(brains: BrainMaker, grids: GridMaker) -> None:
    """What is as bright as fluid in both images stays; a cyst in one of them is left out all the same."""
    plain = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))[0]
    fluid, where = lesion(plain, 3.7, 9)
    cyst = replace(fluid, data=np.where(np.roll(where, 12, axis=0), np.float32(1e5), fluid.data))
    one, other = (examine(image)[1] for image in (cyst, fluid))
    assert other.extreme is not None
    found, beside = compare_extremes(one, other)
    assert found.extreme is not None
    assert found.extreme[cyst.data == 1e5].all()
    assert not found.extreme[where & (cyst.data < 1e5)].all()
    assert beside.extreme is None
    assert "extreme" not in beside.reasons


def test_tissue_and_few_bright_voxels_are_not_extreme(brains: BrainMaker, grids: GridMaker) -> None:
    plain = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))[0]
    data = plain.data.astype(np.float32)
    data[20, 30, 20] = 1e9
    for image in (plain, Volume(data, plain.grid)):
        assert examine(image)[1].extreme is None


def test_the_field_of_view_holds_what_is_unknown_too(grids: GridMaker) -> None:
    grid = grids((6, 9, 7), (2.0, 3.0, 2.5), axes="PIR", turn=(3, 4, -5))
    known = np.zeros(grid.shape, np.bool_)
    extent = Extent(grid, known, OPEN, {}, ~known)
    assert extent.field_of_view_on(grid) is None
    around = extent.field_of_view_on(grid.crop((-1, -2, -3), (8, 13, 13)))
    assert around is not None
    assert around[1:-1, 2:-2, 3:-3].all()
    assert around.sum() == grid.size


def test_what_counts_is_known_and_not_extreme_and_under_the_mask(grids: GridMaker) -> None:
    grid = grids((6, 9, 7), (2.0, 3.0, 2.5))
    volume = Volume(np.zeros(grid.shape, np.float32), grid, "image")
    known, extreme, inside = (np.ones(grid.shape, np.bool_) for _ in range(3))
    known[0], extreme[:, 1:], inside[:, :, :2] = False, False, False
    mask = Volume(inside * np.uint8(3), grid, "mask")
    assert Extent(grid, None, OPEN, {}).usable_mask(volume, mask) is mask
    found = Extent(grid, known, OPEN, {}, extreme).usable_mask(volume, mask)
    assert found is not None
    np.testing.assert_array_equal(found.data, known & ~extreme & inside)
    assert found.source == "mask"
