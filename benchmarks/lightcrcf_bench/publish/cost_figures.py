"""Figures of cost: bars of ratios between tools, and cost against size. Each file tells from what it was drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from lightcrcf.files import atomic_path
from lightcrcf_bench.publish.peer_views import time_ratio
from lightcrcf_bench.records.cost import ScalingRecord, latest_cost
from lightcrcf_bench.records.schema import Record, latest

__all__ = ["FIGURES", "draw", "is_current", "stale"]

_OURS, _PEER = "#c2410c", "#475569"
_SIZE_INCHES = (7.2, 3.6)


def stale(root: Path, history: Path) -> list[tuple[Path, Callable[[], object]]]:
    """Return outdated figures with the functions that draw them; none without a record."""
    found: list[tuple[Path, Callable[[], object]]] = []
    for name, (place, points, plot) in FIGURES.items():
        if any(history.glob(f"????-??-??-{name}.json")):
            record = latest_cost(history, name) if name == "scaling" else latest(history, name)
            values, path = points(record), root / place
            if values and not is_current(path, values):
                found.append((path, partial(draw, path, values, plot)))
    return found


def draw(
    path: Path, values: Any, plot: Callable[[Any, Any], None], size_inches: tuple[float, float] = _SIZE_INCHES
) -> None:
    """Draw values as SVG; the same values give the same bytes with one Matplotlib release."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "lightcrcf", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure, values)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            metadata = {"Date": None, "Description": f"data sha256 {_digest(values)}"}
            figure.savefig(temporary, format="svg", metadata=metadata)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def is_current(path: Path, values: Any) -> bool:
    """Return whether the figure was drawn from these values."""
    return path.is_file() and f"data sha256 {_digest(values)}" in path.read_text(encoding="utf-8")


def _ratio_bars(record: Record) -> dict[str, Any]:
    """Draw times relative to our fastest method with a network, and forward passes relative to ours."""
    timed = {timing.method for timing in record.timings}
    ours = next((m for m in record.methods if m.ours and m.model and m.name in timed), None)
    bars = []
    if ours is not None:
        bars = [
            (method.title, round(ratio, 3), method.ours)
            for method in record.methods
            if (ratio := time_ratio(record, method.name, ours.name)) is not None
        ]
    forwards = {f.name: (f.title, median(f.each_ms)) for f in record.forwards if f.each_ms}
    own = forwards.get("lightcrcf")
    passes = [(title, round(ms / own[1], 3), title == own[0]) for title, ms in forwards.values()] if own else []
    sides = {"whole command": sorted(bars, key=_second), "forward pass and warp": sorted(passes, key=_second)}
    return {title: rows for title, rows in sides.items() if rows}


def _second(row: tuple[Any, ...]) -> float:
    return float(row[1])


def _plot_bars(figure: Any, sides: dict[str, Any]) -> None:
    all_axes = figure.subplots(1, len(sides), squeeze=False)[0]
    for axes, (title, rows) in zip(all_axes, sides.items(), strict=True):
        names, ratios = [row[0] for row in rows], [row[1] for row in rows]
        bars = axes.barh(names, ratios, color=[_OURS if row[2] else _PEER for row in rows])
        axes.bar_label(bars, [f"{ratio:.3g}" for ratio in ratios], padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(min(ratios) / 1.5, max(ratios) * 3)
        axes.set_xlabel("times as long as ours (log scale)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)


def _growth(record: ScalingRecord) -> list[tuple[int, list[tuple[float, float, float]]]]:
    """Return (million voxels, compute seconds, peak GiB) of each size, by number of threads."""
    lines = []
    for threads in sorted({run.threads for run in record.runs}):
        points = [
            (round(run.voxels / 1e6, 3), round(run.core.median_ms / 1e3, 4), round(run.command_peak_mib / 1024, 3))
            for run in record.of(threads)
            if run.core and run.command_peak_mib
        ]
        if points:
            lines.append((threads, points))
    return lines


def _plot_growth(figure: Any, lines: list[tuple[int, list[tuple[float, float, float]]]]) -> None:
    time, memory = figure.subplots(1, 2)
    for (threads, points), colour in zip(lines, (_PEER, _OURS, "#0f766e", "#7c3aed"), strict=False):
        voxels = [point[0] for point in points]
        label = f"{threads} thread{'' if threads == 1 else 's'}"
        time.plot(voxels, [point[1] for point in points], "o-", color=colour, label=label)
        memory.plot(voxels, [point[2] for point in points], "o-", color=colour, label=label)
    for axes, what in ((time, "compute, seconds"), (memory, "whole command, peak GiB")):
        axes.set_xlabel("million voxels")
        axes.set_ylabel(what)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.1 * max(axes.get_ylim()))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e2e8f0", linewidth=0.8)
    time.legend(frameon=False)


FIGURES: dict[str, tuple[Path, Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    "oasis-peers": (Path("docs/figures/oasis-ratios.svg"), _ratio_bars, _plot_bars),
    "scaling": (Path("docs/figures/scaling.svg"), _growth, _plot_growth),
}
