"""Tables and figures of records in documents: `lightcrcf bench report`, from the repository root.

A document asks for a table with a pair of comments, and everything between them is replaced:

    <!-- record: brain-accuracy summary -->
    <!-- end of record -->

The views are `summary` (a row for each method), `methods` (how each was run), `pairs` and `structures` (Dice of
each), `dice-tests` and `hd95-tests` (ours against each peer), `ratios` (of time and memory) and `forwards` (networks'
forward passes). Those of what computing costs are `core compute`, `core parts-f32`, `core parts-bf16`, `refine steps`
and `scaling sizes`; that of a comparison of variants is `NAME-ablation variants`, that of cohorts `throughput pairs-
per-hour`, that of robustness `robustness trials`. `figures` links, from a document in `docs`, to the figures of a
record, which are those of `figure` and `cost_figures`. A record of cost or of peers that is not measured yet gives one
line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from lightcrcf.benchmark import cost_figures, figure
from lightcrcf.benchmark.ablation_records import ABLATION, ablation_text, latest_ablation
from lightcrcf.benchmark.cost_records import COSTS, latest_cost
from lightcrcf.benchmark.cost_views import COST_VIEWS
from lightcrcf.benchmark.markdown import table
from lightcrcf.benchmark.peer_views import PEER_VIEWS
from lightcrcf.benchmark.records import BUSY, Case, Method, Record, Spread, latest
from lightcrcf.benchmark.robustness_record import ROBUSTNESS, latest_robustness, robustness_text
from lightcrcf.benchmark.statistics import Comparison, compare, smallest_p
from lightcrcf.benchmark.throughput import THROUGHPUT, latest_throughput, throughput_text
from lightcrcf.errors import InputError

__all__ = ["HISTORY", "VIEWS", "documents", "main", "render"]

HISTORY = Path("benchmarks/history")
_BLOCK = re.compile(
    r"(?P<open><!-- record: (?P<name>\S+) (?P<view>\S+) -->\n)(?P<body>.*?)(?P<close><!-- end of record -->)", re.DOTALL
)
_FEWEST_PAIRS = 6  # with fewer, the signed-rank test cannot reach 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring documents and figures up to date; with `--check` only say which are not. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf.benchmark.render", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a document is out of date")
    options = parser.parse_args(arguments)
    stale = [*_stale_documents(options.root), *_stale_figures(options.root)]
    for path, renew in stale:
        if not options.check:
            renew()
        print(f"{'out of date' if options.check else 'renewed'}: {path}", file=sys.stderr)
    return 1 if stale and options.check else 0


def documents(root: Path) -> list[Path]:
    """The Markdown files that may show records."""
    folders = ("", "docs/**/", "benchmarks/", "src/lightcrcf/weights/models/")
    return sorted(path for folder in folders for path in root.glob(f"{folder}*.md"))


def render(text: str, history: Path) -> str:
    """`text` with every record block filled in from the newest record of its name.

    Raises:
        InputError: if a record or a view is unknown.
    """
    return _BLOCK.sub(lambda block: f"{block['open']}{_table(block, history)}\n{block['close']}", text)


Stale = list[tuple[Path, Callable[[], object]]]


def _stale_documents(root: Path) -> Stale:
    stale: Stale = []
    for path in documents(root):
        old = path.read_text(encoding="utf-8")
        new = render(old, root / HISTORY)
        if new != old:
            stale.append((path, partial(path.write_text, new, encoding="utf-8")))
    return stale


def _stale_figures(root: Path) -> Stale:
    stale: Stale = cost_figures.stale(root, root / HISTORY)
    for name, place in figure.FIGURES.items():
        if any((root / HISTORY).glob(f"????-??-??-{name}.json")):
            record = latest(root / HISTORY, name)
            if not figure.is_current(root / place, record):
                stale.append((root / place, partial(figure.draw, root / place, record)))
    return stale


def _table(block: re.Match[str], history: Path) -> str:
    name, view = block["name"], block["view"]
    known: dict[str, Callable[..., str]] = {
        **VIEWS, **PEER_VIEWS, **COST_VIEWS, "variants": ablation_text, "pairs-per-hour": throughput_text,
        "trials": robustness_text, "figures": lambda _: _pictures(name)
    }  # fmt: skip
    if view not in known:
        raise InputError(block["open"].strip(), expected=" or ".join(known), got=view, remedy="name a view")
    if (name in (*COSTS, THROUGHPUT, ROBUSTNESS) or name.endswith(("-peers", ABLATION))) and not any(
        history.glob(f"????-??-??-{name}.json")
    ):
        return "Not measured yet."
    if name == ROBUSTNESS:
        return known[view](latest_robustness(history))
    if name == THROUGHPUT:
        return known[view](latest_throughput(history))
    if name.endswith(ABLATION):
        return known[view](latest_ablation(history, name))
    return known[view](latest_cost(history, name) if name in COSTS else latest(history, name))


def _pictures(name: str) -> str:
    """Links from a document in `docs` to the figures of a record."""
    titles = {"oasis-peers": "Dice against seconds", "scaling": "Time and memory against voxels"}
    places = [(titles.get(name, name), figure.FIGURES.get(name))]
    if name in cost_figures.FIGURES:
        title = "Times as long as ours" if name.endswith("-peers") else titles[name]
        places.append((title, cost_figures.FIGURES[name][0]))
    return "\n\n".join(f"![{title}](figures/{place.name})" for title, place in places if place is not None)


def _summary(record: Record) -> str:
    unit = {"mm": "mm", "voxel": "voxels"}[record.data.distance_unit]
    header = ("method", "Dice", "lowest pair", f"HD95, {unit}", "folding, %", "SDlogJ", "time, s", "peak, MiB")
    rows = []
    for method in record.methods:
        spreads = record.summary[method.name]
        dice = spreads.get("dice")
        figures = (
            f"{_figure(dice, 'mean', 3)} ± {dice.deviation:.3f}" if dice else "",
            _figure(dice, "minimum", 3),
            _figure(spreads.get("hd95"), "mean", 2),
            _figure(spreads.get("folding_percent"), "mean", 4),
            _figure(spreads.get("sdlogj"), "mean", 3),
            f"{_figure(spreads.get('seconds'), 'median', 1)}{BUSY if record.busy(method.name) else ''}",
            _figure(spreads.get("peak_mib"), "maximum", 0),
        )
        rows.append((_title(record, method), *figures))
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in _notes(record))])


def _methods(record: Record) -> str:
    lines = []
    for method in record.methods:
        versions = ", ".join(f"{name} {number}" for name, number in method.versions.items())
        line = f"- {method.title}: {method.settings}{f' ({versions})' if versions else ''}. `{method.command}`."
        spreads = record.summary[method.name]
        if "seconds" in spreads:
            where = method.machine
            line += f" Time: {method.timing}; {where.cpu}, {where.cores} cores, {method.measured.isoformat()}."
        if "call_seconds" in spreads:
            line += f" The call alone, volumes in memory: {spreads['call_seconds'].median:.1f} s."
        lines.append(line)
    return "\n".join(lines)


def _pairs(record: Record) -> str:
    header = ("fixed ← moving", *(method.title for method in record.methods))
    columns = [
        ["failed" if case.dice is None else f"{case.dice:.3f}" for case in record.of(method.name)]
        for method in record.methods
    ]
    names = [f"{fixed} ← {moving}" for fixed, moving in record.data.pairs]
    means = [_figure(record.summary[method.name].get("dice"), "mean", 3) for method in record.methods]
    rows = [*zip(names, *columns, strict=True), ("mean", *means)]
    return "\n".join(table(header, rows))


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
    return (
        _title(record, row.ours),
        row.peer.title,
        str(row.pairs),
        f"{row.difference:+.4f}",
        f"{row.low:+.4f} to {row.high:+.4f}",
        f"{row.rank_biserial:+.2f}",
        f"{row.p:.2g}",
        f"{row.p_holm:.2g}",
    )


def _test_notes(record: Record, comparisons: Sequence[Comparison]) -> list[str]:
    notes = [
        "Difference: ours minus peer, mean over pairs, with its bootstrap interval. p: paired Wilcoxon signed-rank "
        "test, two-sided and exact; Holm's correction runs over the peers. Pairs share persons, so they are not "
        "independent and p is optimistic."
    ]
    fewest = min(row.pairs for row in comparisons)
    if fewest < _FEWEST_PAIRS:
        notes.append(f"With {fewest} pairs the smallest p that this test can give is {smallest_p(fewest):.2g}.")
    return notes


VIEWS: dict[str, Callable[[Record], str]] = {
    "summary": _summary,
    "methods": _methods,
    "pairs": _pairs,
    "structures": _structures,
    "dice-tests": partial(_tests, measure="dice"),
    "hd95-tests": partial(_tests, measure="hd95"),
}


def _title(record: Record, method: Method) -> str:
    """The title, with what must never be overlooked: labels in training, and failures."""
    trained = method.model not in (None, "none")
    told = {
        "unsupervised": "",
        "weakly supervised": " (weakly supervised)",
        None: " (training not told)" if trained else "",
    }
    failed = sum(case.failure is not None for case in record.of(method.name))
    return f"{method.title}{told[method.training]}{f' ({failed} of {len(record.data.pairs)} failed)' if failed else ''}"


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
    lines += [
        f"{method.title} failed on {case.fixed} ← {case.moving}: {case.failure}"
        for method in record.methods
        for case in record.of(method.name)
        if case.failure
    ]
    return lines


def _figure(spread: Spread | None, name: str, digits: int) -> str:
    if spread is None:
        return ""
    value = getattr(spread, name)
    return "0" if value == 0 else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
