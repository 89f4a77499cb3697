"""CT: recognised by its numbers, matched by the body alone, registered by no network that knows MR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.preprocessing.hounsfield import is_ct
from lightcrcf.preprocessing.table import find_table
from lightcrcf.preprocessing.validity import examine, remove_table
from lightcrcf.registration.models import select_model
from lightcrcf.registration.register import register
from lightcrcf.volumes import Volume

SHAPE, SPACING = (64, 52, 56), 6.0
GRID = Grid(SHAPE, np.diag([SPACING, SPACING, SPACING, 1.0]))
MIDDLE = np.array([190.0, 170.0, 165.0])


def inside(points: NDArray[Any], centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[Any]:
    return np.asarray(np.linalg.norm((points - MIDDLE - centre) / radii, axis=-1) < 1)


def chest(*, table_mm: float | None, lean: float = 0.0, seed: int = 0) -> Volume:
    """A body with lungs and spine, in Hounsfield units, that leans sideways; on a table at this height, or on none."""
    points = GRID.world(np.moveaxis(np.indices(SHAPE), 0, -1)).astype(float)
    if table_mm is not None:
        table = (np.abs(points[..., 1] - table_mm) < 7) & (np.abs(points[..., 0] - MIDDLE[0]) < 150)
    points[..., 0] += lean * np.sin(points[..., 2] / 60)
    data = np.full(SHAPE, -1000.0)
    data[inside(points, (0, 0, 0), (140, 95, 400))] = 40
    for side in (-1, 1):
        data[inside(points, (65 * side, 5, 20), (48, 60, 120))] = -850
    data[inside(points, (0, -55, 0), (22, 22, 400))] = 400
    data[inside(points, (15, 25, 10), (35, 35, 45))] = 90
    if table_mm is not None:
        data[table] = np.maximum(data[table], 100)
    noise = np.random.default_rng(seed).normal(scale=15, size=SHAPE)
    return Volume(np.maximum(data + noise, -1024).astype(np.int16), GRID, "chest")


@pytest.mark.parametrize("table_mm", [None, 45.0])
def test_a_ct_is_known_by_its_numbers(table_mm: float | None) -> None:
    image = chest(table_mm=table_mm)
    assert classify(image).ct
    assert not classify(Volume(image.data + 1024, GRID)).ct  # stored without its offset it could be anything


@pytest.mark.parametrize("values", [(0.0, 300.0), (-1000.0, -800.0), (-4.0, 4.0), (-3024.0, 100.0)])
def test_other_numbers_are_no_ct(values: tuple[float, float]) -> None:
    data = np.linspace(*values, 8000).reshape(20, 20, 20)
    assert not is_ct(data)


def test_the_table_is_beside_the_body_and_nothing_else_is() -> None:
    found, without = find_table(chest(table_mm=45.0)), chest(table_mm=None)
    table = (chest(table_mm=45.0).data > -500) & (without.data < -500)
    assert found is not None
    assert found[table].mean() > 0.95
    assert found[without.data > -500].mean() < 0.005  # where the body lies on it
    assert find_table(without) is None


def test_a_crop_that_opens_the_lungs_is_left_alone() -> None:
    image = chest(table_mm=None)
    crop = Volume(
        np.ascontiguousarray(image.data[12:32, 14:38, 14:40]), GRID.crop(np.array([12, 14, 14]), (20, 24, 26))
    )
    assert classify(crop).ct
    assert find_table(crop) is None


def test_the_table_is_counted_and_becomes_air() -> None:
    image, extent = examine(chest(table_mm=45.0))
    assert extent.table is not None
    assert extent.reasons["beside the body"] == int(extent.table.sum())
    bare = remove_table(image, extent)
    assert set(bare.data[extent.table]) == {-1000}
    np.testing.assert_array_equal(bare.data[~extent.table], image.data[~extent.table])


def test_tables_steer_nothing() -> None:
    """Bodies are sent where they are sent without tables, which stand at two heights."""
    moved = [
        register(chest(table_mm=one), chest(table_mm=other, lean=14, seed=1), transform=kind)
        for kind in ("affine", "deformable")
        for one, other in ((None, None), (45.0, 20.0))
    ]
    points = GRID.world(np.argwhere(chest(table_mm=None).data > -500)[::37])
    for without, with_tables in (moved[:2], moved[2:]):
        apart = np.linalg.norm(without.transform.points(points) - with_tables.transform.points(points), axis=-1)
        assert np.percentile(apart, 90) < 1.0  # mm, a sixth of a voxel; other noise moves them by .4
    assert np.count_nonzero(moved[3].moved.data[:, :6] > 50) > 1000  # the table is still shown
    assert moved[3].record.inputs.moving.content.ct
    assert moved[3].record.model.name is None


def test_a_ct_and_another_image_are_of_two_contrasts() -> None:
    ct = chest(table_mm=None)
    other = Volume((ct.data + 1100).astype(np.float32), GRID)  # as alike as can be, but in other units
    assert register(ct, other).record.similarity.contrasts == "any"
    assert register(ct, other, similarity="same").record.similarity.contrasts == "same"


def test_no_network_that_knows_mr_is_chosen() -> None:
    body, mr = (ImageType(12.0, 0.0, False, "whole head or body", ct) for ct in (True, False))
    grid = Grid((256, 256, 36), np.diag([1.4, 1.4, 7.7, 1.0]))
    assert select_model("auto", (mr, mr), (grid, grid)).weights is not None
    choice = select_model("auto", (body, body), (grid, grid))
    assert choice.weights is None
    assert "both images look like a CT of a whole head or body" in choice.reason
    (first, *_) = select_model("abdomen-mr", (body, body), (grid, grid)).mismatch
    assert first.endswith("but the fixed image looks like a CT")
