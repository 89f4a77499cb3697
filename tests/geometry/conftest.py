from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from lightcrcf import _core

Array = NDArray[np.float64]

# A loaded machine is no failure; the same examples each time keep the suite's result the same.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20250117)


@pytest.fixture(scope="session")
def trilinear() -> Callable[[NDArray, NDArray], Array]:
    """NumPy twin of the sampling: image (..., D, H, W) at indices (3, ...), clamped, float64."""

    def sample(image: NDArray, index: NDArray) -> Array:
        sizes = image.shape[-3:]
        clamped = [np.clip(np.asarray(x, dtype=np.float64), 0, n - 1) for x, n in zip(index, sizes, strict=True)]
        low = [np.floor(x).astype(int) for x in clamped]
        out = np.zeros((*image.shape[:-3], *clamped[0].shape))
        for corner in np.ndindex(2, 2, 2):
            weight = np.ones(clamped[0].shape)
            where = []
            for x, below, up, n in zip(clamped, low, corner, sizes, strict=True):
                weight = weight * (x - below if up else 1 - (x - below))
                where.append(np.minimum(below + up, n - 1))
            out += weight * image[(..., *where)]
        return out

    return sample


@pytest.fixture(scope="session")
def voxels() -> Callable[[tuple[int, ...]], Array]:
    """(3, *shape) indices of all voxels."""
    return lambda shape: np.indices(shape).astype(np.float64)


@pytest.fixture
def thread_counts() -> Iterator[Callable[[], Iterator[int]]]:
    """What sets the number of threads to one after another, more than there are cores too."""

    def each() -> Iterator[int]:
        for count in (1, 2, 5):
            _core.set_thread_count(count)
            yield count

    before = _core.thread_count()
    yield each
    _core.set_thread_count(before)


@pytest.fixture
def instruction_sets() -> Iterator[Callable[[], Iterator[str]]]:
    """What limits kernels to one instruction set after another, of those that this processor has."""

    def each() -> Iterator[str]:
        for name in ("baseline", "avx2", "avx512"):
            _core.limit_isa(name)
            if _core.isa() == name:
                yield name

    before = _core.isa()
    yield each
    _core.limit_isa(before)
