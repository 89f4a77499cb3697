"""The core as WebAssembly, in a headless browser, beside the extension module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasm_page
from numpy.typing import NDArray
from wasm_page import Out

from lightcrcf import _core

pytestmark = pytest.mark.slow

SHAPE, COARSE = (21, 34, 27), (11, 17, 14)
RADIUS = 2
# Of the largest value; variances are small differences of large sums.
TOLERANCE = {"correlation_terms": 2e-4}
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
    return dict(zip(calls, results, strict=True))


@pytest.mark.parametrize("name", list(kernel_calls()))
def test_kernels_agree(name: str, computed: dict[str, list[NDArray[Any]]], isa: str) -> None:
    """To rounding in float32, so that displacements of 6 voxels differ by 1e-5 voxel at most."""
    wanted = in_python(name, kernel_calls()[name][1])
    assert len(wanted) == len(computed[name])
    for ours, python in zip(computed[name], wanted, strict=True):
        assert np.isfinite(ours).all()
        assert np.abs(ours - python).max() <= TOLERANCE.get(name, 2e-6) * np.abs(python).max()
