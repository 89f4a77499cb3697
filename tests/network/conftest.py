from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

Randomise = Callable[[nn.Module], None]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than these small tensors do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(20250117)
        yield


@pytest.fixture(scope="session")
def randomise() -> Randomise:
    """Give batch normalisations statistics as after training, and every bias and scale a value that matters."""

    def change(module: nn.Module) -> None:
        with torch.no_grad():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                last = name.rpartition(".")[2]
                if last == "running_var":
                    tensor.uniform_(0.3, 3.0)
                elif last in ("running_mean", "bias", "scale"):
                    tensor.normal_()
                elif tensor.ndim == 1 and last == "weight":  # the gain of a normalisation
                    tensor.uniform_(0.5, 2.0)

    return change


@pytest.fixture(scope="session")
def difference() -> Callable[[Tensor, Tensor], float]:
    """Largest difference relative to the largest value."""
    return lambda got, wanted: float((got - wanted).abs().max() / wanted.abs().max())
