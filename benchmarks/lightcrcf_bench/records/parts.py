"""Parts of records: machine and method, the header of comparisons, spreads, and JSON with one line per row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

__all__ = [
    "ComparisonRecord", "Machine", "Measurement", "Method", "Spread", "Strict", "Training", "lined", "shortfall",
    "spread",
]  # fmt: skip

Training = Literal["unsupervised", "weakly supervised"]
DataT = TypeVar("DataT", bound="Strict")
MethodT = TypeVar("MethodT", bound="Method")


class Strict(BaseModel):
    """A part of a record: no unknown names, no infinities, not to be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Machine(Strict):
    """Machine of a run."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str


class Measurement(Strict):
    """Header of a record: date, machine, versions, protocol and commands."""

    format: str
    format_version: Literal[1] = 1
    measured: date
    machine: Machine
    versions: dict[str, str]
    protocol: str
    commands: tuple[str, ...]
    note: str = ""

    def write(self, path: Path) -> None:
        """Write JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


class Method(Strict):
    """A method; `training` is the supervision of our network, `timing` describes what times include."""

    name: str
    title: str
    versions: dict[str, str]
    settings: str
    command: str
    timing: str
    measured: date
    machine: Machine
    ours: bool = False
    model: str | None = None
    training: Training | None = None


class Spread(Strict):
    """One measure over the pairs; `deviation` is the sample standard deviation."""

    mean: float
    median: float
    deviation: float
    minimum: float
    maximum: float


class ComparisonRecord(Strict, Generic[DataT, MethodT]):
    """Common header of the records that compare methods.

    Args:
        name: of the record in documents.
        title: one line for readers.
        data: the registered images.
        protocol: description of the scoring.
        methods: the methods, each with at least one row.
    """

    name: str
    title: str
    data: DataT
    protocol: str
    methods: tuple[MethodT, ...]

    def _check_rows(self, methods: Iterable[str], row: str) -> None:
        """Check that each method has a row, and each row a method.

        Args:
            methods: method of each row.
            row: name of a row, for the message.

        Raises:
            ValueError: otherwise.
        """
        if set(methods) != {method.name for method in self.methods}:
            raise ValueError(f"there must be a {row} of each method, and none of others")

    def _set_summary(self, found: dict[str, dict[str, Spread]], given: object, rows: str) -> None:
        """Set the summary computed from the rows.

        Args:
            found: the computed summary.
            given: the summary in the file; empty in a new record.
            rows: name of the rows, for the message.

        Raises:
            ValueError: if the summaries differ.
        """
        if given and given != found:
            raise ValueError(f"the summary does not follow from the {rows}")
        object.__setattr__(self, "summary", found)


def shortfall(failures: Sequence[str | None], every: int, unit: str) -> str:
    """Return a note on missing and failed rows of a method; empty without any.

    Args:
        failures: of each row the reason, None for a success.
        every: number of rows of a complete method.
        unit: what a row is, in plural.

    Example:
        >>> shortfall([None, "no memory"], 3, "pairs")
        ' (2 of 3 pairs, 1 of 2 failed)'
    """
    failed = sum(failure is not None for failure in failures)
    parts = [f"{len(failures)} of {every} {unit}"] if len(failures) < every else []
    parts += [f"{failed} of {len(failures)} failed"] if failed else []
    return f" ({', '.join(parts)})" if parts else ""


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of one or more values."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    figures = (np.mean(values), np.median(values), deviation, np.min(values), np.max(values))
    mean, median, deviation, minimum, maximum = (round(float(figure), 6) for figure in figures)
    return Spread(mean=mean, median=median, deviation=deviation, minimum=minimum, maximum=maximum)


def lined(parts: Mapping[str, Any]) -> str:
    """Return JSON with one line per row, for readable diffs."""
    lines = [f" {json.dumps(key)}: {_lines(value)}" for key, value in parts.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lines(value: Any) -> str:
    """Return one line for each entry of a list or object."""
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {json.dumps(entry, ensure_ascii=False)}" for key, entry in value.items()]
        return "{\n  " + ",\n  ".join(entries) + "\n }"
    if isinstance(value, list):
        return "[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n ]"
    return json.dumps(value, ensure_ascii=False)
