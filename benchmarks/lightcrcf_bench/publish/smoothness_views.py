"""Tables of records of smoothness."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from lightcrcf_bench.publish.goals import goals_text
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.publish.settings_text import settings_text, versions_text
from lightcrcf_bench.publish.smoothness_goals import SMOOTHNESS_GOALS
from lightcrcf_bench.records.schema import BUSY
from lightcrcf_bench.smoothness.equal import at_equal_smoothness, overlap_of
from lightcrcf_bench.smoothness.ladder import CURVES, DEFAULT, PEERS, PEERS_ACROSS
from lightcrcf_bench.smoothness.record import SECONDS, Setting, SmoothnessRecord

__all__ = ["SMOOTHNESS_VIEWS"]

_PLACES = (("_inside", "inside"), ("", "whole grid"))
_OVERLAPS = {
    "dice": ("Dice", 3),
    "target_error_mm": ("error of landmarks, mm", 2),
    "correlation": ("correlation", 4),
    "residual_mm": ("residual, mm", 3),
    "error_mean_mm": ("mean error, mm", 3),
    "error_median_mm": ("median, mm", 3),
    "error_p95_mm": ("95 %, mm", 3),
}
_NOTE = (
    "Means over cases, ± the standard deviation between them; the largest ratio of all of them; seconds of the whole "
    "command, their median."
)


def _settings(record: SmoothnessRecord) -> str:
    """Return a row for each method and setting."""
    shown = [name for name in _OVERLAPS if any(name in figures for figures in record.summary.values())]
    header = ["method", *(_OVERLAPS[name][0] for name in shown)]
    for suffix, where in _PLACES:
        if _has(record, f"sdlogj{suffix}"):
            header.append(f"SDlogJ, {where}")
        if _has(record, f"ratio_max{suffix}"):
            header += [f"ratios 1 % to 99 %, {where}", f"largest, {where}", f"folding, %, {where}"]
    rows = [[_title(record, method), *_row(record, method.name, shown)] for method in record.methods]
    busy = any(_busy(record, method) for method in record.methods)
    data = record.data
    notes = [
        "",
        f"- {data.name}; {data.persons}, {len(data.names)} cases. {record.protocol} {_NOTE}",
        *([f"- {BUSY} taken while other work kept the machine busy, so too long."] if busy else []),
        *_failures(record),
    ]
    return "\n".join([*table([*header, "time, s"], rows), *notes])


def _row(record: SmoothnessRecord, name: str, shown: list[str]) -> list[str]:
    cells = [_with_spread(record, name, figure, _OVERLAPS[figure][1]) for figure in shown]
    summary = record.summary[name]
    for suffix, _ in _PLACES:
        if _has(record, f"sdlogj{suffix}"):
            cells.append(_with_spread(record, name, f"sdlogj{suffix}", 3))
        if _has(record, f"ratio_max{suffix}"):
            ends = [summary.get(f"ratio_{end}{suffix}") for end in ("p1", "p99")]
            cells.append(" to ".join(f"{end.mean:.2f}" for end in ends if end is not None))
            largest, folding = summary.get(f"ratio_max{suffix}"), summary.get(f"folding_percent{suffix}")
            cells.append("" if largest is None else f"{largest.maximum:.1f}")
            cells.append("" if folding is None else f"{folding.mean:.3g}")
    seconds, busy = summary.get(SECONDS), _busy(record, next(m for m in record.methods if m.name == name))
    return [*cells, "" if seconds is None else f"{seconds.median:.1f}{BUSY if busy else ''}"]


def _with_spread(record: SmoothnessRecord, name: str, figure: str, digits: int) -> str:
    found = record.summary[name].get(figure)
    return "" if found is None else f"{found.mean:.{digits}f} ± {found.deviation:.{digits}f}"


def _has(record: SmoothnessRecord, figure: str) -> bool:
    return any(figure in figures for figures in record.summary.values())


def _title(record: SmoothnessRecord, method: Setting) -> str:
    return (
        f"{method.title}{' (its default)' if method.usual and method.smoothness else ''}{record.shortfall(method.name)}"
    )


def _busy(record: SmoothnessRecord, method: Setting) -> bool:
    loads = sorted(t.load_before for t in record.of(method.name) if t.load_before is not None)
    return bool(loads) and loads[len(loads) // 2] > method.machine.cores + 1


def _failures(record: SmoothnessRecord) -> list[str]:
    return [f"- {t.method} failed on {t.case}: {t.failure}." for t in record.trials if t.failure is not None]


def _equal(record: SmoothnessRecord) -> str:
    """Render our overlap at the smoothness of each setting of other tools."""
    figure, sign = overlap_of(record)
    name, digits = _OVERLAPS[figure]
    rows = []
    for peer in dict.fromkeys((*PEERS, *PEERS_ACROSS)):
        for found in at_equal_smoothness(record, DEFAULT, peer):
            mine = "not as smooth" if found.ours is None else f"{found.ours:.{digits}f}"
            gain = "" if found.ours is None else f"{sign * (found.ours - found.theirs):+.{digits}f}"
            ahead = f"{found.ahead} of {found.cases}" if found.cases else ""
            theirs = f"{found.theirs:.{digits}f}"
            rows.append((_title(record, found.setting), f"{found.roughness:.3f}", theirs, mine, gain, ahead))
    if not rows:
        return "Not measured yet: ours and another tool on the same cases."
    header = ("setting", "SDlogJ, inside", name, f"{CURVES[DEFAULT]} there", "better by", "ahead in")
    note = (
        "- Ours is interpolated between its settings of smoothness, along the curve of means and, for the last column, "
        "along that of each case. Where ours is nowhere as rough, its roughest field counts."
    )
    return "\n".join([*table(header, rows), "", note])


def _by_truth(record: SmoothnessRecord) -> str:
    """Return mean error of each method for each maker of truths."""
    return _by(record, lambda case: case.partition(" ")[0], "truth of ")


def _by_images(record: SmoothnessRecord) -> str:
    """Return mean error of each method for each pair of images, whatever the truth."""
    return _by(record, lambda case: case.partition(" ")[2], "")


def _by(record: SmoothnessRecord, part: Callable[[str], str], prefix: str) -> str:
    """Return mean error of each method, a column for each part of the cases' names."""
    parts = list(dict.fromkeys(map(part, record.data.names)))
    measured = [one for one in parts if any(part(trial.case) == one for trial in record.trials)]
    header, rows = ["method"], []
    for one in measured:
        found = [t.figures["truth_sdlogj_inside"] for t in record.trials if part(t.case) == one and t.failure is None]
        spread = f", SDlogJ {fmean(found):.2f}" if found and prefix else ""
        header.append(f"{prefix}{one}{spread}")
    for method in record.methods:
        cells = []
        for one in measured:
            trials = [t for t in record.of(method.name) if part(t.case) == one and t.failure is None]
            errors = [trial.figures["error_mean_mm"] for trial in trials]
            cells.append(f"{fmean(errors):.3f} ({len(errors)})" if errors else "")
        rows.append((method.title, *cells))
    return "\n".join([*table(header, rows), "", "- Mean error in mm, and of how many cases it is the mean."])


def _methods(record: SmoothnessRecord) -> str:
    """List how each method was run."""
    lines = []
    for method in record.methods:
        versions = versions_text(method.versions)
        settings = f"{settings_text(method)} ({versions})" if versions else settings_text(method)
        where = f"{method.machine.cpu}, {method.machine.cores} cores, {method.measured}"
        lines.append(f"- {method.title}: {settings}. `{method.command}`. Time: {method.timing}; {where}.")
    return "\n".join(lines)


def _goals(record: SmoothnessRecord) -> str:
    return goals_text(SMOOTHNESS_GOALS.get(record.name, ()), record)


SMOOTHNESS_VIEWS: dict[str, Callable[[SmoothnessRecord], str]] = {
    "settings": _settings,
    "equal": _equal,
    "by-truth": _by_truth,
    "by-images": _by_images,
    "methods": _methods,
    "goals": _goals,
}
