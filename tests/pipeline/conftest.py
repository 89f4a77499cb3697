"""Images to refine and how far apart they are, and a CT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import warp
from lightcrcf.volumes import Volume, write

SHAPE, CT_SHAPE = (34, 41, 37), (20, 26, 23)


def _texture(shape: tuple[int, int, int] = SHAPE, seed: int = 3) -> tuple[NDArray, NDArray, NDArray]:
    """A ball of smooth tissue, the same deformed by up to two voxels, and the field that moves one onto the other."""
    rng, place = np.random.default_rng(seed), np.indices(shape).astype(np.float32)

    def waves(points: NDArray, length: float, count: int = 12) -> NDArray:
        total = np.zeros(points.shape[1:], np.float32)
        for _ in range(count):
            direction = rng.normal(size=3)
            direction *= 2 * np.pi / length / np.linalg.norm(direction)
            total += np.sin(np.tensordot(direction, points, 1) + rng.uniform(0, 6)).astype(np.float32)
        return total / np.sqrt(count)

    def image(points: NDArray) -> NDArray:
        centre = (np.array(shape) - 1) / 2
        radius = np.sqrt(sum(((p - c) / (0.42 * n)) ** 2 for p, c, n in zip(points, centre, shape, strict=True)))
        return np.where(radius < 1, 0.5 + 0.25 * tissue(points), 0).astype(np.float32)

    directions = rng.normal(size=(10, 3))
    directions *= 2 * np.pi / (9 * np.linalg.norm(directions, axis=1, keepdims=True))
    phases = rng.uniform(0, 6, 10)

    def tissue(points: NDArray) -> NDArray:
        return sum(np.sin(np.tensordot(d, points, 1) + p) for d, p in zip(directions, phases, strict=True)) / np.sqrt(5)

    shift = np.stack([waves(place, 40.0) for _ in range(3)])
    return image(place), np.clip(image(place + shift), 0, 1.25), shift


def _error(fixed: NDArray, moving: NDArray, u: NDArray | None) -> float:
    moved = moving if u is None else warp(moving[None], u)[0]
    return float(((fixed - moved) ** 2).mean())


@pytest.fixture(scope="session")
def texture() -> Callable[..., tuple[NDArray, NDArray, NDArray]]:
    """Makes a ball of smooth tissue, the same deformed by up to two voxels, and the field from one onto the other."""
    return _texture


@pytest.fixture(scope="session")
def textured() -> tuple[NDArray, NDArray]:
    """The ball and the deformed one, (34, 41, 37)."""
    fixed, moving, _ = _texture()
    return fixed, moving


@pytest.fixture(scope="session")
def error() -> Callable[[NDArray, NDArray, NDArray | None], float]:
    """The mean squared difference that a field leaves."""
    return _error


def _ct() -> NDArray[np.int16]:
    rng, place = np.random.default_rng(4), np.indices(CT_SHAPE)
    radii = np.array(CT_SHAPE) * (0.4, 0.36, 0.42)
    inside = sum(((x - (n - 1) / 2) / r) ** 2 for x, n, r in zip(place, CT_SHAPE, radii, strict=True)) < 1
    organs = np.where(place[0] > CT_SHAPE[0] // 2, 300, -700) * (place[1] % 7 < 2)
    return np.where(inside, 40 + organs, -1000 + rng.integers(0, 20, CT_SHAPE)).astype(np.int16)


@pytest.fixture(scope="session")
def ct() -> Callable[[], NDArray[np.int16]]:
    """Makes a body of 40 HU in air of -1000, noisy, with something of -700 to 300 in it, (20, 26, 23)."""
    return _ct


@pytest.fixture(scope="session")
def corners() -> NDArray[np.bool_]:
    """Outside of a scanner's circular field of view in the CT."""
    i, j, _ = np.indices(CT_SHAPE)
    height, width, _ = CT_SHAPE
    return np.asarray(np.hypot((i - (height - 1) / 2) / height, (j - (width - 1) / 2) / width) > 0.5)


@pytest.fixture(scope="module")
def small(
    grids: Callable[..., Grid], brains: Callable[..., tuple[Volume, Volume]], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Two files that take little time."""
    folder = tmp_path_factory.mktemp("small")
    for person in range(2):
        write(folder / f"p{person}.nii.gz", brains(grids((25, 31, 22), (6.0, 6.1, 6.2)), person=person)[0])
    return [str(folder / f"p{person}.nii.gz") for person in range(2)]
