"""Means of maps: of affines whatever the reference, of deformations whatever the pose; and the way back to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.template.mean import group_mean, mean_displacement, shape_update, stretch, update_shape
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField

GRID = Grid((19, 25, 22), np.array([[0, 2.1, 0, -20.0], [-1.9, 0, 0, 17], [0, 0, 2.3, -25], [0, 0, 0, 1]]))
HALF = GRID.half()


def affine(seed: int, size: float = 0.2) -> Affine:
    """Any affine: turned, stretched, sheared and shifted by up to some centimetres."""
    rng = np.random.default_rng(seed)
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[:3, 3] = rng.normal(scale=size, size=(3, 3)), rng.normal(scale=30, size=3)
    matrix = expm(generator)
    matrix[3] = 0, 0, 0, 1
    return Affine(matrix)


def smooth(grid: Grid, seed: int) -> DisplacementField:
    """A field of a few millimetres that fades towards the border."""
    points = [np.linspace(0, np.pi, n) for n in grid.shape]
    fade = np.sin(points[0])[:, None, None] ** 2 * np.sin(points[1])[:, None] ** 2 * np.sin(points[2]) ** 2
    size = np.random.default_rng(seed).normal(scale=2.0, size=3)
    return DisplacementField.from_world_mm(grid, (fade[..., None] * size).astype(np.float32))


def inner_points() -> np.ndarray:
    return GRID.world(np.random.default_rng(5).uniform(4, 15, size=(200, 3)))


def test_the_group_mean_does_not_depend_on_the_reference() -> None:
    affines = [affine(seed) for seed in range(5)]
    names = list("abcde")
    first = group_mean(affines, names)
    for reference in affines:
        seen = [a.compose(reference.inverse()) for a in affines]
        assert np.allclose(group_mean(seen, names).compose(reference).matrix, first.matrix, atol=1e-8)


def test_the_group_mean_of_turns_is_a_turn() -> None:
    turns = []
    for degrees in (-30, 50):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turns.append(Affine(np.array([[c, -s, 0, 4], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])))
    mean = group_mean(turns, ["a", "b"]).matrix
    assert np.allclose(mean[:3, :3] @ mean[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.isclose(np.degrees(np.arctan2(mean[1, 0], mean[0, 0])), 10)


def test_an_image_upside_down_is_named() -> None:
    upside_down = Affine(np.diag([-1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(InputError, match=r"^b: .* got 180 degrees"):
        group_mean([Affine.identity(), upside_down], ["a", "b"])


def test_a_common_turn_or_shift_is_no_shift() -> None:
    turn = affine(3).matrix.copy()
    turn[:3, :3] = turn[:3, :3] @ np.linalg.inv(stretch(Affine(turn)))
    shift = mean_displacement([Chain(Affine.identity(), None, Affine(turn))], GRID)
    assert shift.length_mm.max() < 1e-3


def test_the_mean_shift_is_that_of_the_points() -> None:
    chains = [Chain(Affine.identity(), smooth(GRID, n), affine(n, 0.05)) for n in range(3)]
    shift = mean_displacement(chains, GRID)
    middle, total = GRID.world((np.array(GRID.shape) - 1) / 2), np.zeros((200, 3))
    points = GRID.world(np.random.default_rng(1).integers(1, 18, size=(200, 3)))
    for chain in chains:
        assert chain.field is not None
        total += (chain.field.points(points) - middle) @ stretch(chain.after) + middle - points
    there = tuple(np.rint(GRID.voxels(points)).astype(int).T)
    world = DisplacementField(GRID, shift.displacement).world_mm()
    assert np.allclose(world[there], total / 3, atol=2e-4)
    assert np.allclose(shift.length_mm[there], np.linalg.norm(total / 3, axis=1), atol=2e-4)


@pytest.mark.parametrize("grid", [GRID, HALF], ids=["whole", "half"])
def test_centred_maps_have_no_mean_shift(grid: Grid) -> None:
    chains = [Chain(Affine.identity(), smooth(grid, n), affine(n, 0.03)) for n in range(4)]
    shift = mean_displacement(chains, GRID)
    whole = [update_shape(chain, shape_update(shift, 1.0)) for chain in chains]
    quarter = [update_shape(chain, shape_update(shift, 0.25)) for chain in chains]
    inside = (slice(4, -4),) * 3
    before = shift.length_mm[inside].mean()
    assert before > 0.3
    assert mean_displacement(whole, GRID).length_mm[inside].max() < 0.03 * before
    assert 0.7 < mean_displacement(quarter, GRID).length_mm[inside].mean() / before < 0.8


def test_a_map_without_a_field_can_be_centred() -> None:
    back = smooth(GRID, 1)
    points = inner_points()
    chain = update_shape(Chain(Affine.identity(), None, affine(2)), back)
    assert np.allclose(chain.points(points), affine(2).points(back.points(points)))


def test_centring_composes_with_what_was_there() -> None:
    chain = Chain(Affine.identity(), smooth(GRID, 1), affine(2))
    back = smooth(GRID, 7)
    points = GRID.world(np.random.default_rng(1).integers(3, 15, size=(100, 3)))
    assert np.allclose(update_shape(chain, back).points(points), chain.points(back.points(points)), atol=1e-3)
