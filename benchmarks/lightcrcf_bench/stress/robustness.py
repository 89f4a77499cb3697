"""Stress tests as one resumable record: fuzzing, soak test, interruptions, resource exhaustion, orientations.

    python -m lightcrcf_bench.stress.robustness --data ../shared/data --out benchmarks/history/DATE-robustness.json

The work is cut into parts, and the record is written after each, so that the same command goes on where it ended, with
`--minutes` as the time after which it begins no other part. `--short` tries a few of everything. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.files import write_json
from lightcrcf_bench.measure import plain_header
from lightcrcf_bench.records.history import plain
from lightcrcf_bench.records.robustness import FORMAT, robustness_text
from lightcrcf_bench.stress import fuzz, fuzz_guided
from lightcrcf_bench.stress.interruption import interrupt
from lightcrcf_bench.stress.orientations import arrange
from lightcrcf_bench.stress.resource_exhaustion import scarce_disk, scarce_memory, unwritable
from lightcrcf_bench.stress.soak import endure
from lightcrcf_bench.stress.trials import Subjects, TrialResult

__all__ = ["main", "parts"]

Part = Callable[[], Sequence[TrialResult]]
_INTERRUPTIONS = 20  # in one part
_BRAIN_EVERY = 25  # of the pairs in one process


def parts(data: Path, *, files: int, pairs: int, interruptions: int, short: bool = False) -> dict[str, Part]:
    """Return all parts of the record by name.

    Args:
        data: folder that holds `hippocampus` and `oasis`.
        files: damaged ones in all, half of them guided by coverage.
        pairs: registered in one process.
        interruptions: of one command each.
        short: few axis orders and amounts of room, and no brains.
    """
    subjects, crops = _hippocampi(data)
    each = -(-files // (2 * len(fuzz.FORMATS)))
    todo: dict[str, Part] = {}
    for suffix in fuzz.FORMATS:
        todo[f"mutated {suffix}"] = partial(_damaged, suffix, each, guided=False)
        todo[f"guided {suffix}"] = partial(_damaged, suffix, each, guided=True)
    for first in range(0, interruptions, _INTERRUPTIONS):
        numbers = range(first, min(first + _INTERRUPTIONS, interruptions))
        todo[f"interruptions {numbers[0]} to {numbers[-1]}"] = partial(interrupt, subjects, numbers)
    todo["disk"] = partial(scarce_disk, subjects, 6 if short else 60)
    todo["unwritable"] = partial(unwritable, subjects)
    todo["memory"] = lambda: [scarce_memory(short=short)]
    orders = range(5, 48, 20) if short else range(48)
    todo["arrangements"] = partial(arrange, subjects, orders)
    mixed = crops if short else _mixed(data, crops)
    todo[f"{pairs} pairs"] = partial(_endured, mixed, pairs)
    return todo


def _hippocampi(data: Path) -> tuple[Subjects, list[tuple[Path, Path]]]:
    images = sorted(path for path in (data / "hippocampus").glob("*.nii.gz") if "_gt" not in path.name)[:25]
    if len(images) < 2:
        raise InputError(str(data), expected="a folder `hippocampus`", got="none", remedy="see --help")
    labels = images[1].with_name(images[1].name.replace(".nii.gz", "_gt.nii.gz"))
    return Subjects(images[0], images[1], labels), list(zip(images, [*images[1:], images[0]], strict=True))


def _mixed(data: Path, crops: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    brains = sorted((data / "oasis").glob("*_T1w.nii.gz"))[:2]
    return [*crops[: _BRAIN_EVERY - 1], (brains[0], brains[1])] if len(brains) == 2 else list(crops)


def _damaged(suffix: str, count: int, *, guided: bool) -> list[TrialResult]:
    with TemporaryDirectory() as folder:
        content = fuzz.originals(Path(folder))[suffix].read_bytes()
    report = (fuzz_guided if guided else fuzz).campaign(count, suffix, content)
    faults = [f"{ending}: {n}" for ending, n in report["ended"].items() if ending not in ("read", "refused")]
    faults += [f"seed {seed}" for seed in report["lost"]]
    if report["slowest_s"] > fuzz.LONGEST_S:
        faults.append(f"{report['slowest_s']} s")
    what = f"damaged {suffix}{', guided by coverage' if guided else ''}"
    return [TrialResult(what, sum(report["ended"].values()), tuple(faults), _worst(report), report["ended"])]


def _worst(report: dict[str, Any]) -> dict[str, float]:
    return {"s": report["slowest_s"], "MiB": report["memory_mib"]}


def _endured(pairs: Sequence[tuple[Path, Path]], count: int) -> list[TrialResult]:
    report = endure(pairs, count)
    slope = report.get("mib_per_100_pairs")
    faults = () if report["passed"] else (f"after {report['pairs']} pairs" if slope is None else f"{slope} MiB",)
    worst = {} if slope is None else {"MiB in 100 pairs": slope}
    return [TrialResult("pairs in one process", report["pairs"], faults, worst, report)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all pending parts; return 1 if any failed or is still pending."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds hippocampus and oasis")
    parser.add_argument("--out", type=Path, required=True, help="record to write, or to go on with")
    parser.add_argument("--files", type=int, default=20_000, help="damaged files in all")
    parser.add_argument("--pairs", type=int, default=500, help="registrations in one process")
    parser.add_argument("--interruptions", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part after so long")
    parser.add_argument("--only", default="", help="only parts whose names begin so")
    parser.add_argument("--short", action="store_true", help="a few of everything")
    options = parser.parse_args(arguments)
    few = {"files": 180, "pairs": 6, "interruptions": 4}
    many = {name: getattr(options, name) for name in few}
    todo = parts(options.data, **(few if options.short else many), short=options.short)
    record = plain(options.out, FORMAT) if options.out.exists() else _begun()
    until = time.monotonic() + 60 * options.minutes
    for name, part in todo.items():
        if name in record["parts"] or not name.startswith(options.only) or time.monotonic() > until:
            continue
        print(name, file=sys.stderr)
        record["parts"][name] = [asdict(tried) for tried in part()]
        write_json(options.out, record)
    print(robustness_text(record))
    left = [name for name in todo if name not in record["parts"]]
    print(f"left: {', '.join(left) or 'nothing'}", file=sys.stderr)
    return int(bool(left) or any(row["faults"] for rows in record["parts"].values() for row in rows))


def _begun() -> dict[str, Any]:
    return {
        **plain_header(FORMAT),
        "limits": {"seconds": fuzz.LONGEST_S, "memory_mib": fuzz.MEMORY_MIB},
        "parts": {},
    }


if __name__ == "__main__":
    sys.exit(main())
