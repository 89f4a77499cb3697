"""Several processes train as one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightcrcf.errors import UsageError
from lightcrcf.network.config import variant
from lightcrcf.network.model import LightCRCF
from lightcrcf.training.config import load_config
from lightcrcf.training.loop import Trainer, train
from lightcrcf.training.processes import Processes
from lightcrcf.weights.store import read_tensors

STAGES = """[[stages]]
steps = 1
finest = 1
learning_rate = 1e-3

[[stages]]
steps = 2
learning_rate = 1e-3
"""


def with_batch(config: Path, pairs: int) -> Path:
    config.write_text(config.read_text(encoding="utf-8") + f"batch = {pairs}\n", encoding="utf-8")
    return config


def test_two_processes_end_where_one_with_their_batch_ends(recipe: Callable[..., Path]) -> None:
    """Levels without gradient in the first stage, two pairs for each process, a checkpoint by the first alone."""
    alone, shared = (with_batch(recipe(STAGES, name), 4) for name in ("alone", "shared"))
    train(alone)
    # A free port of this machine only: tests may run beside others.
    meet = ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = ["-m", "torch.distributed.run", *meet, "-m", "lightcrcf", "train", str(shared)]
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (read_tensors(config.parent / "run" / "checkpoint.safetensors") for config in (alone, shared))
    assert one[1]["step"] == two[1]["step"] == "3"
    torch.manual_seed(0)
    start = {f"model.{name}": value.numpy() for name, value in LightCRCF(variant("default")).state_dict().items()}
    moved = np.concatenate([(one[0][name] - value).ravel() for name, value in start.items()])
    apart = np.concatenate([(one[0][name] - two[0][name]).ravel() for name in start])
    # Adam's first steps are as long for a gradient of rounding errors as for any other: the whole is compared.
    assert np.linalg.norm(apart) < 0.02 * np.linalg.norm(moved)
    assert len((shared.parent / "run" / "log.jsonl").read_text().splitlines()) == len(
        (alone.parent / "run" / "log.jsonl").read_text().splitlines()
    )


def test_a_batch_that_cannot_be_shared_is_refused(recipe: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"multiple of the 2 processes.*3"):
        Trainer(load_config(with_batch(recipe(1), 3)), Processes(0, 2))


def test_a_batch_is_the_mean_of_its_pairs(recipe: Callable[..., Path]) -> None:
    """The gradient of two pairs is the mean of each pair's."""
    pairs = Trainer(load_config(with_batch(recipe(1, "pairs"), 2)))
    pairs.optimiser.step = lambda *_, **__: None  # type: ignore[method-assign]
    pairs.train_step()
    together = [p.grad.clone() for p in pairs.model.parameters() if p.grad is not None]
    apart: list[list[torch.Tensor]] = []
    for number in range(2):
        pairs.optimiser.zero_grad()
        pairs.config = pairs.config.model_copy(update={"run": pairs.config.run.model_copy(update={"batch": 1})})
        batch = pairs.batch(np.random.default_rng([pairs.config.run.seed, 0, number]))
        pairs._backward(batch, pairs.config.stages[0], 1.0, last=True)
        apart.append([p.grad.clone() for p in pairs.model.parameters() if p.grad is not None])
    for whole, first, second in zip(together, *apart, strict=True):
        torch.testing.assert_close(whole, (first + second) / 2, atol=1e-6, rtol=1e-3)
