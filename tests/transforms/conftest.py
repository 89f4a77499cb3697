from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume


def _rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    (a, b, c), (d, e, f) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
    about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
    about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _grid(shape: tuple[int, int, int], axes: NDArray, spacing: tuple[float, ...], centre: tuple[float, ...]) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


GRIDS = {
    "RAS": _grid((17, 22, 25), np.eye(3), (2.0, 1.5, 1.2), (-12, 8, 20)),
    "LPS, anisotropic": _grid((17, 22, 11), np.diag([-1.0, -1, 1]), (2.0, 1.5, 2.9), (-12, 8, 20)),
    "PSR, oblique": _grid(
        (22, 25, 17), _rotation(0.2, -0.3, 0.15) @ np.array([[0, 0, 1.0], [-1, 0, 0], [0, 1, 0]]), (1.6, 1.2, 2.1),
        (-9, 5, 26),
    ),
    "nearly upside down": _grid((19, 22, 15), _rotation(np.pi - 2e-3, 4e-3, 1e-3), (1.8, 1.5, 2.4), (40, -60, -55)),
}  # fmt: skip


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20250117)


@pytest.fixture(params=GRIDS)
def fixed_grid(request: pytest.FixtureRequest) -> Grid:
    return GRIDS[request.param]


@pytest.fixture
def moving_grid(fixed_grid: Grid) -> Grid:
    """Oblique, anisotropic, left-handed, over most of `fixed_grid` and some of elsewhere."""
    centre = fixed_grid.world((np.array(fixed_grid.shape) - 1) / 2) + np.array([2.0, -3.0, 1.5])
    return _grid((21, 18, 26), _rotation(-0.2, 0.1, 0.4) @ np.diag([1.0, -1, 1]), (1.9, 2.2, 1.4), tuple(centre))


def smooth(grid: Grid, count: int, rng: np.random.Generator, length_mm: float = 14.0) -> NDArray[np.float32]:
    """(count, D, H, W) sums of sines of the world coordinates, about one in size."""
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    waves = rng.standard_normal((count, 6, 3)) / length_mm
    phases = rng.uniform(0, 2 * np.pi, (count, 6))
    out = np.sin(np.einsum("...a,cwa->c...w", world, waves) + phases[:, None, None, None]).sum(axis=-1) / 2
    return out.astype(np.float32)


@pytest.fixture(params=["full resolution", "half resolution"])
def field(request: pytest.FixtureRequest, fixed_grid: Grid, rng: np.random.Generator) -> DisplacementField:
    """Up to a few mm, smooth, without folds; on the fixed grid or its half."""
    grid = fixed_grid if request.param == "full resolution" else fixed_grid.half()
    return DisplacementField.from_world_mm(grid, np.moveaxis(1.5 * smooth(grid, 3, rng), 0, -1))


@pytest.fixture
def affine(fixed_grid: Grid) -> Affine:
    """About the centre of `fixed_grid`, 12 parameters, mild."""
    centre = fixed_grid.world((np.array(fixed_grid.shape) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(0.1, 0.05, -0.12) @ np.array([[1.05, 0.04, 0], [0, 0.95, -0.03], [0.02, 0, 1.1]])
    matrix[:3, 3] = centre + np.array([1.7, -2.4, 0.9]) - matrix[:3, :3] @ centre
    return Affine(matrix)


@pytest.fixture
def moving(moving_grid: Grid, rng: np.random.Generator) -> Volume:
    return Volume(smooth(moving_grid, 1, rng, length_mm=8.0)[0], moving_grid)


@pytest.fixture
def fixed_points(fixed_grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """(300, 3) RAS mm in and a little around the fixed grid."""
    return fixed_grid.world(rng.uniform(-2, np.array(fixed_grid.shape) + 1, (300, 3)))


@pytest.fixture
def inner_points(fixed_grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """(300, 3) RAS mm away from the border of the fixed grid."""
    return fixed_grid.world(rng.uniform(3.5, np.array(fixed_grid.shape) - 4.5, (300, 3)))


@pytest.fixture
def difference() -> Callable[[NDArray, NDArray], float]:
    """99.9th percentile of the absolute difference, as a share of the range."""
    return lambda a, b: float(np.percentile(np.abs(a - b), 99.9) / np.ptp(b))
