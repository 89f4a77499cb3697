"""Progress of a refinement, and how it ends early."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.schedule import Level

LEVELS = (Level(4, 3, radius=2, contrast=0.5), Level(2, 2, radius=2))
LONG = """
import signal
import numpy as np
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.schedule import Level
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
rng = np.random.default_rng(0)
fixed, moving = (rng.random((96, 96, 96), np.float32) for _ in range(2))
told = []
def after(part):
    if not told:
        print(part, flush=True)
    told.append(part)
refine(fixed, moving, None, schedule=(Level(1, 1, radius=1),) * 10000, after=AFTER)
"""


def test_parts_of_steps_are_told(textured: tuple[NDArray, NDArray]) -> None:
    told = list[str]()
    found = refine(*textured, None, schedule=LEVELS, after=told.append)
    assert told.count("compose") == sum(found.steps)
    assert told.count("level") == len(LEVELS)
    assert {"warp", "compare", "force", "smooth", "add", "repair folds"} <= set(told)
    np.testing.assert_array_equal(found.displacement, refine(*textured, None, schedule=LEVELS).displacement)
    assert all(seconds > 0 for seconds in found.seconds)


def test_what_is_raised_after_a_part_ends_the_refinement(textured: tuple[NDArray, NDArray]) -> None:
    told = list[str]()

    def stop(part: str) -> None:
        told.append(part)
        if part == "compose":
            raise RuntimeError("stopped here")

    with pytest.raises(RuntimeError, match="stopped here"):
        refine(*textured, None, schedule=LEVELS, after=stop)
    assert told[-1] == "compose"
    assert told.count("compose") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("follow", [True, False])
def test_an_interrupt_ends_a_refinement_soon(follow: bool) -> None:
    program = LONG.replace("AFTER", "after" if follow else "None")
    if not follow:
        program = program.replace("refine(fixed", "print('ready', flush=True)\nrefine(fixed")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        time.sleep(0.5)
        assert running.poll() is None
        asked = time.perf_counter()
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
        assert b"KeyboardInterrupt" in told
        assert time.perf_counter() - asked < 10  # a step here takes a tenth of a second on a machine that is not busy
