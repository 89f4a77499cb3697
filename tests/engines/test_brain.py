"""The network that finds brains: the native kernels compute what PyTorch trains, whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightcrcf.engines.brain import brain_logits
from lightcrcf.geometry.threads import use_threads
from lightcrcf.network.brain import BrainNet
from lightcrcf.network.brain_config import CONVOLUTIONS


@pytest.fixture
def network() -> BrainNet:
    torch.manual_seed(0)
    model = BrainNet()
    torch.nn.init.normal_(model.layers["head"].weight, std=0.1)
    return model


def test_both_agree(network: BrainNet, rng: np.random.Generator) -> None:
    both = rng.random((2, 32, 16, 48), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(both)[None])[0, 0].numpy()
    found = brain_logits(both[0], both[1], network.plain_arrays())
    assert found.shape == (32, 16, 48)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())


def test_threads_make_no_difference(rng: np.random.Generator) -> None:
    both = rng.random((2, 64, 80, 80), np.float32)
    found = []
    for threads in (1, 2):
        with use_threads(threads):
            found.append(brain_logits(both[0], both[1]))
    np.testing.assert_array_equal(*found)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        brain_logits(np.zeros((16, 16, 24), np.float32), np.ones((16, 16, 24), np.float32))


def test_it_is_small(network: BrainNet) -> None:
    assert sum(array.size for array in network.plain_arrays().values()) < 150_000
    assert len(network.layers) == len(CONVOLUTIONS)
    again = BrainNet.from_plain_arrays(network.plain_arrays())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
