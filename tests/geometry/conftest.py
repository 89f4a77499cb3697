from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

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
