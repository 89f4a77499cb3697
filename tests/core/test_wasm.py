"""The core as WebAssembly, in a headless browser, beside the extension module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasm_page
from numpy.typing import NDArray
from wasm_page import Earlier, Out

from lightcrcf import _core
from lightcrcf.affine.gauss_newton import DEGREES_OF_FREEDOM
from lightcrcf.affine.pyramid import AlignmentImage, PyramidLevel
from lightcrcf.affine.search import PairPyramid, search
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.rows import level_row
from lightcrcf.refinement.schedule import Schedule, plan
from lightcrcf.volumes import Volume

BrainMaker = Callable[..., tuple[Volume, Volume]]
GridMaker = Callable[..., Grid]

pytestmark = pytest.mark.slow

SHAPE, COARSE = (21, 34, 27), (11, 17, 14)
RADIUS = 2
# Of the largest value; variances are small differences of large sums.
TOLERANCE = {"correlation_terms": 2e-4}
ONE_VOXEL = np.ones((1, 1, 1), np.float32)
MATRIX = np.array([[0.97, 0.03, -0.02, 1.137], [-0.02, 1.02, 0.04, -0.713], [0.01, -0.03, 1.01, 0.417]])


@pytest.fixture(scope="session")
def module() -> Path:
    if missing := wasm_page.missing_tool():
        pytest.skip(missing)
    return wasm_page.build()


@pytest.fixture(params=["baseline", "avx512"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Limit the extension to an instruction set: the browser's vectors are as long as those of the baseline."""
    before = _core.isa()
    _core.limit_isa(request.param)
    yield request.param
    _core.limit_isa(before)


