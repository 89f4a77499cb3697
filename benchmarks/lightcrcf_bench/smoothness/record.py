"""A record of smoothness: many settings of several tools on the same cases, and the figures of each run.

It grows: a run that it holds need not be done again, and methods can be added at any time. Settings of one tool that
differ in smoothness alone form a curve.
"""

from __future__ import annotations

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
    "FIGURES", "FORMAT", "SECONDS", "Cases", "Setting", "SmoothnessRecord", "Trial", "latest_smoothness",
    "merged", "read_smoothness", "write_smoothness",
]  # fmt: skip

FORMAT, FORMAT_VERSION = "lightcrcf-smoothness", 1
FIGURES = {
    "dice": "mean Dice over the structures that both have, labels moved by nearest neighbour",
    "target_error_mm": "mean distance of the landmarks that are taken along from those of the moving image",
    "sdlogj_inside": "standard deviation of log J inside the anatomy",
    "ratio_p1_inside": "1st percentile of J inside the anatomy",
    "ratio_p99_inside": "99th percentile of J inside the anatomy",
    "ratio_max_inside": "largest J inside the anatomy",
    "folding_percent_inside": "share of voxels inside the anatomy with J <= 0",
    "sdlogj": "standard deviation of log J over the fixed grid",
    "ratio_p1": "1st percentile of J over the fixed grid",
    "ratio_p99": "99th percentile of J over the fixed grid",
    "ratio_max": "largest J over the fixed grid",
    "folding_percent": "share of voxels of the fixed grid with J <= 0",
    "correlation": "Pearson correlation of the moved and the fixed image inside the brain",
    "residual_mm": "mean distance inside the anatomy of where a point is taken from where the shift takes it",
    "error_mean_mm": "mean distance inside the brain of where a point is taken from where the truth takes it",
    "error_median_mm": "its median",
    "error_p95_mm": "its 95th percentile",
    "truth_sdlogj_inside": "standard deviation of log J of the truth inside the brain",
}
SECONDS = "seconds"
_TIMES = (SECONDS, "call_seconds", "peak_mib")


class Cases(Strict):
    """Cases of a record: their `names`, and the subjects with their split in `persons`."""

    name: str
    split: Literal["train", "val"]
    persons: str
    terms: str
    names: tuple[str, ...]


class Setting(Method):
    """One way to run one tool.

    `curve` names the tool, `smoothness` is its setting in the tool's own words, and `usual` says that it is the one
    that its users get without asking.
    """

    curve: str
    smoothness: str = ""
    usual: bool = False


class Trial(Strict):
    """One run: a method on a case. `figures` are keys of `FIGURES`; one that failed has its reason instead."""

    method: str
    case: str
    measured: date
    failure: str | None = None
    figures: dict[str, float] = Field(default={})
    seconds: float | None = None
    call_seconds: float | None = None
    peak_mib: float | None = None
    load_before: float | None = None

    @model_validator(mode="after")
    def _scored_or_failed(self) -> Trial:
        if (self.failure is None) != bool(self.figures) or not set(self.figures) <= set(FIGURES):
            raise ValueError("a trial has either known figures or the reason of a failure")
        return self


class SmoothnessRecord(ComparisonRecord[Cases, Setting]):
    """A measurement. The summary is checked against the trials, so a file edited by hand is refused.

    Args:
        trials: at most one for each method and case.
        commands: how to measure it again, from the repository root.
        summary: method to figure to spread over the cases that did not fail.
    """

    format: Literal["lightcrcf-smoothness"] = "lightcrcf-smoothness"
    format_version: Literal[1] = 1
    trials: tuple[Trial, ...]
    commands: tuple[str, ...]
    summary: dict[str, dict[str, Spread]] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> SmoothnessRecord:
        run = [(trial.method, trial.case) for trial in self.trials]
        if len(set(run)) != len(run) or not {case for _, case in run} <= set(self.data.names):
            raise ValueError("there must be at most one trial for each method and case")
        self._check_rows((name for name, _ in run), "trial")
        found = {method.name: _summary(self.of(method.name)) for method in self.methods}
        self._set_summary(found, self.summary, "trials")
        return self

    def of(self, method: str) -> list[Trial]:
        """Return the trials of a method."""
        return [trial for trial in self.trials if trial.method == method]

    def curve(self, name: str) -> list[Setting]:
        """Return the settings of a tool."""
        return [method for method in self.methods if method.curve == name]

    def curves(self) -> list[str]:
        """Return the tools, in the order of the methods."""
        return list(dict.fromkeys(method.curve for method in self.methods))

    def mean(self, method: str, figure: str) -> float | None:
        """Return the mean of a metric over cases; None without values."""
        found = self.summary[method].get(figure)
        return None if found is None else found.mean

    def shortfall(self, name: str) -> str:
        """Return a note on missing and failed cases of a method; empty without any."""
        return shortfall([trial.failure for trial in self.of(name)], len(self.data.names), "cases")


def merged(old: SmoothnessRecord, new: SmoothnessRecord) -> SmoothnessRecord:
    """Merge two records; for trials and methods in both, `new` counts, unless it never ran. The order is that of `old`.

    Raises:
        InputError: if they are of other cases or another protocol.
    """
    if (old.name, old.data, old.protocol) != (new.name, new.data, new.protocol):
        raise InputError(
            old.name, expected="the same cases and protocol in both records", got="others", remedy="write to a new file"
        )
    kept = {method.name for method in old.methods if method.versions}
    renewed = [method for method in new.methods if method.versions or method.name not in kept]
    methods = {method.name: method for method in (*old.methods, *renewed)}
    trials = {(trial.method, trial.case): trial for trial in (*old.trials, *new.trials)}
    order, places = list(methods), {name: place for place, name in enumerate(new.data.names)}
    arranged = sorted(trials.values(), key=lambda trial: (order.index(trial.method), places[trial.case]))
    parts = {**vars(new), "methods": tuple(methods.values()), "trials": tuple(arranged), "summary": {}}
    return SmoothnessRecord.model_validate(parts)


def read_smoothness(path: Path) -> SmoothnessRecord:
    """Read and validate a record.

    Raises:
        InputError: if the file is no valid record.
    """
    return parsed(path, SmoothnessRecord.model_validate_json, f"format {FORMAT} {FORMAT_VERSION}")


def write_smoothness(path: Path, record: SmoothnessRecord) -> None:
    """Write a record as JSON, a line for each run."""
    parts = json.loads(record.model_dump_json(exclude_defaults=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lined({"format": FORMAT, "format_version": FORMAT_VERSION, **parts}), encoding="utf-8")


def latest_smoothness(folder: Path, name: str) -> SmoothnessRecord:
    """Return the newest record of that name.

    Raises:
        InputError: if there is none.
    """
    return read_smoothness(newest(folder, name))


def _summary(trials: Sequence[Trial]) -> dict[str, Spread]:
    done = [trial for trial in trials if trial.failure is None]
    found = {name: _values(trial.figures.get(name) for trial in done) for name in FIGURES}
    found |= {name: _values(getattr(trial, name) for trial in done) for name in _TIMES}
    return {name: spread(values) for name, values in found.items() if values}


def _values(found: Iterable[float | None]) -> list[float]:
    return [value for value in found if value is not None]
