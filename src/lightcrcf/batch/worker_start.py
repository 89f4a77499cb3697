"""Setup of each worker process on this machine; Dask imports this module by name."""

from __future__ import annotations

import signal
from typing import Any

__all__ = ["dask_setup"]


def dask_setup(worker: Any) -> None:
    """Ignore SIGINT, which a terminal sends to all processes; the process that started the batch handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
