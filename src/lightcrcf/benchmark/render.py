"""Tables of records in documents: `python -m lightcrcf.benchmark.render`, from the repository root.

A document asks for a table with a pair of comments, and everything between them is replaced:

    <!-- record: brain-accuracy summary -->
    <!-- end of record -->

The views are `summary` (a row for each method) and `pairs` (Dice of each pair).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lightcrcf.benchmark.records import Record, Spread, latest
from lightcrcf.errors import InputError

__all__ = ["HISTORY", "VIEWS", "documents", "main", "render"]

HISTORY = Path("benchmarks/history")
_BLOCK = re.compile(
    r"(?P<open><!-- record: (?P<name>\S+) (?P<view>\S+) -->\n)(?P<body>.*?)(?P<close><!-- end of record -->)", re.DOTALL
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the documents up to date; with `--check` only say which are not. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf.benchmark.render", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a document is out of date")
    options = parser.parse_args(arguments)
    stale = []
    for path in documents(options.root):
        old = path.read_text(encoding="utf-8")
        new = render(old, options.root / HISTORY)
        if new != old:
            stale.append(path)
            if not options.check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
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


def _table(block: re.Match[str], history: Path) -> str:
    if block["view"] not in VIEWS:
        raise InputError(block["open"].strip(), expected=" or ".join(VIEWS), got=block["view"], remedy="name a view")
    return VIEWS[block["view"]](latest(history, block["name"]))


def _summary(record: Record) -> str:
    header = ("method", "Dice", "lowest pair", "HD95, mm", "folding, %", "SDlogJ", "time, s", "peak, MiB")
    rows = []
    for method in record.methods:
        spreads = record.summary[method.name]
        figures = (
            _figure(spreads.get("dice"), "mean", 3),
            _figure(spreads.get("dice"), "minimum", 3),
            _figure(spreads.get("hd95_mm"), "mean", 2),
            _figure(spreads.get("folding_percent"), "mean", 4),
            _figure(spreads.get("sdlogj"), "mean", 3),
            _figure(spreads.get("seconds"), "median", 1),
            _figure(spreads.get("peak_mib"), "maximum", 0),
        )
        rows.append((method.title, *figures))
    return "\n".join([*_markdown(header, rows), "", *(f"- {note}" for note in _footnotes(record))])


def _pairs(record: Record) -> str:
    header = ("fixed ← moving", *(method.title for method in record.methods))
    columns = [[f"{case.dice:.3f}" for case in record.of(method.name)] for method in record.methods]
    names = [f"{fixed} ← {moving}" for fixed, moving in record.data.pairs]
    means = [_figure(record.summary[method.name]["dice"], "mean", 3) for method in record.methods]
    rows = [*zip(names, *columns, strict=True), ("mean", *means)]
    return "\n".join(_markdown(header, rows))


VIEWS: dict[str, Callable[[Record], str]] = {"summary": _summary, "pairs": _pairs}


def _figure(spread: Spread | None, name: str, digits: int) -> str:
    if spread is None:
        return ""
    value = getattr(spread, name)
    return "0" if value == 0 else f"{value:.{digits}f}"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ("---", *("---:" for _ in header[1:]))
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def _footnotes(record: Record) -> list[str]:
    data = record.data
    lines = [f"{data.name}; {data.labels}; {data.split}, {len(data.pairs)} pairs. {record.protocol}"]
    lines.append("Dice, HD95, folding and SDlogJ are means over pairs, time is the median, memory the largest.")
    for method in record.methods:
        if record.summary[method.name].get("seconds") is None:
            continue
        where = method.machine
        versions = ", ".join(f"{name} {number}" for name, number in method.versions.items())
        lines.append(
            f"{method.title}: {method.settings} ({versions}). Time: {method.timing}; "
            f"{where.cpu}, {where.cores} cores, {method.measured.isoformat()}."
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
