"""Figure of the convergence of a template, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from pathlib import Path
from typing import Any

from lightcrcf.report.render import render

__all__ = ["draw"]

_WIDTH, _HEIGHT = 290.0, 140.0
_PANELS = (
    ("mean_shift_rms_mm", "mean displacement, mm", "distance of the template from the mean shape"),
    ("change_rms", "change of the template", "RMS, 1 is the brightest tissue"),
    ("local_correlation", "local correlation", "of the images with the template"),
    ("sharpness", "sharpness, 1/mm", "mean gradient inside of the tissue; 0 is the affine mean"),
)


def draw(path: Path, stages: Sequence[Mapping[str, Any]]) -> None:
    """Draw metrics of all iterations as SVG; equal metrics give equal bytes.

    Args:
        path: of the SVG file.
        stages: entries of `template.json` with "number" and "figures"; 0 is the affine mean.
    """
    panels = [
        _panel(title, meaning, [(s["number"], s["figures"][name]) for s in stages if name in s["figures"]])
        for name, title, meaning in _PANELS
    ]
    path.write_text(render("convergence.svg", panels=panels, width=_WIDTH, height=_HEIGHT), encoding="utf-8")


def _panel(title: str, meaning: str, values: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Lay out one metric against the iterations, from zero upwards; lengths are from the panel's top left corner."""
    first, last = (values[0][0], values[-1][0]) if values else (0, 1)
    top = 1.15 * max((value for _, value in values), default=1.0) or 1.0

    def column(number: int) -> float:
        return round(_WIDTH * (number - first) / max(last - first, 1), 2)

    def row(value: float) -> float:
        return round(_HEIGHT * (1 - value / top), 2)

    step, skip = _step(top), 1 + (last - first) // 10
    return {
        "title": title,
        "meaning": meaning,
        "points": [(column(number), row(value)) for number, value in values],
        "columns": [(column(number), str(number)) for number in range(first, last + 1, skip)],
        "rows": [(row(n * step), f"{n * step:g}") for n in range(int(top / step) + 1)],
    }


def _step(span: float) -> float:
    """Return the smallest step of 1, 2 or 5 times a power of ten that divides `span` into five parts at most.

    Example:
        >>> [_step(span) for span in (0.03, 1.1, 7, 20)]
        [0.01, 0.5, 2.0, 5.0]
    """
    least = span / 5
    unit = 10.0 ** floor(log10(least))
    return float(next(n * unit for n in (1, 2, 5, 10) if n * unit >= least))
