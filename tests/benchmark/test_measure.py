import sys
import time
from pathlib import Path

import pytest

from lightcrcf_bench.measure import CommandError, machine, run


def test_time_and_memory_are_those_of_the_command() -> None:
    held = bytes(3 * 10**8)  # must not count
    idle = run([sys.executable, "-c", "pass"])
    busy = run([sys.executable, "-c", "import time; time.sleep(0.3); b = bytearray(10**8)"])
    assert len(held) / 2**20 > 2 * idle.peak_mib
    assert busy.seconds >= 0.3
    assert 80 < busy.peak_mib - idle.peak_mib < 120
    assert busy.load_before >= 0


def test_a_command_that_fails_tells_its_last_line() -> None:
    with pytest.raises(CommandError, match=r"^no luck$") as failure:
        run([sys.executable, "-c", "import sys; print('trying', flush=True); sys.exit('no luck')"])
    assert not failure.value.stopped


def test_a_command_is_stopped_at_its_limit_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(alive)!r}).touch()"
    with pytest.raises(CommandError, match=r"stopped after 0\.5 s") as failure:
        run([sys.executable, "-c", child], limit_seconds=0.5)
    assert failure.value.stopped
    time.sleep(3.5)
    assert not alive.exists()


def test_the_machine_is_described_without_its_name() -> None:
    described = machine()
    assert described.cpu
    assert described.cores >= 1
    assert described.memory_gib > 0
