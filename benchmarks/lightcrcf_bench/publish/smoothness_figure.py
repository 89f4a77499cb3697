"""Overlap against smoothness, a panel for each data set and a curve for each tool, drawn from all records at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightcrcf_bench.publish import cost_figures
from lightcrcf_bench.records.history import has_record
from lightcrcf_bench.smoothness.equal import ROUGHNESS, overlap_of
from lightcrcf_bench.smoothness.frontier import DATA_SETS, LUNG, frontier_name
from lightcrcf_bench.smoothness.ladder import CURVES, DEFAULT, FAST, PEERS
from lightcrcf_bench.smoothness.record import SmoothnessRecord, latest_smoothness

__all__ = ["FIGURE", "panels", "plot", "stale"]

FIGURE = Path("docs/figures/frontier.svg")
_COLOURS = {DEFAULT: "#c2410c", FAST: "#f59e0b", "greedy": "#475569", "syn": "#0f766e"}
_MARKERS = {DEFAULT: "o", FAST: "D", "greedy": "s", "syn": "^"}
_TITLES = {
    "brain": "bare brains", "hippocampus": "hippocampi", "abdomen": "abdomens", "heads": "whole heads", LUNG: "lungs",
}  # fmt: skip
_COLUMNS, _PANEL_INCHES = 2, (3.9, 2.9)
Panel = dict[str, Any]


def stale(root: Path, history: Path) -> list[tuple[Path, Callable[[], object]]]:
    """The figure and what draws it, if it was not drawn from what the records hold now; nothing without a record."""
    found, path = panels(history), root / FIGURE
    if not found or cost_figures.is_current(path, found):
        return []
    rows = -(-len(found) // _COLUMNS)
    size = (_PANEL_INCHES[0] * min(len(found), _COLUMNS), _PANEL_INCHES[1] * rows + 0.4)
    return [(path, partial(cost_figures.draw, path, found, plot, size))]


def panels(history: Path) -> list[Panel]:
    """What is drawn, rounded as far as a figure shows: means over the cases of each setting."""
    names = [name for name in (*DATA_SETS, LUNG) if has_record(history, frontier_name(name))]
    return [_panel(name, latest_smoothness(history, frontier_name(name))) for name in names]


def _panel(name: str, record: SmoothnessRecord) -> Panel:
    figure = overlap_of(record)[0]
    curves = []
    for curve in (DEFAULT, FAST, *PEERS):
        points = []
        for setting in record.curve(curve):
            rough, value = (record.mean(setting.name, what) for what in (ROUGHNESS, figure))
            if rough is not None and value is not None:
                points.append([round(rough, 4), round(value, 4), setting.usual])
        if points:
            curves.append({"curve": curve, "points": sorted(points)})
    cases = len(record.data.names)
    title = f"{_TITLES[name]}, {cases} pair{'' if cases == 1 else 's'}"
    return {"title": title, "error": figure != "dice", "curves": curves}


def plot(figure: Any, found: list[Panel]) -> None:
    """Draw panels into a Matplotlib figure; the setting that a tool's users get without asking is filled."""
    columns = min(len(found), _COLUMNS)
    all_axes = figure.subplots(-(-len(found) // columns), columns, squeeze=False).ravel()
    shown: dict[str, Any] = {}
    for axes, panel in zip(all_axes, found, strict=False):
        for row in panel["curves"]:
            shown[CURVES[row["curve"]]] = _curve(axes, row["curve"], row["points"])
        axes.set_title(panel["title"], loc="left", fontsize=10)
        axes.set_xlim(left=0)
        axes.set_xlabel("SDlogJ inside the anatomy (left is smoother)", fontsize=8)
        axes.set_ylabel("error, mm (down is better)" if panel["error"] else "mean Dice (up is better)", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e2e8f0", linewidth=0.8)
    for axes in all_axes[len(found) :]:
        axes.set_visible(False)
    figure.legend(
        shown.values(),
        shown.keys(),
        loc="outside lower center",
        ncols=min(4, 2 * len(found)),
        frameon=False,
        fontsize=8,
    )


def _curve(axes: Any, curve: str, points: list[Any]) -> Any:
    colour, marker = _COLOURS[curve], _MARKERS[curve]
    (line,) = axes.plot(
        [point[0] for point in points], [point[1] for point in points], f"{marker}-", color=colour, linewidth=1.4,
        markersize=5, markerfacecolor="white",
    )  # fmt: skip
    for rough, value, usual in points:
        if usual:
            axes.plot(rough, value, marker, color=colour, markersize=6, zorder=3)
    return line
