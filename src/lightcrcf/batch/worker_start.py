"""Setup of each worker process on this machine; Dask imports this module by name."""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import Any

from lightcrcf.geometry.kernel_cache import announce_compilation

__all__ = ["dask_setup"]


def dask_setup(worker: Any) -> None:
    """Ignore SIGINT, which a terminal sends to all processes; the process that started the batch handles it.

    The first worker reports on stderr when it compiles kernels that cannot be cached.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if worker.name == 0:
        announce_compilation(partial(print, file=sys.stderr, flush=True), always=False)
