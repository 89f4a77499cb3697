"""The record of a benchmark: one JSON file in `benchmarks/history`, from which every published number is rendered.

A record holds the data and the protocol, the methods with where and how they ran, one row per method and pair, and the
summary of the rows. Methods can be measured at different times: measuring some again replaces their rows only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lightcrcf.errors import InputError

__all__ = ["MEASURES", "Case", "Data", "Machine", "Method", "Record", "Spread", "latest", "merge", "read", "write"]

FORMAT, FORMAT_VERSION = "lightcrcf-benchmark", 1
MEASURES = (
    "dice",
    "hd95_mm",
    "folding_percent",
    "folding_percent_labelled",
    "ndv_percent",
    "sdlogj",
    "seconds",
    "peak_mib",
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Machine(_Part):
    """What a method ran on."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str


class Data(_Part):
    """What was registered: `pairs` are (fixed, moving) subjects."""

    name: str
    split: str
    labels: str
    terms: str
    pairs: tuple[tuple[str, str], ...]


class Method(_Part):
    """What was run. `timing` says what `Case.seconds` covers and what else the machine did."""

    name: str
    title: str
    versions: dict[str, str]
    settings: str
    command: str
    timing: str
    measured: date
    machine: Machine


class Case(_Part):
    """The scores of one method on one pair; None where a method has no such measure or it was not taken.

    `seconds` is wall time, `peak_mib` the largest resident memory of the process, `load_before` the machine's
    one-minute load average when the method started (its own earlier runs included).
    """

    method: str
    fixed: str
    moving: str
    dice: float
    hd95_mm: float
    folding_percent: float | None = None
    folding_percent_labelled: float | None = None
    ndv_percent: float | None = None
    sdlogj: float | None = None
    seconds: float | None = None
    peak_mib: float | None = None
    load_before: float | None = None
    labels_lost: tuple[int, ...] = ()
    dice_by_label: dict[int, float]


class Spread(_Part):
    """One measure over the pairs."""

    mean: float
    median: float
    minimum: float
    maximum: float


class Record(_Part):
    """A benchmark. The summary is checked against the rows, so a file edited by hand is refused.

    Args:
        name: how documents refer to it.
        title: one line for people.
        data: what was registered.
        protocol: how it was scored.
        methods: what was run.
        cases: one for each method and pair.
        commands: how to measure it again, from the repository root.
        summary: method to measure to spread over the pairs.
    """

    format: Literal["lightcrcf-benchmark"] = "lightcrcf-benchmark"
    format_version: Literal[1] = 1
    name: str
    title: str
    data: Data
    protocol: str
    methods: tuple[Method, ...]
    cases: tuple[Case, ...]
    commands: tuple[str, ...]
    summary: dict[str, dict[str, Spread]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        names = [method.name for method in self.methods]
        rows = [(case.method, (case.fixed, case.moving)) for case in self.cases]
        if sorted(rows) != sorted((name, pair) for name in names for pair in self.data.pairs):
            raise ValueError("there must be exactly one case for each method and pair")
        expected = {name: _summary(case for case in self.cases if case.method == name) for name in names}
        if self.summary and self.summary != expected:
            raise ValueError("the summary does not follow from the cases")
        object.__setattr__(self, "summary", expected)
        return self

    def of(self, method: str) -> list[Case]:
        """The rows of one method, in the order of the pairs."""
        rows = {(case.fixed, case.moving): case for case in self.cases if case.method == method}
        return [rows[pair] for pair in self.data.pairs]


def merge(old: Record, new: Record) -> Record:
    """`new`, and from `old` the methods that `new` did not measure; methods keep `old`'s order, new ones come last.

    Raises:
        InputError: if the two did not score the same pairs by the same protocol.
    """
    if (old.name, old.data, old.protocol) != (new.name, new.data, new.protocol):
        raise InputError(
            old.name,
            expected="the same data, pairs and protocol in both records",
            got="others",
            remedy="write to a new file",
        )
    measured = {method.name: method for method in new.methods}
    kept = [measured.pop(method.name, method) for method in old.methods]
    methods = (*kept, *measured.values())
    renewed = {method.name for method in new.methods}
    cases = (*(case for case in old.cases if case.method not in renewed), *new.cases)
    order = {method.name: place for place, method in enumerate(methods)}
    pairs = {pair: place for place, pair in enumerate(new.data.pairs)}
    cases = tuple(sorted(cases, key=lambda case: (order[case.method], pairs[case.fixed, case.moving])))
    return Record.model_validate(
        {**new.model_dump(exclude={"summary"}), "methods": methods, "cases": cases, "commands": new.commands}
    )


def read(path: Path) -> Record:
    """Read and validate a record.

    Raises:
        InputError: if the file is no valid record.
    """
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(
            str(path), expected=f"a record, format {FORMAT} {FORMAT_VERSION}", got=first, remedy="measure it again"
        ) from error


def write(path: Path, record: Record) -> None:
    """Write a record as JSON."""
    parts = json.loads(record.model_dump_json())
    lines = [f" {json.dumps(key)}: {_lines(value)}" for key, value in parts.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def latest(folder: Path, name: str) -> Record:
    """The newest record of that name in a folder of `DATE-NAME.json` files.

    Raises:
        InputError: if there is none.
    """
    files = sorted(folder.glob(f"????-??-??-{name}.json"))
    if not files:
        raise InputError(str(folder), expected=f"a record named {name}", got="none", remedy="measure it first")
    return read(files[-1])


def _summary(cases: Iterable[Case]) -> dict[str, Spread]:
    rows = list(cases)
    columns = {name: [getattr(row, name) for row in rows] for name in MEASURES}
    return {name: _spread(values) for name, values in columns.items() if None not in values}


def _spread(values: list[float]) -> Spread:
    figures = (np.mean(values), np.median(values), np.min(values), np.max(values))
    mean, median, minimum, maximum = (round(float(figure), 6) for figure in figures)
    return Spread(mean=mean, median=median, minimum=minimum, maximum=maximum)


def _lines(value: Any) -> str:
    """JSON with one line for each entry of a list or object, so that changes to a record can be read as a diff."""
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {json.dumps(entry, ensure_ascii=False)}" for key, entry in value.items()]
        return "{\n  " + ",\n  ".join(entries) + "\n }"
    if isinstance(value, list):
        return "[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n ]"
    return json.dumps(value, ensure_ascii=False)
