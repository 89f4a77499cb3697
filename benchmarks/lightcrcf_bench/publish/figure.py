"""Dice against seconds, drawn from a record; the file tells from which figures it was drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightcrcf.files import atomic_path
from lightcrcf_bench.records.schema import BUSY, Record

__all__ = ["FIGURES", "Point", "digest", "draw", "is_current", "plot", "points"]

FIGURES = {
    "brain-accuracy": Path("docs/figures/brain-accuracy.svg"),
    "oasis-peers": Path("docs/figures/oasis-peers.svg"),
}
_OURS, _PEER, _INK = "#c2410c", "#475569", "#0f172a"
_SIZE_INCHES = (7.2, 4.2)
_NOT_DRAWN = ("lightcrcf-diffeomorphic", "lightcrcf-bf16")  # on top of the points of default and fast


@dataclass(frozen=True)
class Point:
    """One method in the figure: mean Dice, median seconds of the whole command.

    Args:
        title: with a dagger if the time was taken beside other work, and with what is missing of its pairs.
        ours: or a peer.
        saw_labels: in training.
        seconds: median.
        dice: mean.
        lowest: Dice of the worst pair.
        highest: Dice of the best pair.
    """

    title: str
    ours: bool
    saw_labels: bool
    seconds: float
    dice: float
    lowest: float
    highest: float


def points(record: Record) -> list[Point]:
    """Return the methods that have a Dice and a time, rounded as far as a figure shows."""
    found = []
    for method in record.methods:
        spreads = record.summary[method.name]
        if "dice" in spreads and "seconds" in spreads and method.name.partition("@")[0] not in _NOT_DRAWN:
            dice = spreads["dice"]
            figures = (spreads["seconds"].median, dice.mean, dice.minimum, dice.maximum)
            seconds, mean, lowest, highest = (round(figure, 4) for figure in figures)
            title = f"{method.title}{BUSY if record.busy(method.name) else ''}{record.shortfall(method.name)}"
            saw_labels = method.training == "weakly supervised"
            found.append(Point(title, method.ours, saw_labels, seconds, mean, lowest, highest))
    return found


def digest(record: Record) -> str:
    """Return the digest that a figure of this record stores, to detect an outdated figure."""
    return hashlib.sha256(json.dumps([asdict(point) for point in points(record)]).encode()).hexdigest()


def is_current(path: Path, record: Record) -> bool:
    """Return whether the figure was drawn from the current record."""
    return path.is_file() and f"data sha256 {digest(record)}" in path.read_text(encoding="utf-8")


def draw(path: Path, record: Record) -> None:
    """Draw a record's methods as SVG: Dice against seconds on a logarithmic axis, ours joined by a line.

    Bars reach from the lowest to the highest pair. The same record gives the same bytes with one Matplotlib release.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "lightcrcf", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        plot(axes, record)
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None, "Description": f"data sha256 {digest(record)}"}
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata=metadata)


def plot(axes: Any, record: Record) -> None:
    """Draw the points of a record into Matplotlib axes; methods that saw labels are hollow and off the line."""
    found = points(record)
    for point in found:
        colour, marker = (_OURS, "o") if point.ours else (_PEER, "s")
        fill = "white" if point.saw_labels else colour
        axes.vlines(point.seconds, point.lowest, point.highest, color=colour, alpha=0.35, linewidth=2)
        axes.plot(point.seconds, point.dice, marker, color=colour, markerfacecolor=fill, markersize=7, zorder=3)
    ours = sorted((point.seconds, point.dice) for point in found if point.ours and not point.saw_labels)
    axes.plot([second for second, _ in ours], [dice for _, dice in ours], color=_OURS, linewidth=1.2, zorder=2)
    axes.set_xscale("log")
    _limits(axes, found)
    _label(axes, found)
    _describe(axes, record, found)


def _label(axes: Any, found: Sequence[Point]) -> None:
    for point, (above, right) in zip(found, _label_places(found), strict=True):
        axes.annotate(
            f"{point.title}\nlabels in training" if point.saw_labels else point.title,
            (point.seconds, point.dice),
            xytext=(8 if right else -8, 6 if above else -6),
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom" if above else "top",
            fontsize=9,
            color=_OURS if point.ours else _INK,
        )


def _describe(axes: Any, record: Record, found: Sequence[Point]) -> None:
    busy = f"\n{BUSY} taken while other work kept the machine busy, so too long"
    cores = record.methods[0].machine.cores
    axes.set_title(f"{len(record.data.pairs)} pairs, {record.data.labels.split(',')[0]}", loc="left", fontsize=10)
    axes.set_xlabel(
        f"seconds for one pair, whole command, {cores} cores (log scale; left is faster)"
        f"{busy if any(BUSY in point.title for point in found) else ''}"
    )
    axes.set_ylabel("mean Dice (up is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", which="major", color="#e2e8f0", linewidth=0.8, zorder=0)


def _limits(axes: Any, found: Sequence[Point]) -> None:
    """Set axis limits with room for labels, and plain tick labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    seconds = [point.seconds for point in found]
    if seconds:
        axes.set_xlim(min(seconds) / 2.2, max(seconds) * 2.2)
        axes.margins(y=0.14)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_places(found: Sequence[Point]) -> list[tuple[bool, bool]]:
    """Return for each point whether its label goes above and to the right, away from the nearest point."""
    slowest = max((point.seconds for point in found), default=0.0)
    places = []
    for point in found:
        near = [o for o in found if o is not point and 0.4 < o.seconds / point.seconds < 2.5]
        closest = min(near, key=lambda other: abs(other.dice - point.dice), default=None)
        places.append((closest is None or closest.dice <= point.dice, point.seconds < slowest / 3))
    return places
