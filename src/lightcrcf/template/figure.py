"""How a template converged, drawn from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw"]

_INK, _LINE, _GRID = "#0f172a", "#c2410c", "#e2e8f0"
_SIZE_INCHES = (7.6, 5.2)
_PANELS = (
    ("mean_shift_rms_mm", "mean displacement, mm", "how far off the centre the template was"),
    ("change_rms", "change of the template", "RMS, 1 is the brightest tissue"),
    ("local_correlation", "local correlation", "of the images with the template"),
    ("sharpness", "sharpness, 1/mm", "mean gradient inside of the tissue; 0 is the affine mean"),
)


def draw(path: Path, stages: Sequence[Mapping[str, Any]]) -> None:
    """Draw the figures of all iterations as SVG; the same figures give the same bytes with one Matplotlib release.

    Args:
        path: to write.
        stages: with "number" and "figures", as `template.json` has them; 0 is the affine mean.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "lightcrcf", "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        for axes, (name, title, what) in zip(figure.subplots(2, 2).ravel(), _PANELS, strict=True):
            _panel(axes, [(s["number"], s["figures"][name]) for s in stages if name in s["figures"]])
            axes.set_title(f"{title}\n", loc="left", fontsize=10, color=_INK)
            axes.text(0, 1.03, what, transform=axes.transAxes, fontsize=8, color="#475569")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Any, points: Sequence[tuple[int, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.plot([n for n, _ in points], [value for _, value in points], "o-", color=_LINE, markersize=5, linewidth=1.4)
    axes.set_ylim(0, 1.15 * max((value for _, value in points), default=1.0) or 1.0)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
