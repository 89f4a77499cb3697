import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.evaluation.fields import deformation, total_displacement
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField


def oblique(shape: tuple[int, int, int], spacing: tuple[float, float, float], angle: float, shift: float) -> Grid:
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1]]) @ np.diag(spacing)
    affine[:3, 3] = shift
    return Grid(shape, affine)


def affine(seed: int) -> Affine:
    matrix = np.eye(4)
    matrix[:3] += np.random.default_rng(seed).normal(scale=0.1, size=(3, 4))
    return Affine(matrix)


FIXED = oblique((7, 9, 12), (1.0, 1.5, 2.0), 0.3, 5.0)
MOVING = oblique((10, 8, 11), (1.2, 0.8, 1.7), -0.5, 3.0)


@pytest.fixture
def chain() -> Chain:
    # The field's grid reaches beyond the fixed one, so that no point leaves it.
    lattice = FIXED.crop((-4, -4, -4), (15, 17, 20)).half()
    vectors = np.random.default_rng(1).normal(scale=0.3, size=(3, *lattice.shape)).astype(np.float32)
    return Chain(affine(2), DisplacementField(lattice, vectors), affine(3))


def indices(grid: Grid) -> NDArray[np.float64]:
    return np.moveaxis(np.indices(grid.shape).astype(np.float64), 0, -1)


def test_deformation_is_the_chain_without_its_affines(chain: Chain) -> None:
    x = indices(FIXED)
    field = Chain(Affine.identity(), chain.field, Affine.identity())
    expected = FIXED.voxels(chain.before.inverse().points(field.points(chain.before.points(FIXED.world(x))))) - x
    np.testing.assert_allclose(np.moveaxis(deformation(chain, FIXED), 0, -1), expected, atol=1e-4)


def test_total_displacement_leads_to_the_moving_voxel(chain: Chain) -> None:
    x = indices(FIXED)
    expected = MOVING.voxels(chain.points(FIXED.world(x))) - x
    np.testing.assert_allclose(np.moveaxis(total_displacement(chain, FIXED, MOVING), 0, -1), expected, atol=1e-4)


def test_without_a_field_nothing_deforms() -> None:
    still = Chain(affine(2), None, affine(3))
    assert not deformation(still, FIXED).any()
    x = indices(FIXED)
    expected = MOVING.voxels(still.points(FIXED.world(x))) - x
    np.testing.assert_allclose(np.moveaxis(total_displacement(still, FIXED, MOVING), 0, -1), expected, atol=1e-4)
