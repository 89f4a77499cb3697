"""One measurement in a process of its own: `python -m lightcrcf_bench.speed.worker TASK OPTIONS.json FOUND.json`.

So that one measurement's memory and thread pools are not another's.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightcrcf_bench.measure import Measured, run

__all__ = ["TASKS", "limited", "main", "measured"]


def measured(task: str, options: Mapping[str, Any], threads: int) -> tuple[Any, Measured]:
    """Run a task in a process of its own; returns what it found, and what the process took.

    Args:
        task: a key of `TASKS`.
        options: its arguments, plain JSON values.
        threads: of all libraries in the process.

    Raises:
        CommandError: if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, asked = Path(folder) / "found.json", Path(folder) / "asked.json"
        asked.write_text(json.dumps(options), encoding="utf-8")
        command = (sys.executable, "-m", "lightcrcf_bench.speed.worker", task, str(asked), str(out))
        taken = run(command, environment=limited(threads))
        return json.loads(out.read_text(encoding="utf-8")), taken


def limited(threads: int) -> dict[str, str]:
    """Return the environment of this process with variables that limit the threads of libraries."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys((*names, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), str(threads))}


def _peaks(threads: int, precisions: list[str], size: int) -> Any:
    from lightcrcf_bench.speed.peaks import measure_peaks

    return measure_peaks(threads, precisions, size=size).model_dump()


def _core(**options: Any) -> Any:
    from lightcrcf_bench.speed.core import compute

    return compute(**options)


def _alternating(**options: Any) -> Any:
    from lightcrcf_bench.speed.core import compute_alternately

    return compute_alternately(**options)


def _refine(**options: Any) -> Any:
    from lightcrcf_bench.speed.refinement import steps

    return steps(**options)


def _pair(**options: Any) -> Any:
    from lightcrcf_bench.speed.refinement import write_pair

    return write_pair(**options)


TASKS: dict[str, Callable[..., Any]] = {
    "peaks": _peaks, "core": _core, "alternating": _alternating, "refine": _refine, "pair": _pair,
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Run a task: its name, the file of its options, the file to write what it found to."""
    task, asked, out = arguments
    found = TASKS[task](**json.loads(Path(asked).read_text(encoding="utf-8")))
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
