"""The average of images, its grid and its sharpness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.template.average import Average, Image, average, common_grid, sharpened, sharpness
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, write

STILL = Chain(Affine.identity(), None, Affine.identity())
Grids = Callable[..., Grid]


def saved(path: Path, data: np.ndarray, grid: Grid) -> Image:
    write(path, Volume(data.astype(np.int16), grid))
    return Image.of(path)


def block(grid: Grid, low: tuple[int, int, int], high: tuple[int, int, int], value: int) -> np.ndarray:
    """A block with some texture on a background of zero."""
    data = np.zeros(grid.shape)
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    rng = np.random.default_rng(value)
    data[inside] = value * rng.uniform(0.8, 1.0, size=data[inside].shape)
    return data


def test_brightness_does_not_matter(grids: Grids, tmp_path: Path) -> None:
    grid = grids((14, 19, 16), (2.0, 2.2, 1.9), axes="LPS")
    data = block(grid, (3, 4, 3), (11, 14, 12), 300)
    images = [saved(tmp_path / "dim.nii.gz", data, grid), saved(tmp_path / "bright.nii.gz", 20 * data, grid)]
    found = average(images, [STILL, STILL], grid)
    alone = average(images[:1], [STILL], grid)
    assert np.allclose(found.image.data, alone.image.data, atol=1e-2)
    assert 0.9 < found.image.data.max() <= 1.25
    assert found.spread < 1e-2


def test_voxels_without_data_are_background(grids: Grids, tmp_path: Path) -> None:
    grid = grids((14, 19, 16), (2.0, 2.2, 1.9))
    data = block(grid, (3, 4, 3), (11, 14, 12), 300).astype(np.float32)
    plain = saved(tmp_path / "plain.nii.gz", data.round(), grid)
    holed = data.round()
    holed[:2], holed[12, 3, 4] = np.nan, np.inf
    write(tmp_path / "holed.nii.gz", Volume(holed, grid))
    image = Image.of(tmp_path / "holed.nii.gz")
    assert image.masked
    assert image.litres == plain.litres
    np.testing.assert_array_equal(
        average([image], [STILL], grid).image.data, average([plain], [STILL], grid).image.data
    )


def test_background_is_where_most_masked_images_have_none(grids: Grids, tmp_path: Path) -> None:
    grid = grids((14, 19, 16), (2.0, 2.2, 1.9))
    images = [
        saved(tmp_path / f"{n}.nii.gz", block(grid, (3, 4, 3), (11, 10 + (6 if n == 0 else 0), 12), 300 + n), grid)
        for n in range(3)
    ]
    assert all(image.masked for image in images)
    found = average(images, [STILL] * 3, grid)
    assert found.tissue[5, 6, 5]
    assert not found.tissue[5, 13, 5]
    assert found.image.data[5, 13, 5] == 0


def test_what_an_image_does_not_show_does_not_count(grids: Grids, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = grids((15, 18, 13), (2.0, 2.1, 2.2))
    data = rng.integers(200, 1000, size=whole.shape)
    part = whole.crop((4, 0, 0), (8, 18, 13))
    images = [saved(tmp_path / "whole.nii.gz", data, whole), saved(tmp_path / "part.nii.gz", data[4:12], part)]
    assert not any(image.masked for image in images)
    found = average(images, [STILL, STILL], whole)
    only = average(images[:1], [STILL], whole)
    assert np.array_equal(found.image.data[:3], only.image.data[:3])
    assert found.image.data[:3].mean() > 0.3


def test_margins_that_few_images_reach_are_trimmed(grids: Grids, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = grids((15, 18, 13), (2.0, 2.1, 2.2))
    data = rng.integers(200, 1000, size=whole.shape)
    part = whole.crop((4, 0, 0), (8, 18, 13))
    files = [(data, whole), (data[4:12], part), (data[4:12] + 1, part)]
    images = [saved(tmp_path / f"{number}.nii.gz", *file) for number, file in enumerate(files)]
    found = average(images, [STILL] * 3, whole).trimmed()
    assert found.image.grid.isclose(part)
    assert found.image.data.shape == found.tissue.shape == part.shape
    assert average(images[:2], [STILL] * 2, whole).trimmed().image.grid.isclose(whole)  # half of them are enough


def test_the_grid_holds_all_at_the_median_spacing(grids: Grids, tmp_path: Path) -> None:
    spacings = ((2.0, 2.0, 3.0), (2.2, 2.4, 3.1), (5.0, 2.6, 3.3))
    images, affines = [], []
    for n, spacing in enumerate(spacings):
        grid = grids((14, 19, 16), spacing, axes="RAS", turn=(0, 0, 0), centre=(10 * n, 0, 0))
        images.append(saved(tmp_path / f"{n}.nii.gz", block(grid, (3, 4, 3), (11, 14, 12), 300), grid))
        shift = np.eye(4)
        shift[:3, 3] = 0, 7 * n, 0
        affines.append(Affine(shift))
    found = common_grid(images, affines)
    assert np.allclose(found.spacing_mm, (2.2, 2.4, 3.1))
    for image, affine in zip(images, affines, strict=True):
        voxels = found.voxels(affine.inverse().points(image.corners_mm))
        assert (voxels > 0).all()
        assert (voxels < np.array(found.shape) - 1).all()


def test_sharpening_makes_edges_steeper_and_leaves_the_background(grids: Grids) -> None:
    grid = grids((18, 21, 16), (1.0, 1.2, 1.1))
    ramp = np.clip(np.arange(18) / 4 - 1.5, 0.2, 1).reshape(-1, 1, 1) * np.ones(grid.shape)
    ramp[:, :3] = 0
    found = Average(Volume(ramp.astype(np.float32), grid), np.ones(grid.shape, bool), 0.0)
    sharp = sharpened(found, 1.0)
    assert sharpness(sharp, found.tissue) > 1.05 * sharpness(found.image, found.tissue)
    assert not sharp.data[:, :3].any()
    assert sharp.data.min() >= 0
    assert np.array_equal(sharpened(found, 0).data, found.image.data)


def test_sharpness_is_that_of_the_inside(grids: Grids) -> None:
    grid = grids((14, 15, 16), (1.0, 1.2, 1.1))
    tissue = np.zeros(grid.shape, bool)
    tissue[3:11, 3:12, 3:13] = True
    assert sharpness(Volume(tissue.astype(np.float32), grid), tissue) == 0
    assert sharpness(Volume(tissue.astype(np.float32), grid), np.zeros(grid.shape, bool)) == 0


def test_an_image_without_contrast_is_refused(grids: Grids, tmp_path: Path) -> None:
    grid = grids((5, 7, 6), (1, 1, 1))
    with pytest.raises(InputError, match="contrast"):
        saved(tmp_path / "flat.nii.gz", np.full(grid.shape, 7), grid)
