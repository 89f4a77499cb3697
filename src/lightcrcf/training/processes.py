"""One training run in several processes: `torchrun --nproc-per-node N -m lightcrcf train CONFIG.toml`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed import barrier, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Processes", "joined"]


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Args:
        rank: number of this process; the first one writes.
        count: of all.
        local_rank: number of this process on its machine, and of its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """This process's part of `total` things, which is a multiple of `count`.

        Example:
            >>> list(Processes(rank=1, count=2).share(6))
            [3, 4, 5]
        """
        part = total // self.count
        return range(self.rank * part, (self.rank + 1) * part)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients are averaged over all processes in its backward pass if there are several."""
        if self.count == 1:
            return model
        # Levels that a stage does not train yet have no gradient.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def wait(self) -> None:
        """For all to come here."""
        if self.count > 1:
            barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes first; the others then find what it has written."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The group that `torchrun` started this process in, or this process alone.

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
