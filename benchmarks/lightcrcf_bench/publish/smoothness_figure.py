"""Overlap against smoothness, a panel for each data set and a curve for each tool, drawn from all records at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightcrcf_bench.publish import cost_figures
from lightcrcf_bench.records.history import has_record
from lightcrcf_bench.smoothness.contrasts import CONTRAST_SETS
from lightcrcf_bench.smoothness.equal import ROUGHNESS, overlap_of
from lightcrcf_bench.smoothness.frontier import DATA_SETS, LUNG, frontier_name
from lightcrcf_bench.smoothness.ladder import (
    CONVEXADAM,
    CURVES,
    DEFAULT,
    ELASTIX,
    FAST,
    GREEDY_NMI,
    PEERS,
    PEERS_ACROSS,
)
from lightcrcf_bench.smoothness.record import SmoothnessRecord, latest_smoothness

__all__ = ["FIGURES", "figure_of", "panels", "plot", "stale"]

FIGURES = {
    Path("docs/figures/frontier.svg"): (*DATA_SETS, LUNG),
    Path("docs/figures/contrasts.svg"): tuple(CONTRAST_SETS),
}
"""Where each figure lies, and its data sets."""
_COLOURS = {
    DEFAULT: "#c2410c", FAST: "#f59e0b", "greedy": "#475569", GREEDY_NMI: "#475569", "syn": "#0f766e",
    ELASTIX: "#7c3aed", CONVEXADAM: "#be185d",
}  # fmt: skip
_MARKERS = {
    DEFAULT: "o", FAST: "D", "greedy": "s", GREEDY_NMI: "s", "syn": "^", ELASTIX: "v", CONVEXADAM: "P",
}  # fmt: skip
_TITLES = {
    "brain": "bare brains", "hippocampus": "hippocampi", "abdomen": "abdomens", "heads": "whole heads", LUNG: "lungs",
    **{data_set: f"{name} of another person" for data_set, name in CONTRAST_SETS.items()},
}  # fmt: skip
_COLUMNS, _PANEL_INCHES = 2, (3.9, 2.9)
Panel = dict[str, Any]


def figure_of(data_set: str) -> Path | None:
    """Return the figure that shows a data set; None if none does."""
    return next((path for path, shown in FIGURES.items() if data_set in shown), None)


def stale(root: Path, history: Path) -> list[tuple[Path, Callable[[], object]]]:
    """Return the figures that were not drawn from what the records hold now, and what draws each."""
    found: list[tuple[Path, Callable[[], object]]] = []
    for figure, data_sets in FIGURES.items():
        drawn, path = panels(history, data_sets), root / figure
        if drawn and not cost_figures.is_current(path, drawn):
            rows = -(-len(drawn) // _COLUMNS)
            size = (_PANEL_INCHES[0] * min(len(drawn), _COLUMNS), _PANEL_INCHES[1] * rows + 0.4)
            found.append((path, partial(cost_figures.draw, path, drawn, plot, size)))
    return found


def panels(history: Path, data_sets: Sequence[str]) -> list[Panel]:
    """Return what is drawn, rounded as far as a figure shows: means over the cases of each setting."""
    names = [name for name in data_sets if has_record(history, frontier_name(name))]
    return [_panel(name, latest_smoothness(history, frontier_name(name))) for name in names]


def _panel(name: str, record: SmoothnessRecord) -> Panel:
    figure = overlap_of(record)[0]
    curves = []
    for curve in dict.fromkeys((DEFAULT, FAST, *PEERS, *PEERS_ACROSS)):
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
