from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightcrcf.network.config import NetworkConfig, tensor_shapes
from lightcrcf.weights.preparation import Preparation
from lightcrcf.weights.store import Weights

Float32 = NDArray[np.float32]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than these small tensors do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20250117)


@pytest.fixture
def random_weights(rng: np.random.Generator) -> Callable[[NetworkConfig], Weights]:
    """A network that moves several voxels: He's standard deviation everywhere, and biases."""

    def make(config: NetworkConfig) -> Weights:
        arrays = {}
        for name, shape in sorted(tensor_shapes(config).items()):
            deviation = (2 / np.prod(shape[1:])) ** 0.5 if name.endswith("weight") else 0.1
            arrays[name] = rng.normal(scale=deviation, size=shape).astype(np.float32)
        return Weights(
            "random", config, arrays, Preparation((1.0, 1.0, 1.0)), "skull-stripped brain", None, "none", "0" * 64
        )

    return make


@pytest.fixture
def pair(rng: np.random.Generator) -> Callable[[tuple[int, int, int]], tuple[Float32, Float32]]:
    """Two images of smooth blobs, in about [0, 1]."""

    def make(shape: tuple[int, int, int]) -> tuple[Float32, Float32]:
        coarse = rng.random((2, *(n // 4 for n in shape)))
        fixed, moving = coarse.repeat(4, axis=1).repeat(4, axis=2).repeat(4, axis=3).astype(np.float32)
        return np.ascontiguousarray(fixed), np.ascontiguousarray(moving)

    return make
