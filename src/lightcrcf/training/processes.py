"""Distributed training: `torchrun --nproc-per-node N -m lightcrcf train CONFIG.toml`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed import barrier, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Processes", "process_group"]


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Args:
        rank: index of this process; process 0 writes files.
        count: number of processes.
        local_rank: index of this process on its machine, and of its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """True for the process that writes files."""
        return self.rank == 0

    def own_indices(self, total: int) -> range:
        """Return the indices of this process among `total` items, a multiple of `count`.

        Example:
            >>> list(Processes(rank=1, count=2).own_indices(6))
            [3, 4, 5]
        """
        part = total // self.count
        return range(self.rank * part, (self.rank + 1) * part)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model; with several processes its backward pass averages gradients over them."""
        if self.count == 1:
            return model
        # Levels that a stage does not train have no gradient.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def wait(self) -> None:
        """Wait for all processes (barrier)."""
        if self.count > 1:
            barrier()

    @contextmanager
    def first_process_first(self) -> Iterator[None]:
        """Run the block in the first process, then in all others, which can read its files."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """Join the process group of `torchrun`; without one, yield a single process.

    Args:
        device: "cpu" (gloo) or "cuda" (nccl).
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    init_process_group("nccl" if device == "cuda" else "gloo")
    processes = Processes(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(processes.local_rank)
    try:
        yield processes
    finally:
        destroy_process_group()
