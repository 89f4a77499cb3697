"""The boundary of the extension: whatever a caller passes, a function returns or raises, and never crashes.

LIGHTCRCF_FUZZ_SEED repeats a run, and LIGHTCRCF_FUZZ_EXAMPLES sets the number of calls of each function.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from boundary_arguments import ARGUMENTS, functions

FUZZER = Path(__file__).parents[1] / "fixtures" / "fuzz_boundary.py"


def test_each_function_has_arguments() -> None:
    assert set(functions()) == set(ARGUMENTS), "boundary_arguments.py needs a line for each function"


@pytest.mark.slow
def test_no_arguments_crash(tmp_path: Path) -> None:
    """In a process of its own, with arrays between pages without access."""
    seed = int(os.environ.get("LIGHTCRCF_FUZZ_SEED", random.randrange(2**31)))
    examples = os.environ.get("LIGHTCRCF_FUZZ_EXAMPLES", "60")
    log = tmp_path / "call"
    command = [sys.executable, str(FUZZER), str(seed), examples, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    call = log.read_text() if log.exists() else "none"
    assert done.returncode == 0, (
        f"exit code {done.returncode} with LIGHTCRCF_FUZZ_SEED={seed}; last call: {call}\n{done.stderr[-6000:]}"
    )
