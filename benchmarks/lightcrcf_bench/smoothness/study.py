"""Cases and how they are scored, and a record that grows run by run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from lightcrcf.errors import InputError, UsageError
from lightcrcf.transforms.chain import Chain
from lightcrcf_bench.accuracy.methods import BenchSettings, MethodResult, MethodRunner
from lightcrcf_bench.accuracy.protocols import Images
from lightcrcf_bench.accuracy.run import describe
from lightcrcf_bench.smoothness.record import (
    Cases,
    Setting,
    SmoothnessRecord,
    Trial,
    merged,
    read_smoothness,
    write_smoothness,
)

__all__ = ["Planned", "Ready", "Rung", "Split", "Study", "chosen", "grow", "subjects"]

Split = Literal["train", "val"]
Log = Callable[[str], None]
_SIGNIFICANT = 6


@dataclass(frozen=True)
class Rung:
    """A method at one setting of smoothness: a point of its tool's curve; see `record.Setting`."""

    runner: MethodRunner
    curve: str
    smoothness: str = ""
    usual: bool = False


@dataclass(frozen=True)
class Ready:
    """A case whose files lie there.

    Args:
        images: for the tools.
        score: figures of a transform, from fixed points to moving points.
    """

    images: Images
    score: Callable[[Chain], dict[str, float]]


@dataclass(frozen=True)
class Planned:
    """A case by name, and what makes it ready: it may write images below the bench's `work`."""

    name: str
    prepare: Callable[[BenchSettings], Ready]


@dataclass(frozen=True)
class Study:
    """Definition of a record.

    Args:
        name, title, data, protocol, commands: as the record has them.
        planned: the cases, named as in `data`.
        rungs: every method that can run, by name.
    """

    name: str
    title: str
    data: Cases
    protocol: str
    commands: tuple[str, ...]
    planned: Sequence[Planned]
    rungs: dict[str, Rung]


def subjects(folder: Path, data_set: str, split: Split) -> list[str]:
    """Return the persons of a split.

    Raises:
        InputError: if the folder of the data sets does not say who they are.
    """
    splits = folder / "splits.json"
    try:
        return list(json.loads(splits.read_text(encoding="utf-8"))[data_set][split])
    except (OSError, ValueError, LookupError):
        raise InputError(
            str(splits), expected=f"the persons of {data_set}, {split}", got="none", remedy="check --data"
        ) from None


def chosen(rungs: dict[str, Rung], names: Sequence[str]) -> list[Rung]:
    """Return the methods with these names or curves; all if none are given.

    Raises:
        UsageError: if one is unknown.
    """
    curves = dict.fromkeys(rung.curve for rung in rungs.values())
    if unknown := [name for name in names if name not in rungs and name not in curves]:
        raise UsageError(
            "--methods",
            expected=f"some of {', '.join(dict.fromkeys((*curves, *rungs)))}",
            got=", ".join(unknown),
            remedy="check the names",
        )
    return [rung for name, rung in rungs.items() if not names or name in names or rung.curve in names]


def grow(
    study: Study,
    path: Path,
    names: Sequence[str],
    bench: BenchSettings,
    *,
    count: int | None = None,
    again: bool = False,
    note: str = "",
    log: Log = print,
) -> None:
    """Run methods on cases, in turn on each, and write every run into the record as soon as it is done.

    Args:
        study: what to measure.
        path: of the record; what it holds without a failure is not run again.
        names: of methods or curves; empty for all.
        bench: where and how to run.
        count: of cases, the first ones; None for all.
        again: run also what the record holds.
        note: what else the machine did.
        log: gets a line for each run.

    Raises:
        InputError: if the record is of something else.
        UsageError: if a method is unknown.
    """
    record = read_smoothness(path) if path.exists() else None
    rungs, warm = chosen(study.rungs, names), False
    for case in study.planned[:count]:
        done = set() if record is None or again else _done(record, case.name)
        todo = [rung for rung in rungs if rung.runner.name not in done]
        ready = _ready(case, bench, log) if todo else None
        if ready is None:
            continue
        for rung in todo:
            if rung.runner.warm_up and not warm:
                rung.runner.run(ready.images, bench)
                warm = True
            result = rung.runner.run(ready.images, bench)
            new = _record(study, rung, _trial(rung, case, ready, result), result, note)
            record = merged(record, new) if record else new
            write_smoothness(path, record)
            log(_summary_text(study, new.trials[0]))


def _done(record: SmoothnessRecord, case: str) -> set[str]:
    return {trial.method for trial in record.trials if trial.case == case and trial.failure is None}


def _ready(case: Planned, bench: BenchSettings, log: Log) -> Ready | None:
    """Prepare a case; None if it cannot be prepared."""
    try:
        return case.prepare(bench)
    except InputError as error:
        log(f"{case.name}: {error}")
        return None


def _trial(rung: Rung, case: Planned, ready: Ready, result: MethodResult) -> Trial:
    metadata = result.metadata
    times = {name: getattr(metadata, name) for name in ("seconds", "call_seconds", "peak_mib", "load_before")}
    parts = {"method": rung.runner.name, "case": case.name, "measured": metadata.measured or date.today()}
    if result.chain is None:
        return Trial.model_validate({**parts, "failure": metadata.failure or "no reason"})
    figures = {name: float(f"{value:.{_SIGNIFICANT}g}") for name, value in ready.score(result.chain).items()}
    return Trial.model_validate({**parts, **times, "figures": figures})


def _record(study: Study, rung: Rung, trial: Trial, result: MethodResult, note: str) -> SmoothnessRecord:
    fields = describe(rung.runner, [result], note).model_dump()
    setting = Setting(**fields, curve=rung.curve, smoothness=rung.smoothness, usual=rung.usual)
    return SmoothnessRecord(
        name=study.name,
        title=study.title,
        data=study.data,
        protocol=study.protocol,
        methods=(setting,),
        trials=(trial,),
        commands=study.commands,
    )


def _summary_text(study: Study, trial: Trial) -> str:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in trial.figures.items() if "percent" not in name)
    return f"{study.name} {trial.method} {trial.case}: {trial.failure or shown}"
