from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import (
    classify,
    foreground,
    intensity_range,
    is_skull_stripped,
    robust_minimum,
    volume_litres,
)
from lightcrcf.volumes import Volume, read

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]


def test_the_foreground_of_a_masked_brain_is_the_brain(brains: BrainMaker, grids: GridMaker) -> None:
    image, labels = brains(grids((46, 58, 41), (3.2, 3.0, 3.4), axes="PSR"))
    assert np.mean(foreground(image.data) == (labels.data > 0)) > 0.995


def test_the_foreground_of_a_head_leaves_noisy_air_out(brains: BrainMaker, grids: GridMaker) -> None:
    image, labels = brains(grids((60, 72, 56), (3.2, 3.0, 3.4)), head=True)
    mask = foreground(image.data)
    assert mask[labels.data > 0].mean() > 0.9
    assert mask[0].mean() < 0.02


def test_litres_count_oblique_voxels(grids: GridMaker) -> None:
    grid = grids((10, 12, 14), (2.0, 3.0, 4.0), turn=(10, 20, 30))
    mask = np.zeros(grid.shape, bool)
    mask[:5, :5, :5] = True
    assert volume_litres(mask, grid) == pytest.approx(125 * 24e-6)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "ASL"])
def test_brains_and_heads_are_told_apart(brains: BrainMaker, grids: GridMaker, axes: str) -> None:
    size = {"RAS": (60, 72, 58), "LPI": (60, 72, 58), "ASL": (72, 58, 60)}[axes]
    grid = grids(size, (3.3, 3.3, 3.3), axes=axes)
    assert classify(brains(grid)[0]).kind == "skull-stripped brain"
    assert is_skull_stripped(brains(grid)[0])
    assert classify(brains(grid, head=True)[0]).kind == "whole head or body"


def test_a_constant_image_is_refused(grids: GridMaker) -> None:
    with pytest.raises(InputError, match="flat"):
        classify(Volume(np.ones((9, 8, 7)), grids((9, 8, 7), (1.0, 1.0, 2.0)), "flat"))


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("value", [1e5, 1e9, 1e30, -1e5, -1e9])
def test_a_few_extreme_voxels_hide_no_tissue(value: float, head: bool, brains: BrainMaker, grids: GridMaker) -> None:
    image = brains(grids((60, 72, 56), (3.2, 3.0, 3.4), axes="PSR"), head=head)[0]
    wanted = foreground(image.data)
    for places in ([(30, 36, 28)], [(5, 6, 7), (30, 36, 28), (40, 30, 20)]):
        data = image.data.astype(np.float32)
        data[tuple(np.transpose(places))] = value
        assert np.mean(foreground(data) == wanted) > 0.98


@pytest.mark.parametrize("times", [3, 10, 100])
def test_a_bright_lesion_hides_no_tissue(times: float, brains: BrainMaker, grids: GridMaker) -> None:
    """3 % of a head; Otsu's threshold alone separates it from all the rest."""
    image = brains(grids((60, 72, 56), (3.2, 3.0, 3.4), axes="PSR"), head=True)[0]
    data = image.data.astype(np.float32)
    wanted = foreground(data)
    data[20:34, 25:40, 18:30] = times * data[wanted].max()
    found = foreground(data)
    assert found[20:34, 25:40, 18:30].all()
    assert np.mean(found == wanted) > 0.95


def test_two_kinds_of_tissue_are_no_lesion_and_its_surroundings(grids: GridMaker) -> None:
    """The darker one is what the threshold leaves out, as it always was: not many times as much."""
    rng = np.random.default_rng(6)
    data = rng.normal(10, 2, (30, 34, 26)).astype(np.float32)
    data[4:26, 4:30, 4:22] = rng.normal(400, 20, (22, 26, 18))
    data[8:20, 8:20, 8:20] = rng.normal(900, 20, (12, 12, 12))
    wanted = np.zeros(data.shape, bool)
    wanted[4:26, 4:30, 4:22] = True
    np.testing.assert_array_equal(foreground(data), wanted)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_the_range_of_tissue_is_its_own(dtype: type) -> None:
    tissue = np.random.default_rng(2).normal(300, 40, 5000).clip(150, 450).astype(dtype)
    plain = intensity_range(tissue, 0.5, 98)
    assert plain == pytest.approx(np.percentile(tissue, (0.5, 98)))
    tissue[::20] = 30_000
    low, high = intensity_range(tissue, 0.5, 98)
    assert low == pytest.approx(plain[0], abs=5)
    assert plain[1] < high < 2 * plain[1]


def test_the_range_of_one_value_is_as_it_is() -> None:
    assert intensity_range(np.full(50, 7.0), 0.5, 98) == (7, 7)
    tissue = np.full(1000, 7.0)
    tissue[:50] = 9  # the 75th percentile is no brighter than the darkest: nothing to measure by
    assert intensity_range(tissue, 0.5, 98) == (7, 9)


def test_the_lowest_value_is_one_that_others_are_near() -> None:
    data = np.random.default_rng(2).normal(0, 1, (20, 30, 10))
    assert robust_minimum(data) == data.min()
    data[3, 4, 5], data[6, 7, 8], data[1, 1, 1] = -1e9, np.nan, -np.inf
    assert -5 < robust_minimum(data) < -2
    assert robust_minimum(np.full((2, 3, 4), np.nan)) == 0
    assert robust_minimum(np.full((2, 3, 4), 7, np.uint8)) == 7


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("oasis/sub-1000_T1w.nii.gz", "skull-stripped brain"),
        ("oasis-trt-asl/sub-01_T1w.nii.gz", "skull-stripped brain"),
        ("ixi-2mm/sub-IXI048_T1w.nii.gz", "whole head or body"),
        ("chaos-t2/sub-01_T2w.nii.gz", "whole head or body"),
        ("hippocampus/hippocampus_001.nii.gz", "small crop"),
    ],
)
def test_real_images_are_recognised(data: Path, name: str, kind: str) -> None:
    assert classify(read(data / name)).kind == kind
