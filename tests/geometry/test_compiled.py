from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from lightcrcf.geometry.compiled import kernel, ready

PROGRAM = """
import numpy as np
from lightcrcf.geometry import determinant
u = np.zeros((3, 2, 3, 4), np.float32)
u[2] = np.arange(4)
assert determinant.jacobian_determinant(u).tolist() == np.full((2, 3, 4), 2.0).tolist()
"""


def compute(cache: Path, **environment: str) -> None:
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment}
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], check=True, env=variables, timeout=300)


def test_kernels_are_cached_on_disk_and_read_back(tmp_path: Path) -> None:
    compute(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert written
    compute(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == written


def test_a_function_that_has_no_place_for_a_cache_is_compiled_all_the_same() -> None:
    names: dict = {}
    exec("def double(x):\n    return 2 * x\n", names)  # Numba finds no file to put the cache beside
    assert kernel(names["double"])(21) == 42


def test_ready_copies_only_what_must_be_copied() -> None:
    array = np.zeros((2, 3), np.float32)
    assert ready(array) is array
    frozen = np.zeros((2, 3), np.float32)
    frozen.setflags(write=False)
    assert ready(frozen).flags.writeable
    assert not frozen.flags.writeable
    assert ready(array.T).flags.c_contiguous
    assert ready([[1, 2]], np.float64).dtype == np.float64
