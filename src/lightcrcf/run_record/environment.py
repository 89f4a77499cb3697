"""The environment of a run: package versions, processor, memory, threads, engines."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightcrcf import _core
from lightcrcf.engines.base import available, installed
from lightcrcf.weights.store import load, names

__all__ = ["cpu_name", "describe_environment", "peak_memory_mb", "usable_cores", "versions"]

_PACKAGES = (
    "numpy", "nibabel", "SimpleITK", "safetensors", "isal", "zlib-ng", "torch"
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Return the environment as JSON values, for `lightcrcf info` and bug reports; import nothing heavy."""
    return {
        "lightcrcf": version("lightcrcf"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "threads": usable_cores(),
        "instruction_set": _core.isa(),
        "engines": list(available()),
        "models": {name: load(name).sha256 for name in names()},
        "packages": versions(),
    }


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that can change a result."""
    return installed(_PACKAGES)


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return _core.usable_cores()


def cpu_name() -> str:
    """Return the name of the processor."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mb() -> float | None:
    """Return the largest resident memory of this process so far, in MiB; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
