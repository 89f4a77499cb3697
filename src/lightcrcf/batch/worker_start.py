"""What each worker process on this machine does first; Dask imports it by name."""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import Any

from lightcrcf.geometry.kernel_cache import announce_compilation

__all__ = ["dask_setup"]


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes at once, to the one that started the batch.

    The first worker says when it compiles kernels that no later run will find: its stderr is that of the batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if worker.name == 0:
        announce_compilation(partial(print, file=sys.stderr, flush=True), always=False)
