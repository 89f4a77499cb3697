"""Breakdown of time, from traces of several runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from lightcrcf_bench.records.cost import Part
from lightcrcf_bench.speed.tracing import Event

__all__ = ["parts"]


def parts(traces: Sequence[Sequence[Event]], flops: Mapping[str, float] | None = None) -> list[Part]:
    """Return the parts, in the order of their first call; times are medians over the traced runs.

    Args:
        traces: what was traced in each run; all did the same.
        flops: 10^9 operations of one call, by name of the part.

    Example:
        >>> [part.ms for part in parts([[Event("warp", 0.0, 0.002, 8)], [Event("warp", 5.0, 0.004, 8)]])]
        [3.0]
    """
    sums: dict[str, list[float]] = defaultdict(list)
    for events in traces:
        own: dict[str, float] = defaultdict(float)
        for event in events:
            own[event.label] += 1e3 * event.seconds
        for label, milliseconds in own.items():
            sums[label].append(milliseconds)
    first, known = traces[0], flops or {}
    return [
        Part(
            name=label,
            calls=(calls := sum(event.label == label for event in first)),
            ms=round(median(milliseconds), 3),
            gflop=round(calls * known.get(label, 0.0), 6),
            mb=round(sum(event.bytes_moved for event in first if event.label == label) / 1e6, 3),
        )
        for label, milliseconds in sums.items()
    ]
