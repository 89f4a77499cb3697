"""Tables and figures of records in documents: `lightcrcf bench report`, from the repository root.

A document asks for a table with a pair of comments, and everything between them is replaced:

    <!-- record: brain-accuracy summary -->
    <!-- end of record -->

The views of records of accuracy are `summary` (a row for each method), `brief` (few rows and columns), `methods` (how
each was run), `pairs` and `structures` (Dice of each), `dice-tests` and `hd95-tests` (ours against each peer), `ratios`
(of time and memory) and `forwards` (networks' forward passes); `kinds` lists those of other records. `figures` links,
from a document in `docs`, to the figures of a record, which are those of `figure`, `cost_figures` and, for all records
of overlap against smoothness together, `smoothness.figure`. What is not measured yet gives one line, unless it is
accuracy.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lightcrcf_bench.publish import cost_figures, figure
from lightcrcf_bench.publish import smoothness_figure as frontier_figure
from lightcrcf_bench.publish.kinds import NOT_YET, table_of
from lightcrcf_bench.records.history import has_record
from lightcrcf_bench.records.schema import latest
from lightcrcf_bench.smoothness.frontier import FRONTIER

__all__ = ["HISTORY", "documents", "main", "render"]

HISTORY = Path("benchmarks/history")
_BLOCK = re.compile(
    r"(?P<open><!-- record: (?P<name>\S+) (?P<view>\S+) -->\n)(?P<body>.*?)(?P<close><!-- end of record -->)", re.DOTALL
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Update documents and figures; with `--check` only list outdated ones. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightcrcf_bench.publish.render", description=__doc__)
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
    """Return the Markdown files that may show records."""
    folders = ("", "docs/**/", "benchmarks/", "src/lightcrcf/weights/models/")
    return sorted(path for folder in folders for path in root.glob(f"{folder}*.md"))


def render(text: str, history: Path) -> str:
    """Return `text` with every record block rendered from the newest record of its name.

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
    stale: Stale = [*cost_figures.stale(root, root / HISTORY), *frontier_figure.stale(root, root / HISTORY)]
    for name, place in figure.FIGURES.items():
        if has_record(root / HISTORY, name):
            record = latest(root / HISTORY, name)
            if not figure.is_current(root / place, record):
                stale.append((root / place, partial(figure.draw, root / place, record)))
    return stale


def _table(block: re.Match[str], history: Path) -> str:
    name, view = block["name"], block["view"]
    if view == "figures":
        return _pictures(name) if has_record(history, name) else NOT_YET
    return table_of(name, view, history)


def _pictures(name: str) -> str:
    """Return links from a document in `docs` to the figures of a record."""
    titles = {"oasis-peers": "Dice against seconds", "scaling": "Time and memory against voxels"}
    places = [(titles.get(name, name), figure.FIGURES.get(name))]
    if name in cost_figures.FIGURES:
        title = "Times as long as ours" if name.endswith("-peers") else titles[name]
        places.append((title, cost_figures.FIGURES[name][0]))
    if name.endswith(FRONTIER):
        places.append(("Overlap against smoothness", frontier_figure.figure_of(name.removesuffix(FRONTIER))))
    return "\n\n".join(f"![{title}](figures/{place.name})" for title, place in places if place is not None)


if __name__ == "__main__":
    sys.exit(main())
