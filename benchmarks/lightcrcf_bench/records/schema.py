"""The record of a benchmark: one JSON file in `benchmarks/history`, from which every published number is rendered.

A record holds the data and the protocol, the methods with where and how they ran, one case for each method and pair,
what each run took, and the summary of both. Methods can be measured at different times: measuring some again replaces
their rows only, and times can be taken again without the cases. A method that takes hours may have run on some of the
pairs; whatever compares methods then does so on the pairs that they share.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lightcrcf.errors import InputError
from lightcrcf_bench.records.history import newest, parsed
from lightcrcf_bench.records.parts import ComparisonRecord, Method, Spread, Strict, lined, shortfall, spread

__all__ = [
    "BUSY", "MEASURES", "TIMES", "Case", "Data", "Forward", "Record", "Timing", "as_csv", "latest", "merge", "read",
    "retimed", "write",
]  # fmt: skip

FORMAT, FORMAT_VERSION = "lightcrcf-benchmark", 2
MEASURES = ("dice", "hd95", "folding_percent", "folding_percent_labelled", "ndv_percent", "sdlogj")
TIMES = ("seconds", "call_seconds", "peak_mib", "load_before")
BUSY = "†"  # marks times that were taken beside other work


class Data(Strict):
    """Data of a record: `pairs` are (fixed, moving) subjects; HD95 is in `distance_unit`.

    `structures` names the labels, where there are few enough to tell apart.
    """

    name: str
    split: str
    labels: str
    terms: str
    distance_unit: Literal["mm", "voxel"]
    structures: dict[int, str] = Field(default={})
    pairs: tuple[tuple[str, str], ...]


class Case(Strict):
    """The scores of one method on one pair; None where a method has no such measure.

    A method that failed has its reason in `failure`, and no scores. One that lost every structure has no HD95.
    """

    method: str
    fixed: str
    moving: str
    failure: str | None = None
    dice: float | None = None
    hd95: float | None = None
    folding_percent: float | None = None
    folding_percent_labelled: float | None = None
    ndv_percent: float | None = None
    sdlogj: float | None = None
    labels_lost: tuple[int, ...] = ()
    dice_by_label: dict[int, float] = Field(default={})

    @model_validator(mode="after")
    def _scored_or_failed(self) -> Case:
        if (self.failure is None) == (self.dice is None):
            raise ValueError("a case has either scores or the reason of a failure")
        return self


class Timing(Strict):
    """Time and memory of one run.

    `seconds` is wall time of the whole command, `call_seconds` of the registration alone where the tool can tell,
    `peak_mib` the largest resident memory of its process, `load_before` the machine's one-minute load average when it
    started (its own earlier runs included), by which times taken beside other work are recognised.
    """

    method: str
    fixed: str
    moving: str
    measured: date
    seconds: float
    call_seconds: float | None = None
    peak_mib: float | None = None
    load_before: float | None = None


class Forward(Strict):
    """The forward pass of a network alone, the moving image warped at the end; milliseconds of each run.

    `gmac` are 10^9 multiply-adds of its convolutions and linear layers, counted while it ran.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    threads: int
    versions: dict[str, str] = Field(default={})
    parameters: int | None = None
    gmac: float | None = None
    each_ms: tuple[float, ...] = ()
    peak_mib: float | None = None
    load_before: float | None = None
    failure: str | None = None


class Record(ComparisonRecord[Data, Method]):
    """A benchmark. The summary is checked against the rows, so a file edited by hand is refused.

    Args:
        cases: one for each method and pair that it ran on, one pair at least.
        timings: what the runs took; of some pairs, if times were taken apart.
        forwards: networks without public weights, of which only the time is known, and ours beside them.
        commands: how to measure it again, from the repository root.
        summary: method to measure to spread over the pairs that did not fail.
    """

    format: Literal["lightcrcf-benchmark"] = "lightcrcf-benchmark"
    format_version: Literal[2] = 2
    cases: tuple[Case, ...]
    timings: tuple[Timing, ...] = ()
    forwards: tuple[Forward, ...] = ()
    commands: tuple[str, ...]
    summary: dict[str, dict[str, Spread]] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        scored = [(case.method, (case.fixed, case.moving)) for case in self.cases]
        if len(set(scored)) != len(scored) or not {pair for _, pair in scored} <= set(self.data.pairs):
            raise ValueError("there must be at most one case for each method and pair")
        self._check_rows((name for name, _ in scored), "case")
        runs = [(timing.method, (timing.fixed, timing.moving)) for timing in self.timings]
        if len(set(runs)) != len(runs) or not set(runs) <= set(scored):
            raise ValueError("there must be at most one timing for each case")
        found = {method.name: self._summarise(method.name) for method in self.methods}
        self._set_summary(found, self.summary, "cases")
        return self

    def of(self, method: str) -> list[Case]:
        """Return the cases of one method, in the order of the pairs; those that it did not run on are left out."""
        rows = {(case.fixed, case.moving): case for case in self.cases if case.method == method}
        return [rows[pair] for pair in self.data.pairs if pair in rows]

    def shared(self, methods: Sequence[str], measure: str) -> list[tuple[float, ...]]:
        """Return a measure of these methods on each pair on which all of them have it, in the order of the pairs."""
        columns = [
            {(case.fixed, case.moving): getattr(case, measure) for case in self.cases if case.method == name}
            for name in methods
        ]
        both = [pair for pair in self.data.pairs if all(column.get(pair) is not None for column in columns)]
        return [tuple(column[pair] for column in columns) for pair in both]

    def method(self, name: str) -> Method:
        """Return the method of that name."""
        return next(method for method in self.methods if method.name == name)

    def shortfall(self, name: str) -> str:
        """Return a note on missing and failed pairs of a method; empty without any."""
        return shortfall([case.failure for case in self.of(name)], len(self.data.pairs), "pairs")

    def busy(self, name: str) -> bool:
        """Return whether other processes loaded the machine more than the method itself could."""
        load = self.summary[name].get("load_before")
        return load is not None and load.median > self.method(name).machine.cores + 1

    def timed_on(self, name: str) -> tuple[date, ...]:
        """Return the days on which the times of that method were taken."""
        return tuple(sorted({timing.measured for timing in self.timings if timing.method == name}))

    def seconds_together(self, methods: Sequence[str]) -> list[tuple[float, ...]]:
        """Return the seconds of methods on each pair on which all were timed on one day, in order."""
        runs = {(timing.method, (timing.fixed, timing.moving)): timing for timing in self.timings}
        found = [[runs.get((name, pair)) for name in methods] for pair in self.data.pairs]
        whole = [timings for row in found if len(timings := [timing for timing in row if timing]) == len(methods)]
        return [tuple(t.seconds for t in timings) for timings in whole if len({t.measured for t in timings}) == 1]

    def _summarise(self, method: str) -> dict[str, Spread]:
        scores = [case for case in self.cases if case.method == method and case.failure is None]
        runs = [timing for timing in self.timings if timing.method == method]
        return {**_spreads(scores, MEASURES), **_spreads(runs, TIMES)}


