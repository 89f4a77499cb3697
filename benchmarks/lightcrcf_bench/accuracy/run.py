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
from lightcrcf_bench.accuracy.methods import Bench, Contender, Outcome, contenders
from lightcrcf_bench.accuracy.protocols import Pair, Protocol, pairs
from lightcrcf_bench.records import schema as records
from lightcrcf_bench.records.schema import Case, Method, Record, Timing

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
    """How documents refer to a protocol's record."""
    return f"{protocol.name}-accuracy"


def measure(
    protocol: Protocol,
    folder: Path,
    names: Sequence[str],
    bench: Bench,
    *,
    count: int | None = None,
    note: str = "",
    log: Log = print,
) -> Record:
    """Run and score methods on a protocol's pairs.

    Args:
        protocol: a row of `PROTOCOLS`.
        folder: of all data sets.
        names: methods, keys of `contenders`; empty for all.
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
    for contender in chosen(protocol, names, bench).values():
        _warm_up(contender, todo[0], bench)
        outcomes = []
        for pair in todo:
            outcomes.append(contender.run(pair, bench))
            cases.append(score(contender.name, pair, outcomes[-1]))
            told = cases[-1].failure or f"Dice {cases[-1].dice:.4f}"
            log(f"{protocol.name} {contender.name} {pair.fixed} <- {pair.moving}: {told}")
        timings += timings_of(contender.name, todo, outcomes)
        methods.append(describe(contender, outcomes, note))
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
    old: Record, protocol: Protocol, folder: Path, names: Sequence[str], bench: Bench, *, count: int, note: str = ""
) -> Record:
    """Take the times of methods again on the first pairs, methods alternating; scores stay.

    Args:
        old: the record to renew.
        protocol: its row.
        folder: of all data sets.
        names: methods, keys of `contenders`; empty for all that the record holds on these pairs.
        bench: how to run; nothing is reused, and what the methods leave is thrown away.
        count: of pairs.
        note: added to what the record says of the timing.

    Raises:
        InputError: if the data are not there, the record lacks a method on one of the pairs, or a method fails.
    """
    todo = pairs(protocol, folder)[:count]
    timed = _recorded(old, chosen(protocol, names, bench).values(), todo, every=not names)
    outcomes = alternately(timed, todo, replace(bench, reuse=False))
    failures = [o.stamp.failure for runs in outcomes.values() for o in runs if o.stamp.failure]
    if failures:
        raise InputError(old.name, expected="runs to time", got=failures[0], remedy="see why it failed")
    methods = [describe(contender, outcomes[contender.name], note) for contender in timed]
    timings = [timing for name, runs in outcomes.items() for timing in timings_of(name, todo, runs)]
    return records.retimed(old, methods, timings)


def alternately(
    timed: Sequence[Contender],
    todo: Sequence[Pair],
    bench: Bench,
    then: Callable[[Contender, Pair, Outcome], object] = lambda *_: None,
) -> dict[str, list[Outcome]]:
    """Run methods in turn, pair after pair, so that whatever else the machine does meets all of them.

    Args:
        timed: methods.
        todo: pairs.
        bench: how to run; with `reuse`, what an interrupted comparison left in `work` is taken, and what is new is
            left there. Otherwise what the methods leave is thrown away.
        then: called with each outcome before its files go.
    """
    outcomes: dict[str, list[Outcome]] = {contender.name: [] for contender in timed}
    with tempfile.TemporaryDirectory() as temporary:
        apart = bench if bench.reuse else replace(bench, work=Path(temporary))
        for contender in timed:
            _warm_up(contender, todo[0], apart)
        for pair in todo:
            for contender in timed:
                outcomes[contender.name].append(contender.run(pair, apart))
                then(contender, pair, outcomes[contender.name][-1])
    return outcomes


def chosen(protocol: Protocol, names: Sequence[str], bench: Bench) -> dict[str, Contender]:
    """The methods of these names, in this order; all of them if there are none.

    Raises:
        UsageError: if one is unknown.
    """
    known = contenders(protocol, bench)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            "--methods", expected=f"some of {', '.join(known)}", got=", ".join(unknown), remedy="check the names"
        )
    return {name: known[name] for name in names or known}


def score(method: str, pair: Pair, outcome: Outcome) -> Case:
    """One row of the record."""
    if outcome.chain is None:
        return Case(method=method, fixed=pair.fixed, moving=pair.moving, failure=outcome.stamp.failure)
    scores = evaluate(
        read(pair.fixed_labels),
        moving_labels=read(pair.moving_labels),
        transform=outcome.chain,
    )
    names = ("folding_percent", "folding_percent_labelled", "ndv_percent", "sdlogj")
    deforms = outcome.chain.field is not None
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


def _recorded(old: Record, asked: Iterable[Contender], todo: Sequence[Pair], *, every: bool) -> list[Contender]:
    """Those that have times; if `every` one is asked for, those of them that the record holds on all these pairs."""
    scored = {(case.method, case.fixed, case.moving) for case in old.cases}
    held = {
        method.name for method in old.methods if all((method.name, pair.fixed, pair.moving) in scored for pair in todo)
    }
    timed = [contender for contender in asked if contender.name != "identity"]
    missing = [contender.name for contender in timed if contender.name not in held]
    if missing and not every:
        raise InputError(
            old.name,
            expected="methods that the record holds on these pairs",
            got=", ".join(missing),
            remedy="measure them first",
        )
    return [contender for contender in timed if contender.name in held]


def _warm_up(contender: Contender, pair: Pair, bench: Bench) -> None:
    if contender.warm_up:
        contender.run(pair, bench)


def timings_of(method: str, todo: Sequence[Pair], outcomes: Sequence[Outcome]) -> list[Timing]:
    """What the runs of a method took, those that failed left out."""
    names = ("measured", "seconds", "call_seconds", "peak_mib", "load_before")
    return [
        Timing(
            method=method,
            fixed=pair.fixed,
            moving=pair.moving,
            **{name: getattr(outcome.stamp, name) for name in names},
        )
        for pair, outcome in zip(todo, outcomes, strict=True)
        if outcome.stamp.seconds is not None
    ]


def describe(contender: Contender, outcomes: Sequence[Outcome], note: str) -> Method:
    """What a record says of a method."""
    stamp = next((outcome.stamp for outcome in outcomes if outcome.stamp.failure is None), outcomes[0].stamp)
    return Method(
        name=contender.name,
        title=contender.title,
        versions=stamp.versions,
        settings=_settings(contender, outcomes),
        command=contender.command,
        timing=f"{contender.timing}; {note}" if note and stamp.seconds is not None else contender.timing,
        measured=stamp.measured,
        machine=stamp.machine,
        ours=contender.ours,
        model=contender.model,
        training=contender.training,
    )


def _settings(contender: Contender, outcomes: Sequence[Outcome]) -> str:
    """Return the settings of a method with the stages that its runs went through; those of pairs may differ."""
    stages = dict.fromkeys(outcome.stamp.stages for outcome in outcomes if outcome.stamp.stages is not None)
    return f"{contender.settings}: {'; or '.join(stages)}" if stages else contender.settings


def _commands(protocol: Protocol) -> tuple[str, ...]:
    out = f"benchmarks/history/DATE-{record_name(protocol)}.json"
    return (
        f"lightcrcf bench accuracy --protocol {protocol.name} --data ../shared/data --out {out}",
        "lightcrcf bench report",
    )
