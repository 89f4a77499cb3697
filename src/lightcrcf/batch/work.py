"""What a worker does with one pair: read, register, write, and tell how it went."""

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
from lightcrcf.batch.options import Options
from lightcrcf.batch.pairs import Pair
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import LightCRCFError, UsageError
from lightcrcf.registration.register import Registration, register
from lightcrcf.registration.save import save
from lightcrcf.report.thumbnail import write_thumbnail
from lightcrcf.run_record.input_files import Source, fingerprint
from lightcrcf.run_record.schema import to_json

__all__ = [
    "PICTURE", "Outcome", "Task", "failure", "folder_of", "inputs_of", "lost", "mean_dice", "shared_here", "state_of",
    "work",
]  # fmt: skip

PICTURE = "picture.svg"
SCHEMA = "lightcrcf-pair-1"
_INTERNAL, _OUT_OF_MEMORY = 1, 5


@dataclass(frozen=True)
class Task:
    """One pair to register.

    Args:
        pair: what to align.
        folder: for the results.
        options: how.
    """

    pair: Pair
    folder: Path
    options: Options


@dataclass(frozen=True)
class Outcome:
    """How a task went.

    Args:
        record: what is known about the pair: the same whenever it is done with as many threads.
        seconds: what each stage took this time.
    """

    record: dict[str, Any]
    seconds: dict[str, float]


class _Kept(threading.local):
    """What a thread keeps from one pair to the next."""

    def __init__(self) -> None:
        self.shared = RegistrationCache()


_kept = _Kept()


def shared_here() -> RegistrationCache:
    """What registrations in this thread share, for as long as it lives."""
    return _kept.shared


def work(task: Task, threads: int | None = None) -> Outcome:
    """Register one pair and write its folder; whatever is wrong with the pair becomes part of the outcome.

    Args:
        task: the pair.
        threads: to use; all by default.

    Raises:
        UsageError: if the options are wrong, with which no other pair would get on.
    """
    start = time.perf_counter()
    try:
        found, seconds = _registered(task, threads)
    except UsageError:
        raise
    except Exception as error:  # one pair must not stop the others, whatever happens to it
        found, seconds = {"inputs": inputs_of(task.pair), **failure(error)}, {}
    record = {"schema": SCHEMA, "id": task.pair.id, **found}
    return Outcome(record, {**seconds, "total": round(time.perf_counter() - start, 4)})


def inputs_of(pair: Pair) -> dict[str, dict[str, str | None]]:
    """Path and SHA-256 of each input by role; None for what cannot be read."""
    return _fingerprints(pair.inputs())


def _fingerprints(files: Mapping[str, Path]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for role, path in files.items():
        found[role] = {"path": str(path), "sha256": None}
        with suppress(OSError):
            found[role]["sha256"] = fingerprint(path)
    return found


def failure(error: BaseException) -> dict[str, Any]:
    """What the record of a pair that failed says."""
    if isinstance(error, LightCRCFError):
        code, message = error.exit_code, str(error)
    elif isinstance(error, MemoryError):
        code, message = _OUT_OF_MEMORY, f"not enough memory: {error or 'the system gave none'}"
    else:
        code, message = _INTERNAL, f"internal error: {type(error).__name__}: {error}"
    return {"status": "failed", "error": {"exit_code": code, "message": " ".join(message.split())}}


def lost(task: Task) -> Outcome:
    """The outcome of a pair that workers died of again and again."""
    message = "the worker died of this pair, mostly for want of memory; run fewer workers, or crop the volumes"
    found = {"status": "failed", "error": {"exit_code": _OUT_OF_MEMORY, "message": message}}
    return Outcome({"schema": SCHEMA, "id": task.pair.id, "inputs": inputs_of(task.pair), **found}, {})


def state_of(record: Mapping[str, Any]) -> str:
    """Where a pair stands: the verdict of quality control ("pass", "check" or "fail"), or "failed" without a result."""
    return "failed" if record["status"] == "failed" else str(record["qc"]["verdict"])


def folder_of(record: Mapping[str, Any]) -> str:
    """Where the results of a pair are, relative to the summary."""
    return str(record.get("folder", f"pairs/{record['id']}"))


def mean_dice(record: Mapping[str, Any]) -> float | None:
    """Mean overlap of the structures that both label maps have, None without them."""
    values = list(record.get("dice", {}).values())
    return sum(values) / len(values) if values else None


def _registered(task: Task, threads: int | None) -> tuple[dict[str, Any], dict[str, float]]:
    """What the record of a pair that went well says, and the seconds of each stage."""
    pair = task.pair
    carrier = Carrier.of(pair)
    registration = register(
        pair.channels("fixed"),
        pair.channels("moving"),
        fixed_mask=pair.fixed_mask,
        moving_mask=pair.moving_mask,
        fixed_labels=pair.fixed_labels,
        moving_labels=[pair.moving_labels] if pair.moving_labels else [],
        shared=shared_here(),
        **{**task.options.for_register(len(pair.channels("fixed"))), "threads": threads},
    )
    start = time.perf_counter()
    record = save(registration, task.folder, extra_files=_further_files(task, registration, carrier))
    quality = carrier.judged(record.qc, pair.fixed.name) if carrier else record.qc
    seconds = {**record.timings_s, "write": round(time.perf_counter() - start, 4)}
    return {
        "inputs": _inputs(record.sources) | _fingerprints(pair.beside()),
        "status": "done",
        "qc": to_json(quality),
        "metrics": to_json(record.metrics),
        "dice": record.labels[0].dice() if record.labels else {},
        "model": record.model.name,
        "files": sorted([*record.files, "run.json"]),
    }, seconds


def _inputs(sources: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """By the columns of a table of pairs; without what all pairs have alike, the model and the first affine."""
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
    fixed, moved, shared = registration.fixed, registration.moved, shared_here()
    files: dict[str, Callable[[Path], None]] = {PICTURE: lambda path: write_thumbnail(path, fixed, moved, shared)}
    if carrier:
        files |= carrier.files(registration, shared)
    if task.options.report:
        from lightcrcf.report.html import report_files  # its pictures take a while to import

        files |= report_files(registration, out=str(task.folder))
    return files
