"""Fields whose determinants, and maps whose errors, are known."""

import numpy as np
import pytest

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume
from lightcrcf_bench.smoothness.scores import (
    correlation,
    distances,
    mean_dice,
    points_of,
    ratios,
    target_error,
    volume_change,
)

SHAPE = (12, 16, 10)
TURNED = np.array([[0, -1.5, 0, 20.0], [1.2, 0, 0, -9], [0, 0, 2.0, 4], [0, 0, 0, 1]])
DOUBLE = Affine(np.diag([2.0, 2.0, 2.0, 1.0]))


def halves(grid: Grid) -> DisplacementField:
    """Stretched to 1.5 along the second axis in its lower half, pressed to 0.5 in its upper half."""
    at = np.arange(grid.shape[1], dtype=np.float32)
    middle = grid.shape[1] / 2
    displacement = np.zeros((3, *grid.shape), np.float32)
    displacement[1] = np.where(at < middle, 0.5 * at, middle - 0.5 * at)[None, :, None]
    return DisplacementField(grid, displacement)


def test_known_determinants_inside_and_everywhere() -> None:
    grid = Grid(SHAPE, TURNED)
    lower = np.zeros(SHAPE, bool)
    lower[:, :6] = True
    chain = Chain(Affine.identity(), halves(grid), DOUBLE)
    found = volume_change(chain, grid, lower)
    assert found["sdlogj_inside"] == pytest.approx(0, abs=1e-6)
    assert found["ratio_p1_inside"] == found["ratio_max_inside"] == pytest.approx(1.5)  # the affine aside
    assert (found["ratio_p1"], found["ratio_max"]) == (pytest.approx(0.5), pytest.approx(1.5))
    assert found["sdlogj"] == pytest.approx(0.5 * np.log(3), rel=0.05)
    assert found["folding_percent"] == found["folding_percent_inside"] == 0


def test_a_fold_counts_where_it_is() -> None:
    grid = Grid(SHAPE, TURNED)
    displacement = np.zeros((3, *SHAPE), np.float32)
    displacement[2, :, :, 5:] = -3 * np.arange(5, dtype=np.float32)
    chain = Chain(Affine.identity(), DisplacementField(grid, displacement), Affine.identity())
    inside = np.zeros(SHAPE, bool)
    inside[:, :, :4] = True
    found = volume_change(chain, grid, inside)
    assert found["folding_percent_inside"] == 0
    assert found["folding_percent"] == pytest.approx(50, abs=11)
    assert found["sdlogj"] > 5


@pytest.mark.parametrize("affine", [Affine.identity(), DOUBLE])
def test_the_grid_of_a_field_does_not_matter(affine: Affine) -> None:
    """A field on half of the grid, or on another one that is turned, measures as it does on the fixed grid."""
    grid = Grid((24, 28, 20), TURNED)
    anatomy = np.zeros(grid.shape, bool)
    anatomy[6:-6, 6:-6, 6:-6] = True

    def on(lattice: Grid) -> Chain:
        world = lattice.world(np.moveaxis(np.indices(lattice.shape), 0, -1))
        vectors = 1.5 * np.sin(world / 9.0)
        field = DisplacementField.from_world_mm(lattice, vectors.astype(np.float32))
        return Chain(Affine.identity(), field, affine)

    whole = volume_change(on(grid), grid, anatomy)
    half = volume_change(on(grid.half()), grid, anatomy)
    other = volume_change(on(grid.canonical().grid(grid)), grid, anatomy)
    assert whole["sdlogj_inside"] > 0.05
    for name in ("sdlogj_inside", "ratio_p1_inside", "ratio_p99_inside", "ratio_max_inside"):
        assert other[name] == pytest.approx(whole[name], abs=1e-5)
        assert half[name] == pytest.approx(whole[name], rel=0.06)


def test_no_field_changes_no_volume() -> None:
    found = volume_change(Chain(Affine.identity(), None, DOUBLE), Grid(SHAPE, TURNED), np.ones(SHAPE, bool))
    assert {found[name] for name in ("sdlogj", "folding_percent")} == {0.0}
    assert {found[name] for name in ("ratio_p1", "ratio_p99", "ratio_max_inside")} == {1.0}


def test_spread_is_that_of_logarithms() -> None:
    drawn = np.exp(np.random.default_rng(3).normal(0.1, 0.3, 100_000)).astype(np.float32)
    found = ratios(drawn)
    assert found["sdlogj"] == pytest.approx(0.3, rel=0.02)
    assert found["ratio_p99"] == pytest.approx(np.exp(0.1 + 2.326 * 0.3), rel=0.02)


def test_errors_are_those_of_the_whole_map() -> None:
    """A shift as a field and as an affine is the same map."""
    grid = Grid(SHAPE, TURNED)
    shift = np.array([3.0, 0.0, -4.0])
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    field = DisplacementField.from_world_mm(grid, np.broadcast_to(shift, (*SHAPE, 3)).astype(np.float32))
    points = points_of(np.ones(SHAPE, bool), grid)
    by_field = Chain(Affine.identity(), field, Affine.identity())
    by_affine = Chain(Affine.identity(), None, Affine(matrix))
    assert distances(by_field, points, by_affine.points(points)).max() < 1e-4
    assert distances(Chain(Affine.identity(), None, Affine.identity()), points, by_affine.points(points)) == (
        pytest.approx(5.0)
    )
    assert target_error(by_affine, points, points) == pytest.approx(5.0)


def test_likeness_and_overlap() -> None:
    grid = Grid(SHAPE, np.eye(4))
    random = np.random.default_rng(1)
    image = Volume(random.normal(size=SHAPE).astype(np.float32), grid)
    labels = Volume((np.indices(SHAPE)[1] // 4).astype(np.int16), grid)
    still, inside = Chain(Affine.identity(), None, Affine.identity()), np.ones(SHAPE, bool)
    assert correlation(still, image, image, inside) == pytest.approx(1)
    assert correlation(still, image, Volume(-2 * image.data, grid), inside) == pytest.approx(-1)
    assert correlation(still, image, Volume(np.ones(SHAPE, np.float32), grid), inside) == 0
    assert mean_dice(still, labels, labels) == 1
    matrix = np.eye(4)
    matrix[1, 3] = 2.0
    moved = Chain(Affine.identity(), None, Affine(matrix))
    assert mean_dice(moved, labels, labels) == pytest.approx(0.5)
