"""The accuracy benchmark: every method on every pair of a protocol, scored by labels, as one record."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lightcrcf.errors import InputError, UsageError
from lightcrcf.evaluation.protocols import evaluate
from lightcrcf.volumes import read
from lightcrcf_bench.accuracy.methods import BenchSettings, MethodResult, MethodRunner, method_runners
from lightcrcf_bench.accuracy.protocols import Pair, Protocol, pairs
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.parts import Method
from lightcrcf_bench.records.schema import Case, Record, Timing

__all__ = [
    "SCORING", "alternately", "chosen", "describe", "measure", "record_name", "retime", "score", "timings_of",
]  # fmt: skip

SCORING = (
    "Labels of the moving volume are moved by nearest neighbour onto the fixed grid. Dice: mean over the structures "
    "that both volumes have. HD95: area-weighted, mean over structures that were not lost. Folding: share of "
    "voxels with a Jacobian determinant <= 0 by central differences, over the fixed grid and among labelled voxels; "
    "SDlogJ over the fixed grid; non-diffeomorphic volume among labelled voxels."
)
Log = Callable[[str], None]


def record_name(protocol: Protocol) -> str:
    """Return the name of the record of a protocol."""
    return f"{protocol.name}-accuracy"


def measure(
    protocol: Protocol,
    folder: Path,
    names: Sequence[str],
    bench: BenchSettings,
    *,
    count: int | None = None,
    note: str = "",
    log: Log = print,
) -> Record:
    """Run and score methods on a protocol's pairs.

    Args:
        protocol: a row of `PROTOCOLS`.
        folder: of all data sets.
        names: methods, keys of `method_runners`; empty for all.
        bench: where and how to run.
        count: of pairs, the first ones; None for all.
        note: added to what the record says of the timing.
        log: gets a line for each pair.

    Raises:
        InputError: if the data are not there.
        UsageError: if a method is unknown.
    """
    methods: list[Method] = []
    cases: list[Case] = []
    timings: list[Timing] = []
    todo = pairs(protocol, folder)[:count]
    for runner in chosen(protocol, names, bench).values():
        _warm_up(runner, todo[0], bench)
        results = []
        for pair in todo:
            results.append(runner.run(pair, bench))
            cases.append(score(runner.name, pair, results[-1]))
            score_text = cases[-1].failure or f"Dice {cases[-1].dice:.4f}"
            log(f"{protocol.name} {runner.name} {pair.fixed} <- {pair.moving}: {score_text}")
        timings += timings_of(runner.name, todo, results)
        methods.append(describe(runner, results, note))
    return Record(
        name=record_name(protocol),
        title=protocol.title,
        data=protocol.data,
        protocol=SCORING,
        methods=tuple(methods),
        cases=tuple(cases),
        timings=tuple(timings),
        commands=_commands(protocol),
    )


def retime(
    old: Record,
    protocol: Protocol,
    folder: Path,
    names: Sequence[str],
    bench: BenchSettings,
    *,
    count: int,
    note: str = "",
) -> Record:
    """Take the times of methods again on the first pairs, methods alternating; scores stay.

    Args:
        old: the record to renew.
        protocol: its row.
        folder: of all data sets.
        names: methods, keys of `method_runners`; empty for all that the record holds on these pairs.
        bench: how to run; nothing is reused, and what the methods leave is thrown away.
        count: of pairs.
        note: added to what the record says of the timing.

    Raises:
        InputError: if the data are not there, the record lacks a method on one of the pairs, or a method fails.
    """
    todo = pairs(protocol, folder)[:count]
    timed = _recorded(old, chosen(protocol, names, bench).values(), todo, every=not names)
    results = alternately(timed, todo, replace(bench, reuse=False))
    failures = [o.metadata.failure for runs in results.values() for o in runs if o.metadata.failure]
    if failures:
        raise InputError(old.name, expected="runs to time", got=failures[0], remedy="see why it failed")
    methods = [describe(runner, results[runner.name], note) for runner in timed]
    timings = [timing for name, runs in results.items() for timing in timings_of(name, todo, runs)]
    return records.retimed(old, methods, timings)


def alternately(
    timed: Sequence[MethodRunner],
    todo: Sequence[Pair],
    bench: BenchSettings,
    then: Callable[[MethodRunner, Pair, MethodResult], object] = lambda *_: None,
) -> dict[str, list[MethodResult]]:
    """Run methods in turn, pair after pair, so that whatever else the machine does meets all of them.

    Args:
        timed: methods.
        todo: pairs.
        bench: how to run; with `reuse`, what an interrupted comparison left in `work` is taken, and what is new is
            left there. Otherwise what the methods leave is thrown away.
        then: called with each result before its files go.
    """
    results: dict[str, list[MethodResult]] = {runner.name: [] for runner in timed}
    with tempfile.TemporaryDirectory() as temporary:
        apart = bench if bench.reuse else replace(bench, work=Path(temporary))
        for runner in timed:
            _warm_up(runner, todo[0], apart)
        for pair in todo:
            for runner in timed:
                results[runner.name].append(runner.run(pair, apart))
                then(runner, pair, results[runner.name][-1])
    return results


def chosen(protocol: Protocol, names: Sequence[str], bench: BenchSettings) -> dict[str, MethodRunner]:
    """Return the methods of these names, in this order; all of them if there are none.

    Raises:
        UsageError: if one is unknown.
    """
    known = method_runners(protocol, bench)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            "--methods", expected=f"some of {', '.join(known)}", got=", ".join(unknown), remedy="check the names"
        )
    return {name: known[name] for name in names or known}


def score(method: str, pair: Pair, result: MethodResult) -> Case:
    """Return one row of the record."""
    if result.chain is None:
        return Case(method=method, fixed=pair.fixed, moving=pair.moving, failure=result.metadata.failure)
    scores = evaluate(
        read(pair.fixed_labels),
        moving_labels=read(pair.moving_labels),
        transform=result.chain,
    )
    names = ("folding_percent", "folding_percent_labelled", "ndv_percent", "sdlogj")
    deforms = result.chain.field is not None
    return Case(
        method=method,
        fixed=pair.fixed,
        moving=pair.moving,
        dice=round(scores.mean_dice, 6),
        hd95=round(scores.mean_hd95, 4) if math.isfinite(scores.mean_hd95) else None,
        labels_lost=tuple(label for label, distance in scores.hd95.items() if math.isinf(distance)),
        dice_by_label={label: round(value, 4) for label, value in scores.dice.items()},
        **{name: round(getattr(scores, name), 6) for name in names if deforms},
    )


def _recorded(old: Record, asked: Iterable[MethodRunner], todo: Sequence[Pair], *, every: bool) -> list[MethodRunner]:
    """Return the methods with times; with `every`, only those that the record holds on all these pairs."""
    scored = {(case.method, case.fixed, case.moving) for case in old.cases}
    held = {
        method.name for method in old.methods if all((method.name, pair.fixed, pair.moving) in scored for pair in todo)
    }
    timed = [runner for runner in asked if runner.name != "identity"]
    missing = [runner.name for runner in timed if runner.name not in held]
    if missing and not every:
        raise InputError(
            old.name,
            expected="methods that the record holds on these pairs",
            got=", ".join(missing),
            remedy="measure them first",
        )
    return [runner for runner in timed if runner.name in held]


def _warm_up(runner: MethodRunner, pair: Pair, bench: BenchSettings) -> None:
    if runner.warm_up:
        runner.run(pair, bench)


def timings_of(method: str, todo: Sequence[Pair], results: Sequence[MethodResult]) -> list[Timing]:
    """Return the times of the successful runs of a method."""
    names = ("measured", "seconds", "call_seconds", "peak_mib", "load_before")
    return [
        Timing(
            method=method,
            fixed=pair.fixed,
            moving=pair.moving,
            **{name: getattr(result.metadata, name) for name in names},
        )
        for pair, result in zip(todo, results, strict=True)
        if result.metadata.seconds is not None
    ]


def describe(runner: MethodRunner, results: Sequence[MethodResult], note: str) -> Method:
    """Return the description of a method for a record."""
    metadata = next((result.metadata for result in results if result.metadata.failure is None), results[0].metadata)
    return Method(
        name=runner.name,
        title=runner.title,
        versions=metadata.versions,
        settings=_settings(runner, results),
        command=runner.command,
        timing=f"{runner.timing}; {note}" if note and metadata.seconds is not None else runner.timing,
        measured=metadata.measured,
        machine=metadata.machine,
        ours=runner.ours,
        model=runner.model,
        training=runner.training,
    )


def _settings(runner: MethodRunner, results: Sequence[MethodResult]) -> str:
    """Return the settings of a method with the stages that its runs went through; those of pairs may differ."""
    stages = dict.fromkeys(result.metadata.stages for result in results if result.metadata.stages is not None)
    return f"{runner.settings}: {'; or '.join(stages)}" if stages else runner.settings


def _commands(protocol: Protocol) -> tuple[str, ...]:
    out = f"benchmarks/history/DATE-{record_name(protocol)}.json"
    return (
        f"lightcrcf bench accuracy --protocol {protocol.name} --data ../shared/data --out {out}",
        "lightcrcf bench report",
    )
