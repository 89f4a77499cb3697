"""Tables of the records of accuracy, for documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Literal

from lightcrcf_bench.accuracy.statistics import Comparison, compare, smallest_p
from lightcrcf_bench.publish.accuracy_goals import ACCURACY_GOALS
from lightcrcf_bench.publish.goals import goals_text
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.publish.settings_text import settings_text, versions_text
from lightcrcf_bench.records.parts import Method, Spread
from lightcrcf_bench.records.schema import BUSY, Case, Record

__all__ = ["VIEWS"]

_FEWEST_PAIRS = 6  # with fewer, the signed-rank test cannot reach 0.05
# Of the tables for a page that is read in a minute.
_BRIEF = ("ants-syn", "greedy-ncc", "greedy-ncc-s2", "lightcrcf-fast", "lightcrcf-default", "lightcrcf-accurate")


def _summary(record: Record) -> str:
    unit = {"mm": "mm", "voxel": "voxels"}[record.data.distance_unit]
    header = ("method", "Dice", "lowest pair", f"HD95, {unit}", "folding, %", "SDlogJ", "time, s", "peak, MiB")
    rows = []
    for method in record.methods:
        spreads = record.summary[method.name]
        dice = spreads.get("dice")
        figures = (
            _mean_and_spread(record, method),
            _figure(dice, "minimum", 3),
            _figure(spreads.get("hd95"), "mean", 2),
            _figure(spreads.get("folding_percent"), "mean", 4),
            _figure(spreads.get("sdlogj"), "mean", 3),
            f"{_figure(spreads.get('seconds'), 'median', 1)}{BUSY if record.busy(method.name) else ''}",
            _figure(spreads.get("peak_mib"), "maximum", 0),
        )
        rows.append((_title(record, method), *figures))
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in _notes(record))])


def _brief(record: Record) -> str:
    """Return a few methods and columns, for a page that is read in a minute."""
    methods = tuple(method for method in record.methods if method.name in _BRIEF) or record.methods
    shown, rows = record.model_copy(update={"methods": methods}), []
    for method in methods:
        spreads = record.summary[method.name]
        time = f"{_figure(spreads.get('seconds'), 'median', 1)}{BUSY if record.busy(method.name) else ''}"
        figures = (_figure(spreads.get(name), "mean", 3) for name in ("dice", "sdlogj"))
        rows.append((_title(record, method), *figures, time))
    data = record.data
    notes = [f"{data.name}; {data.labels}; {data.split}, {len(data.pairs)} pairs.", *_days_apart(shown)]
    header = ("method", "Dice", "SDlogJ", "time, s")
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


def _mean_and_spread(record: Record, method: Method) -> str:
    dice = record.summary[method.name].get("dice")
    several = sum(case.dice is not None for case in record.of(method.name)) > 1
    return f"{_figure(dice, 'mean', 3)} ± {dice.deviation:.3f}" if dice and several else _figure(dice, "mean", 3)


def _methods(record: Record) -> str:
    lines = []
    for method in record.methods:
        versions = versions_text(method.versions)
        line = f"- {method.title}: {settings_text(method)}{f' ({versions})' if versions else ''}. `{method.command}`."
        spreads = record.summary[method.name]
        if "seconds" in spreads:
            where = method.machine
            line += f" Time: {method.timing}; {where.cpu}, {where.cores} cores, {_days(record.timed_on(method.name))}."
        if "call_seconds" in spreads:
            line += f" The call alone, volumes in memory: {spreads['call_seconds'].median:.1f} s."
        lines.append(line)
    return "\n".join(lines)


def _pairs(record: Record) -> str:
    header = ("fixed ← moving", *(method.title for method in record.methods))
    columns = [_of_each_pair(record, method) for method in record.methods]
    names = [f"{fixed} ← {moving}" for fixed, moving in record.data.pairs]
    means = [
        "" if "not run" in column else _figure(record.summary[method.name].get("dice"), "mean", 3)
        for method, column in zip(record.methods, columns, strict=True)
    ]
    rows = [*zip(names, *columns, strict=True), ("mean", *means)]
    return "\n".join(table(header, rows))


def _of_each_pair(record: Record, method: Method) -> list[str]:
    texts = {
        (case.fixed, case.moving): "failed" if case.dice is None else f"{case.dice:.3f}"
        for case in record.of(method.name)
    }
    return [texts.get(pair, "not run") for pair in record.data.pairs]


def _structures(record: Record) -> str:
    header = ("structure", *(_title(record, method) for method in record.methods))
    found = sorted({label for case in record.cases for label in case.dice_by_label})
    rows = [
        (
            record.data.structures.get(label, str(label)),
            *(_mean_of(record.of(method.name), label) for method in record.methods),
        )
        for label in found
    ]
    return "\n".join(table(header, rows))


def _mean_of(cases: Sequence[Case], label: int) -> str:
    values = [case.dice_by_label[label] for case in cases if label in case.dice_by_label]
    return f"{sum(values) / len(values):.3f}" if values else ""


def _tests(record: Record, measure: Literal["dice", "hd95"]) -> str:
    name = {"dice": "Dice", "hd95": f"HD95, {record.data.distance_unit}"}[measure]
    header = ("ours", "peer", "pairs", f"difference in {name}", "95 % interval", "rank-biserial", "p", "p, Holm")
    comparisons = compare(record, measure)
    if not comparisons:
        return "No network of ours is in this record yet."
    lines = table(header, [_comparison(row, record) for row in comparisons])
    return "\n".join([*lines, "", *(f"- {note}" for note in _test_notes(record, comparisons))])


def _comparison(row: Comparison, record: Record) -> tuple[str, ...]:
    test = row.tested
    return (
        _title(record, row.ours),
        row.peer.title,
        str(row.pairs),
        f"{row.difference:+.4f}",
        f"{test.low:+.4f} to {test.high:+.4f}" if test else "",
        f"{test.rank_biserial:+.2f}" if test else "",
        f"{test.p:.2g}" if test else "",
        f"{test.p_holm:.2g}" if test else "",
    )


def _test_notes(record: Record, comparisons: Sequence[Comparison]) -> list[str]:
    notes = [
        "Difference: ours minus peer, mean over pairs, with its bootstrap interval. p: paired Wilcoxon signed-rank "
        "test, two-sided and exact; Holm's correction runs over the peers. Pairs share persons, so they are not "
        "independent and p is optimistic."
    ]
    if any(row.tested is None for row in comparisons):
        notes.append("One pair alone is not tested.")
    fewest = min((row.pairs for row in comparisons if row.tested), default=_FEWEST_PAIRS)
    if fewest < _FEWEST_PAIRS:
        notes.append(f"With {fewest} pairs the smallest p that this test can give is {smallest_p(fewest):.2g}.")
    return notes


VIEWS: dict[str, Callable[[Record], str]] = {
    "summary": _summary,
    "brief": _brief,
    "methods": _methods,
    "pairs": _pairs,
    "structures": _structures,
    "dice-tests": partial(_tests, measure="dice"),
    "hd95-tests": partial(_tests, measure="hd95"),
    "goals": lambda record: goals_text(ACCURACY_GOALS.get(record.name, ()), record),
}


def _title(record: Record, method: Method) -> str:
    """Return the title, with what must never be overlooked: labels in training, failures, and pairs left out."""
    trained = method.model not in (None, "none")
    texts = {
        "unsupervised": "",
        "weakly supervised": " (weakly supervised)",
        None: " (training unknown)" if trained else "",
    }
    return f"{method.title}{texts[method.training]}{record.shortfall(method.name)}"


def _notes(record: Record) -> list[str]:
    data = record.data
    lines = [
        f"{data.name}; {data.labels}; {data.split}, {len(data.pairs)} pairs. {record.protocol}",
        "Dice (± standard deviation), HD95, folding and SDlogJ are means over pairs, time is the median of the whole "
        "command, memory the largest.",
    ]
    trainings = {method.training for method in record.methods if method.training}
    if len(trainings) == 1:
        lines.append(f"Our networks here are {trainings.pop()}.")
    elif trainings:
        lines.append("This table mixes unsupervised and weakly supervised networks: the latter saw labels in training.")
    if any(record.busy(method.name) for method in record.methods):
        lines.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    lines += _days_apart(record)
    lines += [
        f"{method.title}{record.shortfall(method.name)}: its figures are not of all pairs; goals and tests compare "
        "it with others on the pairs that both ran on."
        for method in record.methods
        if len(record.of(method.name)) < len(data.pairs)
    ]
    lines += [
        f"{method.title} failed on {case.fixed} ← {case.moving}: {case.failure}"
        for method in record.methods
        for case in record.of(method.name)
        if case.failure
    ]
    return lines


def _days_apart(record: Record) -> list[str]:
    """Return the notes of a table that was measured on several days."""
    lines = []
    sides = {
        whose: [method.measured for method in record.methods if method.ours == ours and method.name != "identity"]
        for whose, ours in (("ours", True), ("other tools, on which our code has no bearing,", False))
    }
    if len({day for days in sides.values() for day in days}) > 1:
        lines.append("Scored: " + "; ".join(f"{whose} {_days(days)}" for whose, days in sides.items() if days) + ".")
    timed: dict[str, list[str]] = {}
    for method in record.methods:
        if days := record.timed_on(method.name):
            timed.setdefault(_days(days), []).append(method.title)
    if len(timed) > 1:
        texts = " ".join(f"{days}: {'; '.join(titles)}." for days, titles in sorted(timed.items()))
        lines.append(f"Times were taken on different days, and only those of one day can be compared. {texts}")
    return lines


def _days(days: Sequence[date]) -> str:
    """Return one day, or from the first to the last."""
    first, last = min(days), max(days)
    return first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"


def _figure(spread: Spread | None, name: str, digits: int) -> str:
    if spread is None:
        return ""
    value = getattr(spread, name)
    return "0" if value == 0 else f"{value:.{digits}f}"
