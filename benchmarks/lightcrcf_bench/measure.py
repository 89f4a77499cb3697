"""Running a command and measuring it, and describing the machine. Linux only, as the benchmarks are."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from lightcrcf.run_record.environment import cpu_name, usable_cores, versions
from lightcrcf_bench.records.parts import Machine

__all__ = ["CommandError", "Measured", "circumstances", "machine", "plain_header", "run"]

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


class CommandError(Exception):
    """A command that failed or was stopped; says why in one line.

    Args:
        reason: the last line that it wrote, or its time limit.
        stopped: whether it was stopped, so that more time could change the result.
    """

    def __init__(self, reason: str, *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stopped = stopped


@dataclass(frozen=True)
class Measured:
    """Time and memory of a command.

    Args:
        seconds: wall time from start to exit.
        peak_mib: its largest resident memory.
        load_before: one-minute load average of the machine when it started.
    """

    seconds: float
    peak_mib: float
    load_before: float


def run(
    command: Sequence[str], limit_seconds: float | None = None, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run a command to its end; what it prints is kept only for the reason of a failure.

    Args:
        command: program and arguments.
        limit_seconds: after which it and its children are stopped.
        environment: variables of the process, instead of this one's.

    Raises:
        CommandError: if it fails or takes longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report", Path(folder) / "log"
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *command]
        load = os.getloadavg()[0]
        with log.open("wb") as output:
            process = subprocess.Popen(
                launch, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=environment
            )
            try:
                code = process.wait(limit_seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise CommandError(f"stopped after {limit_seconds:g} s", stopped=True) from None
                raise
        if code:
            raise CommandError(_last_line(log))
        seconds, peak_kib = map(float, report.read_text(encoding="ascii").split())
    return Measured(round(seconds, 2), round(peak_kib / 1024, 1), round(load, 2))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "failed without a word")


def machine() -> Machine:
    """Return a description of this machine, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=cpu_name(),
        cores=usable_cores(),
        memory_gib=round(memory / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def circumstances() -> dict[str, Any]:
    """Return date, machine and versions of a measurement, for the models of records."""
    return {"measured": date.today(), "machine": machine(), "versions": versions()}


def plain_header(form: str) -> dict[str, Any]:
    """Return the header of a record for `history.plain`: its format, and `circumstances` in JSON values."""
    facts = circumstances()
    return {
        "format": form,
        "format_version": 1,
        "measured": str(facts["measured"]),
        "machine": facts["machine"].model_dump(),
        "versions": facts["versions"],
    }
