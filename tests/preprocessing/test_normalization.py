"""Canonical axes, unit intensities, and a working grid that shares the fixed image's lattice where it can."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.preprocessing.normalization import NormalizedImage, normalize, working_grid
from lightcrcf.volumes import Volume

ORDERS = [AxisOrder(p, f) for p in permutations(range(3)) for f in product((False, True), repeat=3)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def volume(grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]]) -> Volume:
    return brains(grids((47, 60, 43), (3.0, 2.9, 3.1), turn=(4, -7, 3)))[0]


def masked(values: list[float], around: float) -> Volume:
    """A block of tissue with these values in equal shares, within a constant."""
    data = np.full((11, 13, 17), around, np.float32)
    data[3:8, 3:10, 4:12] = np.resize(values, (5, 7, 8))
    return Volume(data, Grid(data.shape, np.eye(4)), "block")


def test_all_axis_orders_look_the_same(volume: Volume) -> None:
    expected = normalize(volume)
    for order in ORDERS:
        other = normalize(Volume(order.array(volume.data), order.grid(volume.grid)))
        np.testing.assert_array_equal(other.data, expected.data)
        np.testing.assert_array_equal(other.box, expected.box)
        assert other.grid.isclose(expected.grid, tolerance_mm=1e-9)


def test_intensities_run_from_zero_to_about_one(volume: Volume) -> None:
    before = volume.data.copy()
    prepared = normalize(volume)
    tissue = prepared.data[volume.data > 0]
    assert prepared.data.dtype == np.float32
    assert prepared.data[volume.data == 0].max() == 0
    assert np.percentile(tissue, 98) == pytest.approx(1, abs=1e-6)
    assert (prepared.offset, prepared.scale) == (0, np.percentile(volume.data[volume.data > 0], 98))
    np.testing.assert_array_equal(volume.data, before)


def test_outliers_are_clipped(volume: Volume) -> None:
    data = volume.data.astype(np.float32)
    data[23, 30, 21] = 1e6
    assert normalize(Volume(data, volume.grid)).data.max() == np.float32(1.25)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e9])
def test_the_unit_of_intensity_does_not_matter(volume: Volume, factor: float) -> None:
    scaled = normalize(Volume(volume.data * np.float32(factor), volume.grid))
    np.testing.assert_allclose(scaled.data, normalize(volume).data, atol=1e-6)


def test_a_brain_centred_on_zero_keeps_its_contrast() -> None:
    prepared = normalize(masked([-2.0, -1.0, 1.0, 2.0], around=0.0))
    assert np.unique(prepared.data).tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert prepared.data[0, 0, 0] == 0


def test_dark_tissue_on_white_keeps_its_contrast() -> None:
    prepared = normalize(masked([10.0, 50.0, 90.0], around=255.0))
    assert np.unique(prepared.data).tolist() == pytest.approx([0, 0.5, 1])
    assert prepared.data[0, 0, 0] == 0
    assert prepared.data[3, 3, 4] == 0  # the darkest tissue


def test_negative_intensities_start_at_the_darkest() -> None:
    prepared = normalize(masked([-200.0, 0.0, 400.0], around=-1000.0))
    assert prepared.offset == -1000
    assert prepared.data[0, 0, 0] == 0
    assert prepared.data[prepared.data > 0].min() == pytest.approx(800 / 1400)


def test_a_constant_is_refused() -> None:
    with pytest.raises(InputError, match="contrast"):
        normalize(Volume(np.full((5, 6, 7), 3.0, np.float32), Grid((5, 6, 7), np.eye(4)), "flat"))


def test_the_box_holds_the_foreground() -> None:
    assert normalize(masked([5.0], around=0.0)).box.tolist() == [[3, 3, 4], [7, 9, 11]]


def prepared_box(shape: tuple[int, int, int], low: list[int], high: list[int], spacing: list[float]) -> NormalizedImage:
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    return NormalizedImage(grid.canonical(), np.zeros(shape, np.float32), grid, np.array([low, high]), 0.0, 1.0)


@pytest.mark.parametrize("low", [[0, 3, 8], [11, 0, 5], [1, 2, 3]])
@pytest.mark.parametrize("size", [[20, 31, 43], [22, 37, 48], [33, 17, 9]])
def test_at_its_own_spacing_the_lattice_and_its_half_stay(low: list[int], size: list[int]) -> None:
    fixed = prepared_box((60, 70, 80), low, [a + n - 1 for a, n in zip(low, size, strict=True)], [1.0, 1.0, 1.0])
    working = working_grid(fixed, (1.0,) * 3, multiples=(16,) * 3)
    assert all(n % 16 == 0 for n in working.shape)
    start = fixed.grid.voxels(working.affine[:3, 3])
    np.testing.assert_allclose(start % 2, 0, atol=1e-9)
    half = working.half().to(fixed.grid.half())
    np.testing.assert_allclose(half[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(half[:3, 3], np.round(half[:3, 3]), atol=1e-9)


@pytest.mark.parametrize("spacing", [[1.0, 1.0, 1.0], [0.7, 0.9, 1.3], [2.0, 2.5, 4.0], [1.0, 1.0, 7.7]])
@pytest.mark.parametrize("wanted", [0.8, 1.0, 3.0])
def test_the_foreground_is_in_view_with_a_margin(spacing: list[float], wanted: float) -> None:
    fixed = prepared_box((60, 70, 40), [7, 4, 3], [50, 61, 33], spacing)
    working = working_grid(fixed, (wanted,) * 3, multiples=(16,) * 3)
    np.testing.assert_allclose(working.spacing_mm, wanted)
    assert all(n % 16 == 0 for n in working.shape)
    corners = working.voxels(fixed.grid.world([fixed.box[0] - 0.5, fixed.box[1] + 0.5])) + 0.5  # outer faces
    assert corners[0].min() * wanted >= 1.9
    assert (np.array(working.shape) - corners[1]).min() * wanted >= 1.9


def test_a_microscopic_image_does_not_drown_in_its_margin() -> None:
    fixed = prepared_box((60, 70, 40), [7, 4, 3], [50, 61, 33], [1e-3, 1e-3, 1e-3])
    assert max(working_grid(fixed, (1e-3,) * 3, multiples=(16,) * 3).shape) <= 96


def test_resampling_follows_the_matrix(volume: Volume) -> None:
    prepared = normalize(volume)
    np.testing.assert_allclose(prepared.resample_to(prepared.grid), prepared.data, atol=1e-5)
    shift = np.eye(4)
    shift[:3, 3] = prepared.grid.affine[:3, :3] @ (1, 0, -2)
    np.testing.assert_allclose(
        prepared.resample_to(prepared.grid, shift)[:-1, :, 2:], prepared.data[1:, :, :-2], atol=1e-5
    )


def thick(spacing: list[float], shape: tuple[int, int, int] = (40, 9, 33)) -> Volume:
    data = np.random.default_rng(3).integers(1, 99, shape).astype(np.int16)
    return Volume(data, Grid(shape, np.diag([*spacing, 1.0])), "stack")


@pytest.mark.parametrize("spacing", [[1.4, 8.0, 1.4], [1.0, 1.0, 1.0]])
def test_thick_slices_come_last_where_they_are_not_pooled(spacing: list[float]) -> None:
    """By their thickness, or by their number where no spacing tells."""
    volume = thick(spacing)
    prepared = normalize(volume, pool=(2, 2, 1), view="whole")
    assert prepared.data.shape == (40, 33, 9)
    assert prepared.order.grid(volume.grid).isclose(prepared.grid)
    assert normalize(volume).data.shape == (40, 9, 33)
    working = working_grid(prepared, None, multiples=(16, 16, 1), view="whole")
    assert working.shape == (48, 48, 9)
    np.testing.assert_allclose(working.spacing_mm, prepared.grid.spacing_mm)
    start = prepared.grid.voxels(working.affine[:3, 3])
    np.testing.assert_allclose(start, [-4, -8, 0], atol=1e-9)


def test_the_whole_view_holds_every_voxel() -> None:
    assert normalize(masked([5.0], around=0.0), view="whole").box.tolist() == [[0, 0, 0], [10, 12, 16]]


def test_a_window_is_the_same_for_every_image() -> None:
    prepared = normalize(masked([-600.0, -500.0, 150.0, 800.0, 3000.0], around=-1000.0), window=(-500.0, 800.0))
    assert sorted(set(np.round(prepared.data.ravel(), 4).tolist())) == [0.0, 0.5, 1.0, 1.25]
    assert (prepared.offset, prepared.scale) == (-500.0, 1300.0)
