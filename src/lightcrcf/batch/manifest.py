"""The folder of a cohort: records of finished pairs with their inputs, and pending pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import Pair
from lightcrcf.batch.work import TaskResult
from lightcrcf.errors import InputError, UsageError
from lightcrcf.files import read_json, remove_temporaries, write_json
from lightcrcf.registration.save import check_output_folder
from lightcrcf.run_record.input_files import fingerprint

__all__ = ["Manifest"]

SCHEMA = "lightcrcf-cohort-1"


class Manifest:
    """Records of the pairs of a cohort, one file each, and their common options.

    `DIR/batch.json` holds the options, `DIR/manifest/ID.json` a record, `DIR/pairs/ID/` its results, and
    `DIR/timings.jsonl` the time of each pair and run. A record is written after its results are complete, and removed
    before they are.

    Args:
        folder: DIR.
        claims: parts of the cohort to lock, if several batches work in one folder; all by default.
    """

    def __init__(self, folder: Path, claims: Sequence[str] = ("",)) -> None:
        self.folder, self._claims = folder.absolute(), claims
        self._hashes: dict[Path, str | None] = {}

    def begin(self, options: BatchOptions, pairs: Sequence[Pair], *, resume: bool) -> None:
        """Create the folder, or resume in it.

        Raises:
            UsageError: if it holds finished pairs and `resume` is not set, or a cohort with other options.
        """
        wanted, begun = options.identity(), self._stored_options()
        if begun is not None and not resume:
            finished = len(list(self._records.glob("*.json")))
            if finished:
                raise UsageError(
                    str(self.folder),
                    expected="a folder without an earlier batch",
                    got=f"one with {finished} finished pairs",
                    remedy="add --resume to go on, or choose another folder",
                )
            begun = None  # interrupted before its first pair: nothing can be lost
        if begun is not None:
            self._check_same(begun, wanted)
        for needed in (self._records, self.folder / "pairs"):
            needed.mkdir(parents=True, exist_ok=True)
        self.clear(pairs)
        if begun is None:
            write_json(self.folder / "batch.json", {"schema": SCHEMA, "options": wanted})

    def clear(self, pairs: Sequence[Pair]) -> None:
        """Remove temporary files of killed processes for these pairs; no process may be working on them."""
        remove_temporaries(self.folder / "pairs", (pair.id for pair in pairs))
        remove_temporaries(self._records, (f"{pair.id}.json" for pair in pairs))

    def _check_same(self, begun: dict[str, Any], wanted: dict[str, Any]) -> None:
        for name in wanted:
            if begun.get(name) != wanted[name]:
                raise UsageError(
                    f"{self.folder}: {name}",
                    expected=f"{begun.get(name)}, with which this batch was begun",
                    got=str(wanted[name]),
                    remedy="use the same, or choose another folder",
                )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the folder and lock it against a second batch within the block.

        Raises:
            UsageError: if another process holds the lock.
            InputError: if it cannot be written to.
        """
        check_output_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock, Timeout

        with ExitStack() as stack:
            for claim in sorted(set(self._claims)):
                try:
                    stack.enter_context(FileLock(self.folder / f".lock{claim}", blocking=False))
                except Timeout:
                    raise UsageError(
                        str(self.folder), expected="a folder of its own", got="another batch at work there",
                        remedy="wait for it, or choose another folder",
                    ) from None  # fmt: skip
                except (OSError, NotImplementedError):  # a file system without locks
                    continue
            yield

    def results(self, pair: Pair) -> Path:
        """Return the folder of the results of a pair."""
        return self.folder / "pairs" / pair.id

    def pending(self, pairs: Sequence[Pair], *, retry_failed: bool) -> list[Pair]:
        """Return unfinished pairs, those with changed inputs or results and, if `retry_failed`, failed ones."""
        return [pair for pair in pairs if not self._is_finished(pair, retry_failed)]

    def start(self, pair: Pair) -> None:
        """Remove the record and the results of a pair before it is registered again."""
        self._record_path(pair.id).unlink(missing_ok=True)
        rmtree(self.results(pair), ignore_errors=True)

    def finish(self, outcome: TaskResult) -> None:
        """Write the record of a pair, and append its times."""
        line = {"id": outcome.record["id"], "status": outcome.record["status"], "seconds": outcome.seconds}
        with (self.folder / "timings.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        write_json(self._record_path(outcome.record["id"]), outcome.record)

    def record(self, pair: Pair) -> dict[str, Any] | None:
        """Return the record of a pair; None if there is none."""
        return read_json(self._record_path(pair.id))

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all pairs of all batches in this folder, sorted by id."""
        found = (read_json(path) for path in sorted(self._records.glob("*.json")))
        return [record for record in found if record is not None]

    @property
    def _records(self) -> Path:
        return self.folder / "manifest"

    def _record_path(self, pair_id: str) -> Path:
        return self._records / f"{pair_id}.json"

    def _stored_options(self) -> dict[str, Any] | None:
        found = read_json(self.folder / "batch.json")
        if found is None:
            return None
        if found.get("schema") != SCHEMA:
            raise InputError(
                str(self.folder / "batch.json"), expected=f"schema {SCHEMA}", got=str(found.get("schema")),
                remedy="go on with the version that began the batch, or choose another folder",
            )  # fmt: skip
        options: dict[str, Any] = found["options"]
        return options

    def _is_finished(self, pair: Pair, retry_failed: bool) -> bool:
        record = self.record(pair)
        if record is None or record.get("inputs") != {role: self._input(path) for role, path in pair.inputs().items()}:
            return False
        if record["status"] == "failed":
            return not retry_failed
        return all((self.results(pair) / name).is_file() for name in record["files"])

    def _input(self, path: Path) -> dict[str, str | None]:
        """Return path and SHA-256 as in a record; a file of several pairs is hashed once."""
        if path not in self._hashes:
            self._hashes[path] = None
            with suppress(OSError):
                self._hashes[path] = fingerprint(path)
        return {"path": str(path), "sha256": self._hashes[path]}
