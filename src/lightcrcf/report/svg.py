"""Lines over pictures as SVG: outlines, deformed grids, histograms. Sharp at any size, small as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import ArrayLike, NDArray

from lightcrcf.report.slices import box_filter

__all__ = ["Histogram", "area_path", "outline_paths", "path"]

_MIN_LENGTH = 0.1  # of the picture's perimeter: shorter contours, of vessels and noise, would hide the others
_FINE = 4  # steps of one pixel


def path(lines: Iterable[ArrayLike]) -> str:
    """Return (N, 2) polylines of (column, row) as the `d` of an SVG path: relative, in quarters of a pixel.

    Example:
        >>> path([[(0, 0), (1, 0), (1, 1.5)]])
        'M0 0l4 0 0 6'
    """
    return "".join(_polyline(np.asarray(line, dtype=np.float64)) for line in lines)


def _polyline(line: NDArray[np.float64]) -> str:
    points = np.round(line * _FINE).astype(int)
    steps = np.diff(points, axis=0)
    steps = steps[np.any(steps != 0, axis=1)]
    if not len(steps):
        return ""
    return f"M{points[0, 0]} {points[0, 1]}l" + " ".join(f"{x} {y}" for x, y in steps.tolist())


def outline_paths(values: NDArray[np.float32], levels: Sequence[float]) -> list[str]:
    """Return one path per level: the contours of (rows, columns) values, smoothed a little; NaN is background.

    Short contours are omitted.
    """
    smooth = box_filter(np.nan_to_num(values, nan=float(np.nanmin(values)) if np.isfinite(values).any() else 0.0))
    found = contour_generator(z=smooth, line_type=LineType.Separate)
    lines = ([np.asarray(line) for line in found.lines(level)] for level in levels)
    shortest = _MIN_LENGTH * 2 * sum(values.shape)
    return [path(_every_other(line) for line in each if len(line) >= shortest) for each in lines]


def area_path(values: NDArray[np.float32]) -> str:
    """Return one path around all (rows, columns) values above 0.5, closed along the edges of the picture.

    It is to be filled by the rule `evenodd`, which leaves holes empty.

    Example:
        >>> area_path(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32))
        'M2 4l2 -2 2 2 -2 2 -2 -2'
    """
    rows, columns = values.shape
    found = contour_generator(z=np.pad(values, 1), line_type=LineType.Separate).lines(0.5)
    edge = np.array([columns - 1, rows - 1], dtype=np.float64)
    return path(np.clip(np.asarray(line) - 1, 0, edge) for line in found)


def _every_other(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every other point: contours have two per pixel."""
    return np.concatenate([line[:-1:2], line[-1:]])


@dataclass(frozen=True)
class Histogram:
    """Filled curves over one another.

    Args:
        title: for people who cannot see it.
        curves: a CSS class and the normalised counts of the bins, for each.
        ticks: places from 0 to 1 and their labels.
    """

    title: str
    curves: Sequence[tuple[str, NDArray[np.float64]]]
    ticks: Sequence[tuple[float, str]]

    @property
    def paths(self) -> list[tuple[str, str]]:
        """The CSS class and the SVG path of each curve, 400 units wide and up to 114 high."""
        top = max((float(counts.max()) for _, counts in self.curves), default=0.0) or 1.0
        return [(name, _steps(counts / top)) for name, counts in self.curves]


def _steps(counts: NDArray[np.float64]) -> str:
    """Return a staircase on a base line of 400 units; heights are square roots, which keep small bins visible."""
    edges = np.linspace(0, 400, len(counts) + 1).round(1)
    heights = (120 - 114 * np.sqrt(counts)).round(1)
    stairs = "".join(f"V{y:g}H{x:g}" for y, x in zip(heights, edges[1:], strict=True))
    return f"M0 120{stairs}V120Z"
