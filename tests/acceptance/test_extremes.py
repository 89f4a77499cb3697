"""A few extreme voxels steer nothing: a bright lesion, metal, one division by nearly zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.registration.register import Registration, register
from lightcrcf.volumes import Volume

GridMaker = Callable[..., Grid]
BodyMaker = Callable[..., Volume]

SHAPE, SPACING_MM, SHIFT_MM = (64, 56, 68), (3.0, 2.8, 2.6), (6.0, -4.0, 5.0)
TISSUE, LESION_MM, RADIUS_MM = 320.0, np.array([-34.0, 6.0, 12.0]), 20.0


def noisy(volume: Volume, seed: int) -> Volume:
    noise = np.abs(np.random.default_rng(seed).normal(0, 8, volume.data.shape))
    return replace(volume, data=(volume.data + noise).astype(np.float32))


def distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(a - b, axis=1)


def turn_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Degrees between the rotations of two (4, 4) matrices."""
    u, _, v = np.linalg.svd(np.linalg.inv(a[:3, :3]) @ b[:3, :3])
    return float(np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1))))


@pytest.fixture(scope="module")
def grid(grids: GridMaker) -> Grid:
    return grids(SHAPE, SPACING_MM, axes="LPS")


@pytest.fixture(scope="module")
def points(grid: Grid, bodies: BodyMaker) -> NDArray[np.float64]:
    """(N, 3) RAS mm in tissue."""
    return grid.world(np.argwhere(bodies(grid).data > 150)[::23])


@pytest.fixture(scope="module")
def moving(grid: Grid, bodies: BodyMaker) -> Volume:
    return noisy(bodies(grid, SHIFT_MM), 2)


@pytest.fixture(scope="module")
def without(grid: Grid, bodies: BodyMaker, moving: Volume) -> Registration:
    return register(noisy(bodies(grid), 1), moving, model="none")


@pytest.mark.parametrize("side", ["fixed", "moving"])
@pytest.mark.parametrize("times", [2, 5, 10, 30])
def test_a_lesion_brighter_than_all_tissue(
    times: float,
    side: str,
    grid: Grid,
    bodies: BodyMaker,
    moving: Volume,
    without: Registration,
    points: NDArray[np.float64],
) -> None:
    """A cyst of 40 mm in one of the images, so many times as bright as tissue is.

    A lesion of twice the tissue is no brighter than some organs are: what lies near it may be taken for one.
    """
    lesion = (times - 1) * TISSUE
    images = noisy(bodies(grid, lesion=lesion), 1), moving
    if side == "moving":
        images = noisy(bodies(grid), 1), noisy(bodies(grid, SHIFT_MM, lesion=lesion), 2)
    found = register(*images, model="none")
    one, two = (done.transform.after for done in (without, found))
    assert turn_between(one.matrix, two.matrix) <= 1.0
    assert distances(one.points(points), two.points(points)).max() <= 1.0
    far = np.linalg.norm(points - LESION_MM, axis=1) > RADIUS_MM + 15
    off = distances(found.transform.points(points), without.transform.points(points))[far]
    assert np.percentile(off, 95) <= 2.0
    assert np.percentile(off, 99) <= 2.5
    assert ("extreme" in getattr(found.record.inputs, side).unknown) == (times > 2)
    assert found.quality.verdict == without.quality.verdict == "pass"


@pytest.fixture(scope="module")
def persons(grid: Grid, bodies: BodyMaker, grids: GridMaker) -> Registration:
    """Two of them, registered."""
    other = grids((58, 60, 54), (3.1, 2.7, 3.2), axes="ASR", turn=(4, -3, 5), centre=SHIFT_MM)
    return register(bodies(grid), bodies(other, SHIFT_MM, bend_mm=3), model="none")


@pytest.mark.parametrize("value", [1e6, 1e9, 1e12, -1e6, -1e9])
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_one_voxel_of_any_value(value: float, side: str, persons: Registration, points: NDArray[np.float64]) -> None:
    """A division by nearly zero in a quantitative map, in tissue and at the corner."""
    images, wanted = {"fixed": persons.fixed, "moving": persons.moving}, persons
    data = images[side].data.copy()
    data[30, 25, 31] = data[0, 0, 0] = value
    images[side] = replace(images[side], data=data)
    found = register(images["fixed"], images["moving"], model="none")
    off = distances(found.transform.points(points), wanted.transform.points(points))
    assert np.median(off) <= 0.5
    assert np.percentile(off, 95) <= 1.5
    assert off.max() <= 6.0  # beside the voxel
    assert found.quality.verdict == wanted.quality.verdict
    assert np.median(np.abs(found.moved.data - wanted.moved.data)) <= 1.0


def test_metal_in_both_images(grid: Grid, bodies: BodyMaker, moving: Volume, points: NDArray[np.float64]) -> None:
    """Ten voxels of a screw, at different places."""
    fixed = noisy(bodies(grid), 1)
    images = [replace(volume, data=volume.data.copy()) for volume in (fixed, moving)]
    images[0].data[20:22, 30:35, 30] = 3e4
    images[1].data[40:42, 25:30, 40] = 3e4
    off = distances(register(*images, model="none").transform.points(points), points + SHIFT_MM)
    assert np.percentile(off, 95) <= 1.0
    assert np.median(off) <= 0.3
