"""Soak test: growth of memory over many registrations in one process.

Resident memory is taken after each pair. Its slope is the median of the slopes between all pairs of measurements (Theil
and Sen), with the interval in which the true one lies with 95 % (Sen 1968), once the first fifth has warmed up: caches,
threads and the allocator's pools are filled by then, and every kind of pair has come by.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

__all__ = ["MOST_MIB", "endure", "growth"]

MOST_MIB = 1.0  # for 100 pairs
_WARM_UP = 0.2

Pair = tuple[Path, Path]


def endure(pairs: Sequence[Pair], count: int) -> dict[str, Any]:
    """Register and save `count` pairs, those given again and again, in one new process.

    Returns:
        "pairs"; "resident_mib" after each; "mib_per_100_pairs" and the two ends of its interval, "low" and "high";
        "passed": whether the slope is at most `MOST_MIB`.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(pairs, count, there), daemon=True)
    process.start()
    there.close()
    resident: list[float] = []
    try:
        for _ in range(count):
            resident.append(here.recv())
    except EOFError:
        pass  # seen in the number of pairs
    finally:
        process.kill()
        process.join()
    if len(resident) < count:
        return {"pairs": len(resident), "resident_mib": resident, "passed": False}
    slope, low, high = growth(resident)
    result = {"mib_per_100_pairs": round(slope, 3), "low": round(low, 3), "high": round(high, 3)}
    return {"pairs": count, "resident_mib": resident, **result, "passed": slope <= MOST_MIB}


def growth(resident_mib: Sequence[float]) -> tuple[float, float, float]:
    """Return the growth in MiB per 100 pairs after the warm-up, and its confidence interval.

    Source: Sen, Estimates of the regression coefficient based on Kendall's tau, 1968.

    Example:
        >>> growth([300.0, *(400 + 0.02 * pair for pair in range(100))])[0]
        2.0
    """
    values = np.asarray(resident_mib[int(len(resident_mib) * _WARM_UP) :], np.float64)
    first, second = np.triu_indices(len(values), 1)
    slopes = np.sort(np.round(100 * (values[second] - values[first]) / (second - first), 9))
    count = len(values)
    half_width = 1.96 * np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low, high = (int(np.clip((len(slopes) + side * half_width) / 2, 0, len(slopes) - 1)) for side in (-1, 1))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def _work(pairs: Sequence[Pair], count: int, results: Any) -> None:
    """Register and save with all outputs, in another process; send the resident memory."""
    from lightcrcf.registration.register import register
    from lightcrcf.registration.save import save
    from lightcrcf.report.html import report_files

    with TemporaryDirectory() as folder:
        for number in range(count):
            fixed, moving = pairs[number % len(pairs)]
            found = register(fixed, moving, also=[moving], inverse=True)
            save(found, folder, extra_files=report_files(found, out=folder))
            del found
            results.send(_resident_mib())
    results.close()


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)