def merge(old: Record, new: Record) -> Record:
    """Merge two records: `new`, and the methods of `old` that it lacks; in the order of `old`, new ones last.

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
    methods = (*(measured.get(method.name, method) for method in old.methods), *_added(old, new))
    cases = (*(case for case in old.cases if case.method not in measured), *new.cases)
    timings = (*(timing for timing in old.timings if timing.method not in measured), *new.timings)
    return _arranged(new, methods, cases, timings)


def retimed(old: Record, methods: Sequence[Method], timings: Sequence[Timing]) -> Record:
    """Return `old` with the times of some methods replaced.

    Args:
        old: the record.
        methods: of the record, as they ran now; what it says of their timing and machine is renewed.
        timings: of these methods.
    """
    renewed = {method.name: method for method in methods}
    kept = [timing for timing in old.timings if timing.method not in renewed]
    updated = [
        method.model_copy(update={name: getattr(renewed[method.name], name) for name in ("timing", "machine")})
        if method.name in renewed
        else method
        for method in old.methods
    ]
    return _arranged(old, updated, old.cases, (*kept, *timings))


def read(path: Path) -> Record:
    """Read and validate a record.

    Raises:
        InputError: if the file is no valid record.
    """
    return parsed(path, Record.model_validate_json, f"format {FORMAT} {FORMAT_VERSION}")


def write(path: Path, record: Record) -> None:
    """Write a record as JSON, and its cases beside it as CSV."""
    parts = json.loads(record.model_dump_json(exclude_defaults=True))
    parts = {"format": FORMAT, "format_version": FORMAT_VERSION, **parts}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lined(parts), encoding="utf-8")
    path.with_suffix(".csv").write_text(as_csv(record), encoding="utf-8")


def as_csv(record: Record) -> str:
    """Return one row for each method and pair: scores, what the run took, and the Dice of each structure."""
    labels = sorted({label for case in record.cases for label in case.dice_by_label})
    runs = {(timing.method, timing.fixed, timing.moving): timing for timing in record.timings}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    keys = ("method", "fixed", "moving")
    rows.writerow((*keys, *MEASURES, *TIMES, "labels_lost", "failure", *(f"dice_{label}" for label in labels)))
    for case in record.cases:
        run = runs.get((case.method, case.fixed, case.moving))
        rows.writerow(
            (
                *(getattr(case, name) for name in (*keys, *MEASURES)),
                *(getattr(run, name, None) for name in TIMES),
                " ".join(map(str, case.labels_lost)),
                case.failure,
                *(case.dice_by_label.get(label) for label in labels),
            )
        )
    return text.getvalue()


def latest(folder: Path, name: str) -> Record:
    """Return the newest record of that name in a folder of `DATE-NAME.json` files.

    Raises:
        InputError: if there is none.
    """
    return read(newest(folder, name))


def _added(old: Record, new: Record) -> list[Method]:
    known = {method.name for method in old.methods}
    return [method for method in new.methods if method.name not in known]


def _arranged(record: Record, methods: Sequence[Method], cases: Sequence[Case], timings: Sequence[Timing]) -> Record:
    """Return the record with other rows, in the order of methods and pairs."""
    order = {method.name: place for place, method in enumerate(methods)}
    pairs = {pair: place for place, pair in enumerate(record.data.pairs)}

    def place(row: Case | Timing) -> tuple[int, int]:
        return order[row.method], pairs[row.fixed, row.moving]

    parts = record.model_dump(exclude={"summary"})
    rows = {"cases": tuple(sorted(cases, key=place)), "timings": tuple(sorted(timings, key=place))}
    return Record.model_validate({**parts, "methods": tuple(methods), **rows})


def _spreads(rows: Sequence[Case] | Sequence[Timing], names: Iterable[str]) -> dict[str, Spread]:
    columns = {name: [value for row in rows if (value := getattr(row, name)) is not None] for name in names}
    return {name: spread(values) for name, values in columns.items() if values}