def smooth_noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Return noise of channels smoothed over a few voxels, between 0 and 1."""
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    out = np.empty_like(values)
    taps = np.tile(np.array([0.3, 0.2, 0.15], np.float32), (3, 1))
    _core.smooth(values, taps, out)
    return (out - out.min()) / (out.max() - out.min())


def sizes(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def kernel_calls() -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the arguments of each function of the module, and those of the extension's function of that name."""
    image, other = smooth_noise((1, *SHAPE), 1), smooth_noise((1, *SHAPE), 2)
    fixed, moved = image[0], other[0]
    coarse_image = smooth_noise((1, *COARSE), 3)[0]
    weight = (fixed > 0.3).astype(np.float32)
    valid = (coarse_image > 0.2).astype(np.float32)
    u, v = 6 * smooth_noise((3, *SHAPE), 4) - 3, 4 * smooth_noise((3, *SHAPE), 5) - 2
    coarse = 3 * smooth_noise((3, *COARSE), 6) - 1.5
    taps = np.tile(np.array([0.4, 0.2, 0.1], np.float32), (3, 1))
    terms = smooth_noise((3, *SHAPE), 7)
    grid, small, field = sizes(*SHAPE), sizes(*COARSE), Out((3, *SHAPE))
    halved = np.diag([0.487, 0.493, 0.501]) @ MATRIX  # no point lies on the border of a voxel
    several = np.stack([halved, halved + 0.1 * np.eye(3, 4)])
    blocks = tuple(-(-n // f) for n, f in zip(SHAPE, (2, 3, 2), strict=True))
    identity = np.eye(3, 4), np.eye(3, dtype=np.float32)
    to_small = [fixed, weight, grid, coarse_image, valid, small]
    return {
        "warp": ([image, u, sizes(1, *SHAPE), Out(image.shape)], [image, u, Out(image.shape)]),
        "compose": ([u, v, grid, field], [u, v, field]),
        "upsample": ([coarse, small, grid, field], [coarse, field]),
        "resample": (
            [coarse_image, small, halved, grid, Out(SHAPE)],
            [coarse_image, halved, *identity, None, 0.0, Out(SHAPE)],
        ),
        "smooth": ([u, sizes(3, *SHAPE), taps, RADIUS, field], [u, taps, field]),
        "window_mean": ([u, sizes(3, *SHAPE), RADIUS, field], [u, RADIUS, field]),
        "block_mean": ([fixed, grid, sizes(2, 3, 2), Out(blocks)], [fixed, (2, 3, 2), Out(blocks)]),
        "correlation_terms": (
            [fixed, moved, grid, RADIUS, 1e-6, 1e-4, field, Out((3, SHAPE[1]), np.float64)],
            [fixed, moved, None, RADIUS, 1e-6, 1e-4, field, Out((3, SHAPE[1]), np.float64)],
        ),
        "correlation_force": (
            [fixed, moved, grid, RADIUS, terms, field],
            [fixed, moved, None, RADIUS, terms, field],
        ),
        "compose_step": ([u, v, grid, 0.5, 0.8, field], [u, v, 0.5, 0.8, field]),
        "normal_equations": (
            [*to_small, halved, 1, Out((15, 15), np.float64)],
            [fixed, weight, coarse_image, valid, halved, True, Out((15, 15), np.float64)],
        ),
        "correlation_sums": (
            [*to_small, several, 2, 0, Out((2, 6), np.float64)],
            [fixed, weight, coarse_image, valid, several, False, Out((2, 6), np.float64)],
        ),
    }


def in_python(name: str, arguments: list[Any]) -> list[NDArray[Any]]:
    """Return the arrays that a function of the extension overwrites."""
    arrays = [np.empty(a.shape, a.dtype) if isinstance(a, Out) else a for a in arguments]
    getattr(_core, {"resample": "resample_linear"}.get(name, name))(*arrays)
    return [array for array, a in zip(arrays, arguments, strict=True) if isinstance(a, Out)]


@pytest.fixture(scope="module")
def computed(module: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[NDArray[Any]]]:
    """Return what each function computes in the browser."""
    calls = {name: arguments for name, (arguments, _) in kernel_calls().items()}
    results = wasm_page.call(module, list(calls.items()), tmp_path_factory.mktemp("browser"))
    return {name: arrays for name, (arrays, _) in zip(calls, results, strict=True)}


@pytest.mark.parametrize("name", list(kernel_calls()))
def test_kernels_agree(name: str, computed: dict[str, list[NDArray[Any]]], isa: str) -> None:
    """To rounding in float32, so that displacements of 6 voxels differ by 1e-5 voxel at most."""
    wanted = in_python(name, kernel_calls()[name][1])
    assert len(wanted) == len(computed[name])
    for ours, python in zip(computed[name], wanted, strict=True):
        assert np.isfinite(ours).all()
        assert np.abs(ours - python).max() <= TOLERANCE.get(name, 2e-6) * np.abs(python).max()


@dataclass(frozen=True, eq=False)
class Registered:
    """An affine, the moving image under it, and the displacement on the fixed grid."""

    matrix: NDArray[np.float64]
    moved: NDArray[np.float32]
    displacement: NDArray[np.float32]


@pytest.fixture(scope="module")
def images(brains: BrainMaker, grids: GridMaker) -> tuple[PairPyramid, Volume, Volume]:
    """Two generated persons of the size of real ones at 2 mm, and their pyramids."""
    fixed = unit_range(brains(grids((96, 112, 96), (1.7, 1.7, 1.7)))[0])
    moving = unit_range(
        brains(grids((92, 108, 98), (1.8, 1.75, 1.7)), person=1, turn=(4, -6, 8), shift_mm=(5, -6, 3))[0]
    )
    return PairPyramid.build(*(AlignmentImage.prepare(image, None) for image in (fixed, moving))), fixed, moving


def unit_range(image: Volume) -> Volume:
    return Volume((image.data / np.percentile(image.data, 99.5)).clip(0, 1).astype(np.float32), image.grid)


def schedule() -> Schedule:
    return plan("default", None).schedule


def schedule_rows(levels: Schedule) -> NDArray[np.float64]:
    """Return levels as core/wasm/registration.cpp takes them."""
    rows = np.zeros((len(levels), 14 + 3 * 8))
    for row, level in zip(rows, levels, strict=True):
        *numbers, candidates, ((metric, *measure),) = level_row(level, [Images(ONE_VOXEL, ONE_VOXEL)])
        row[:14] = *numbers, ("lncc", "mse", "explained").index(metric), *measure, len(candidates)
        row[14 : 14 + 3 * len(candidates)] = np.ravel(candidates)
    return rows


def source_arguments(level: PyramidLevel) -> list[Any]:
    """Return the finest level of a masked image as the source of a pyramid."""
    planes = np.stack([level.image, level.foreground, level.valid])
    settings = sizes(1, level.edge, level.blank_outside)
    return [planes, sizes(*level.grid.shape), np.array(level.grid.affine), settings]


def register_in_python(pyramid: PairPyramid, fixed: Volume, moving: Volume, noise: Noise) -> Registered:
    found, _ = search(pyramid, "affine", upright=True)
    moved = resample(moving.data, fixed.grid.shape, (moving.grid.inverse @ found.fit.matrix @ fixed.grid.affine)[:3])
    refined = refine(fixed.data, moved, None, schedule=schedule(), noise=noise, masked=(True, True))
    return Registered(found.fit.matrix, moved, refined.displacement)


def register_in_browser(
    module: Path, profile: Path, pyramid: PairPyramid, fixed: Volume, moving: Volume, noise: Noise
) -> Registered:
    grid, shape = sizes(*fixed.grid.shape), fixed.grid.shape
    levels = schedule_rows(schedule())
    variances = np.array([(noise.fixed, noise.moving), noise.sizes, noise.units], np.float64).T.copy()
    calls: list[wasm_page.Call] = [
        (
            "search_affine",
            [
                *source_arguments(pyramid.fine.fixed),
                *source_arguments(pyramid.fine.moving),
                DEGREES_OF_FREEDOM["affine"],
                1,
                Out((4, 4), np.float64),
            ],
        ),
        (
            "resample_affine",
            [
                moving.data,
                sizes(*moving.grid.shape),
                np.array(moving.grid.affine),
                Earlier(0),
                grid,
                np.array(fixed.grid.affine),
                Out(shape),
            ],
        ),
        (
            "refine",
            [
                fixed.data,
                Earlier(1),
                grid,
                sizes(1, 1),
                variances,
                levels,
                len(levels),
                sizes(2, 2, 2),
                Out((3, *shape)),
            ],
        ),
    ]
    ((matrix,), _), ((moved,), _), ((displacement,), _) = wasm_page.call(module, calls, profile)
    return Registered(matrix, moved, displacement)


def test_a_registration_agrees(module: Path, images: tuple[PairPyramid, Volume, Volume], tmp_path: Path) -> None:
    """The affine and the refinement, each to 1e-3 voxel."""
    _, fixed, moving = images
    noise = Noise.of(fixed.data, moving.data)
    python = register_in_python(*images, noise)
    browser = register_in_browser(module, tmp_path, *images, noise)
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*fixed.grid.shape, 1] @ fixed.grid.affine.T
    assert np.abs(corners @ (browser.matrix - python.matrix).T).max() < 1e-3 * fixed.grid.spacing_mm.min()
    assert np.abs(browser.moved - python.moved).max() < 1e-4
    assert np.abs(python.displacement).max() > 1
    assert np.abs(browser.displacement - python.displacement).max() < 1e-3
