"""Line charts as SVG: series of numbers over steps, with axes in round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chart", "Series", "round_ticks"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 414, 12, 152  # of the plot in the view box of 424 by 178
_MOST_POINTS = 240
_CLIPPED_PERCENT = 1.0  # at either end of a long series: single steps would squeeze the rest into a line

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """Values over steps.

    Args:
        label: name of it.
        steps, values: (N,) each.
        kind: CSS class: "line", "faint", or "dashed".
        dotted: whether each value is marked, for few values.
    """

    label: str
    steps: Float
    values: Float
    kind: str = "line"
    dotted: bool = False

    def subsampled(self) -> tuple[Float, Float]:
        """Return at most 240 points, means of neighbours."""
        parts = max(1, -(-len(self.steps) // _MOST_POINTS))
        starts = np.arange(0, len(self.steps), parts)
        counts = np.diff([*starts, len(self.steps)])
        return np.add.reduceat(self.steps, starts) / counts, np.add.reduceat(self.values, starts) / counts

    def averaged(self, label: str, share: float = 0.04) -> Series:
        """Return running means over a share of the series.

        Args:
            label: of the result.
            share: of the number of values.
        """
        width = max(1, round(share * len(self.values)))
        sums = np.concatenate([[0.0], np.cumsum(self.values)])
        first = np.maximum(np.arange(1, len(self.values) + 1) - width, 0)
        means = (sums[1:] - sums[first]) / (np.arange(1, len(self.values) + 1) - first)
        return Series(label, self.steps, means)


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart of one or several series.

    Args:
        title: above it.
        meaning: a sentence below the title.
        series: from the one below to the one on top.
        last_step: right end of the horizontal axis.
        marks: steps of vertical lines.
        from_zero: whether the vertical axis begins at 0.
    """

    title: str
    meaning: str
    series: Sequence[Series]
    last_step: int
    marks: Sequence[int] = field(default=())
    from_zero: bool = False

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper end of the vertical axis."""
        shown = [value for each in self.series for value in self._extremes(each)]
        low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
        if self.from_zero:
            low = min(low, 0.0)
        pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
        return (0.0 if self.from_zero and low == 0 else low - pad), high + pad

    def _extremes(self, series: Series) -> tuple[float, ...]:
        values = series.values[np.isfinite(series.values)]
        if not len(values):
            return ()
        if len(values) < 50 or series.dotted:
            return float(values.min()), float(values.max())
        low, high = np.percentile(values, [_CLIPPED_PERCENT, 100 - _CLIPPED_PERCENT])
        return float(low), float(high), float(values[-1])

    def _x(self, step: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * step / max(self.last_step, 1), 1)

    def _y(self, value: float) -> float:
        low, high = self.limits
        return round(float(np.clip(_BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low), _TOP, _BOTTOM)), 1)

    @property
    def paths(self) -> list[tuple[str, str, str]]:
        """CSS class, label, and SVG path of each series."""
        drawn = []
        for each in self.series:
            steps, values = each.subsampled() if len(each.steps) else (each.steps, each.values)
            points = [f"{self._x(s):g} {self._y(v):g}" for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
            drawn.append((each.kind, each.label, f"M{'L'.join(points)}" if points else ""))
        return drawn

    @property
    def dots(self) -> list[tuple[float, float, str]]:
        """Position of each marked value, and a text of it."""
        return [
            (self._x(step), self._y(value), f"{each.label}: {value:.4g} at step {step:,.0f}")
            for each in self.series
            if each.dotted
            for step, value in zip(each.steps, each.values, strict=True)
            if math.isfinite(value)
        ]

    @property
    def rows(self) -> list[tuple[float, str]]:
        """Height and label of the horizontal lines."""
        return [(self._y(value), text) for value, text in round_ticks(*self.limits, most=5)]

    @property
    def columns(self) -> list[tuple[float, str]]:
        """Place and label of the ticks below."""
        return [(self._x(value), text) for value, text in round_ticks(0, max(self.last_step, 1), most=6)]

    @property
    def places(self) -> list[float]:
        """Places of the vertical lines."""
        return [self._x(step) for step in self.marks]


def round_ticks(low: float, high: float, *, most: int) -> list[tuple[float, str]]:
    """Return round numbers from `low` to `high` with their texts, at most `most`.

    Example:
        >>> round_ticks(0, 1250, most=4), round_ticks(0.61, 0.648, most=3)
        ([(0.0, '0'), (500.0, '500'), (1000.0, '1,000')], [(0.62, '0.62'), (0.64, '0.64')])
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ticks = [(round(number * step, digits), number * step) for number in numbers]
    scientific = digits > 4
    return [(at, f"{value:.2g}" if scientific else f"{value:,.{digits}f}") for at, value in ticks]
