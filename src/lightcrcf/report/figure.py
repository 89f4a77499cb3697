"""Rows of pictures as one PNG file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lightcrcf.report.planes import Plane

__all__ = ["Painter", "Row", "png"]

Painter = Callable[[Axes], object]

_WIDTH_INCHES, _BAND_INCHES, _DPI = 9.6, 0.24, 120
_BRIGHT = "#d8d8d8"
# Letters have a dark rim, to be read on any picture.
_INK: dict[str, Any] = {"color": _BRIGHT, "fontsize": 8, "path_effects": [withStroke(linewidth=2, foreground="black")]}


@dataclass(frozen=True)
class Row:
    """One picture for each plane, side by side.

    Args:
        title: what the row shows.
        painters: one for each plane.
        scale: colours and their meaning, for a colour bar in the row's last picture.
    """

    title: str
    painters: tuple[Painter, ...]
    scale: ScalarMappable | None = None


def png(views: Sequence[Plane], rows: Sequence[Row]) -> bytes:
    """Draw rows of pictures, on black, all with the same pixels per millimetre; the same input gives the same bytes.

    Args:
        views: the planes, left to right.
        rows: what to draw on them, top to bottom.

    Returns:
        A PNG file.
    """
    widths = [plane.grid.shape[1] for plane in views]
    row_inches = _WIDTH_INCHES * max(plane.grid.shape[0] for plane in views) / sum(widths)
    height = len(rows) * (row_inches + _BAND_INCHES)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, facecolor="black")
    FigureCanvasAgg(figure)
    cells = figure.add_gridspec(
        len(rows),
        len(views),
        width_ratios=widths,
        left=0,
        right=1,
        bottom=0,
        top=1 - _BAND_INCHES / height,
        wspace=0.02,
        hspace=_BAND_INCHES / row_inches,
    )
    for number, row in enumerate(rows):
        drawn = [figure.add_subplot(cells[number, column]) for column in range(len(views))]
        for axes, plane, paint in zip(drawn, views, row.painters, strict=True):
            _draw(axes, plane, paint)
        drawn[0].annotate(row.title, (0, 1), (4, 4), xycoords="axes fraction", textcoords="offset points", **_INK)
        if row.scale is not None:
            _colour_bar(drawn[-1], row.scale)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="black", metadata={"Software": None})
    return stream.getvalue()


def _draw(axes: Axes, plane: Plane, paint: Painter) -> None:
    rows, columns, _ = plane.grid.shape
    paint(axes)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal", anchor="C")
    axes.set_axis_off()
    for letter, x, y in zip(plane.letters, (0.02, 0.98, 0.5, 0.5), (0.5, 0.5, 0.97, 0.03), strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center", **_INK)


def _colour_bar(axes: Axes, scale: ScalarMappable) -> None:
    place = axes.inset_axes((0.9, 0.1, 0.03, 0.8))
    bar = axes.figure.colorbar(scale, cax=place, extend="neither")
    ticks = (1 / 3, 1 / 2, 1, 2, 3)
    bar.set_ticks(ticks, labels=["1/3", "1/2", "1", "2", "3"])
    bar.ax.minorticks_off()
    bar.ax.tick_params(color=_BRIGHT, length=2, right=False, labelright=False, left=True, labelleft=True)
    for label in bar.ax.get_yticklabels():
        label.set(**_INK)
