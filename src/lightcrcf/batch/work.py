"""The task of a worker: read, register and write one pair, and return its record."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightcrcf.batch.carried import Carrier
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import Pair
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import LightCRCFError, UsageError
from lightcrcf.registration.register import Registration, register
from lightcrcf.registration.save import save
from lightcrcf.report.thumbnail import write_thumbnail
from lightcrcf.run_record.input_files import Source, fingerprint
from lightcrcf.run_record.schema import to_json

__all__ = [
    "PICTURE",
    "Task",
    "TaskResult",
    "failure",
    "folder_of",
    "input_checksums",
    "lost_result",
    "mean_dice",
    "state_of",
    "thread_cache",
    "work",
]  # fmt: skip

PICTURE = "picture.svg"
SCHEMA = "lightcrcf-pair-1"
_INTERNAL, _OUT_OF_MEMORY = 1, 5


@dataclass(frozen=True)
class Task:
    """One pair to register.

    Args:
        pair: images to align.
        folder: of the results.
        options: of the registration.
    """

    pair: Pair
    folder: Path
    options: BatchOptions


@dataclass(frozen=True)
class TaskResult:
    """Result of a task.

    Args:
        record: record of the pair, reproducible for a number of threads.
        seconds: time of each stage.
    """

    record: dict[str, Any]
    seconds: dict[str, float]


class _ThreadState(threading.local):
    """State that a thread retains between pairs."""

    def __init__(self) -> None:
        self.cache = RegistrationCache()


_thread = _ThreadState()


def thread_cache() -> RegistrationCache:
    """Return the cache of this thread, which consecutive registrations use."""
    return _thread.cache


def work(task: Task, threads: int | None = None) -> TaskResult:
    """Register one pair and write its folder; any error of the pair is recorded in the result.

    Args:
        task: the pair.
        threads: to use; all by default.

    Raises:
        UsageError: for invalid options, which would fail for every pair.
    """
    start = time.perf_counter()
    try:
        found, seconds = _register_pair(task, threads)
    except UsageError:
        raise
    except Exception as error:  # one pair must not stop the others
        found, seconds = {"inputs": input_checksums(task.pair), **failure(error)}, {}
    record = {"schema": SCHEMA, "id": task.pair.id, **found}
    return TaskResult(record, {**seconds, "total": round(time.perf_counter() - start, 4)})


def input_checksums(pair: Pair) -> dict[str, dict[str, str | None]]:
    """Return path and SHA-256 of each input by role; None for unreadable files."""
    return _fingerprints(pair.inputs())


def _fingerprints(files: Mapping[str, Path]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for role, path in files.items():
        found[role] = {"path": str(path), "sha256": None}
        with suppress(OSError):
            found[role]["sha256"] = fingerprint(path)
    return found


def failure(error: BaseException) -> dict[str, Any]:
    """Return status and error for the record of a failed pair."""
    if isinstance(error, LightCRCFError):
        code, message = error.exit_code, str(error)
    elif isinstance(error, MemoryError):
        code, message = _OUT_OF_MEMORY, f"not enough memory: {error or 'the system gave none'}"
    else:
        code, message = _INTERNAL, f"internal error: {type(error).__name__}: {error}"
    return {"status": "failed", "error": {"exit_code": code, "message": " ".join(message.split())}}


def lost_result(task: Task) -> TaskResult:
    """Return the result of a pair that repeatedly killed its worker."""
    message = "the worker died of this pair, mostly for want of memory; run fewer workers, or crop the volumes"
    found = {"status": "failed", "error": {"exit_code": _OUT_OF_MEMORY, "message": message}}
    return TaskResult({"schema": SCHEMA, "id": task.pair.id, "inputs": input_checksums(task.pair), **found}, {})


def state_of(record: Mapping[str, Any]) -> str:
    """Return the state of a pair: its verdict ("pass", "check" or "fail"), or "failed" without a result."""
    return "failed" if record["status"] == "failed" else str(record["qc"]["verdict"])


def folder_of(record: Mapping[str, Any]) -> str:
    """Return the folder of the results of a pair, relative to the summary."""
    return str(record.get("folder", f"pairs/{record['id']}"))


def mean_dice(record: Mapping[str, Any]) -> float | None:
    """Return the mean Dice of the structures in both label maps; None without any."""
    values = list(record.get("dice", {}).values())
    return sum(values) / len(values) if values else None


def _register_pair(task: Task, threads: int | None) -> tuple[dict[str, Any], dict[str, float]]:
    """Register and save a pair; return the entries of its record and the seconds of each stage."""
    pair = task.pair
    carrier = Carrier.of(pair)
    registration = register(
        pair.channels("fixed"),
        pair.channels("moving"),
        fixed_mask=pair.fixed_mask,
        moving_mask=pair.moving_mask,
        fixed_labels=pair.fixed_labels,
        moving_labels=[pair.moving_labels] if pair.moving_labels else [],
        shared=thread_cache(),
        **{**task.options.for_register(len(pair.channels("fixed"))), "threads": threads},
    )
    start = time.perf_counter()
    record = save(registration, task.folder, extra_files=_further_files(task, registration, carrier))
    quality = carrier.combined_verdict(record.qc, pair.fixed.name) if carrier else record.qc
    seconds = {**record.timings_s, "write": round(time.perf_counter() - start, 4)}
    return {
        "inputs": _inputs(record.sources) | _fingerprints(pair.further_inputs()),
        "status": "done",
        "qc": to_json(quality),
        "metrics": to_json(record.metrics),
        "dice": record.labels[0].dice() if record.labels else {},
        "model": record.model.name,
        "files": sorted([*record.files, "run.json"]),
    }, seconds


def _inputs(sources: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """Return path and SHA-256 by column of the table of pairs; without model and initial affine."""
    found, times = dict[str, dict[str, Any]](), Counter[str]()
    for source in sources:
        times[source.role] += 1
        number = times[source.role]
        name = source.role if number == 1 else f"{source.role}_{number}"
        if source.role not in ("model", "init"):
            found[name] = {"path": source.path, "sha256": source.sha256}
    return found


def _further_files(
    task: Task, registration: Registration, carrier: Carrier | None
) -> dict[str, Callable[[Path], None]]:
    fixed, moved, cache = registration.fixed, registration.moved, thread_cache()
    files: dict[str, Callable[[Path], None]] = {PICTURE: lambda path: write_thumbnail(path, fixed, moved, cache)}
    if carrier:
        files |= carrier.files(registration, cache)
    if task.options.report:
        from lightcrcf.report.html import report_files  # imports Pillow and contourpy

        files |= report_files(registration, out=str(task.folder))
    return files
