"""Tables of tools side by side: ratios of time and memory, and networks' forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Method
from lightcrcf_bench.records.schema import BUSY, Forward, Record, Timing

__all__ = ["PEER_VIEWS", "time_ratio"]


def time_ratio(record: Record, peer: str, ours: str) -> float | None:
    """Return median over pairs of a peer's seconds over ours on the same pair; None if they have none in common."""
    seconds = {(t.method, t.fixed, t.moving): t.seconds for t in record.timings}
    ratios = [
        seconds[peer, fixed, moving] / seconds[ours, fixed, moving]
        for fixed, moving in record.data.pairs
        if (peer, fixed, moving) in seconds and (ours, fixed, moving) in seconds
    ]
    return median(ratios) if ratios else None


def _ratios(record: Record) -> str:
    ours = [method for method in record.methods if method.ours and _runs(record, method)]
    header = ("method", "Dice", "folding, %", "time, s", "peak, MiB", *(f"time / {method.title}" for method in ours))
    rows = []
    for method in record.methods:
        spreads = record.summary[method.name]
        dice, folding = spreads.get("dice"), spreads.get("folding_percent")
        seconds, peak = spreads.get("seconds"), spreads.get("peak_mib")
        ratios = (time_ratio(record, method.name, own.name) for own in ours)
        rows.append(
            (
                f"{method.title}{record.shortfall(method.name)}",
                f"{dice.mean:.3f}" if dice else "",
                f"{folding.mean:.3g}" if folding else "",
                f"{seconds.median:.1f}{BUSY if record.busy(method.name) else ''}" if seconds else "",
                f"{peak.maximum:.0f}" if peak else "",
                *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            )
        )
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in _notes(record))])


def _runs(record: Record, method: Method) -> list[Timing]:
    return [timing for timing in record.timings if timing.method == method.name]


def _notes(record: Record) -> list[str]:
    data = record.data
    notes = [
        f"{data.name}; {data.labels}; {data.split}. {record.protocol}",
        "Dice and folding are means over pairs, time is the median of the whole command, memory the largest; ratios "
        "are medians over pairs of one method's time over the other's on the same pair.",
    ]
    reasons = {(m.title, c.failure) for m in record.methods for c in record.of(m.name) if c.failure}
    notes += [f"{title} failed: {reason}" for title, reason in sorted(reasons)]
    if any(record.busy(method.name) for method in record.methods):
        notes.append(f"{BUSY} taken while other work kept the machine busy, so too long.")
    return notes


def _forwards(record: Record) -> str:
    if not record.forwards:
        return "No forward passes in this record."
    ours = next((forward for forward in record.forwards if forward.name == "lightcrcf"), None)
    header = ("network", "parameters", "GMAC", "forward and warp, ms", "time / ours", "peak, MiB")
    rows = [_forward(forward, ours) for forward in record.forwards]
    first = record.forwards[0]
    passes = len(ours.each_ms) if ours else 0
    size = "x".join(map(str, first.shape))
    note = (
        f"{size} voxels, made-up images, float32, {first.threads} threads, random weights where there are no public "
        f"ones; medians of {_passes(record.forwards)} passes, of {passes} of ours, in turn, in processes of their own "
        "and after a pass that does not count. Peers run in PyTorch with its defaults, ours in its default engine."
    )
    return "\n".join([*table(header, rows), "", f"- {note}"])


def _passes(forwards: Sequence[Forward]) -> str:
    """Return the number of passes of the other tools."""
    return " to ".join(map(str, sorted({len(f.each_ms) for f in forwards if f.each_ms and f.name != "lightcrcf"})))


def _forward(forward: Forward, ours: Forward | None) -> tuple[str, ...]:
    if not forward.each_ms:
        return (f"{forward.title} ({forward.failure})", *[""] * 5)
    time = median(forward.each_ms)
    return (
        forward.title,
        f"{forward.parameters:,}",
        f"{forward.gmac:.0f}",
        f"{time:.0f}",
        f"{time / median(ours.each_ms):.1f}" if ours and ours.each_ms else "",
        "" if forward.peak_mib is None else f"{forward.peak_mib:.0f}",
    )


PEER_VIEWS: dict[str, Callable[[Record], str]] = {"ratios": _ratios, "forwards": _forwards}
