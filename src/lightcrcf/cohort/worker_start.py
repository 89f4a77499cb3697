"""What each worker process on this machine does first; Dask imports it by name."""

from __future__ import annotations

import signal
from typing import Any

__all__ = ["dask_setup"]


def dask_setup(_worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes at once, to the one that started the batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
