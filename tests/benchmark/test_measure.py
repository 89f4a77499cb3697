import subprocess
import sys

import pytest

from lightcrcf.benchmark.measure import machine, run


def test_time_and_memory_are_those_of_the_command() -> None:
    held = bytes(3 * 10**8)  # must not count
    idle = run([sys.executable, "-c", "pass"])
    busy = run([sys.executable, "-c", "import time; time.sleep(0.3); b = bytearray(10**8)"])
    assert len(held) / 2**20 > 2 * idle.peak_mib
    assert busy.seconds >= 0.3
    assert 80 < busy.peak_mib - idle.peak_mib < 120
    assert busy.load_before >= 0


def test_a_command_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_machine_is_described_without_its_name() -> None:
    described = machine()
    assert described.cpu
    assert described.cores >= 1
    assert described.memory_gib > 0
