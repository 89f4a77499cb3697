"""Running a command and measuring it, and describing the machine. Linux only, as the benchmarks are."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightcrcf.benchmark.records import Machine
from lightcrcf.pipeline.environment import cpu_name, usable_cores

__all__ = ["Measured", "machine", "run"]

# Linux counts what a process held before it became another program. So a small one starts the command, not this one,
# which holds volumes.
_LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as report:
    report.write(f"{seconds} {usage.ru_maxrss}")
sys.exit(1 if status else 0)
"""


@dataclass(frozen=True)
class Measured:
    """What running a command took.

    Args:
        seconds: wall time from start to exit.
        peak_mib: its largest resident memory.
        load_before: one-minute load average of the machine when it started.
    """

    seconds: float
    peak_mib: float
    load_before: float


def run(command: Sequence[str]) -> Measured:
    """Run a command to its end; what it prints goes to stderr.

    Args:
        command: program and arguments.

    Raises:
        CalledProcessError: if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *command]
        load = os.getloadavg()[0]
        subprocess.run(launch, stdout=sys.stderr, check=True)
        seconds, peak_kib = map(float, report.read_text(encoding="ascii").split())
    return Measured(round(seconds, 2), round(peak_kib / 1024, 1), round(load, 2))


def machine() -> Machine:
    """This machine, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=cpu_name(),
        cores=usable_cores(),
        memory_gib=round(memory / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )
