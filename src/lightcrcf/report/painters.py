"""What one picture is painted with; all draw on axes in pixel coordinates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from lightcrcf.report.slices import box3

__all__ = ["FOLD_COLOUR", "LARGEST_RATIO", "gray", "grid_lines", "outlined", "ratio_map"]

Float32 = NDArray[np.float32]

FOLD_COLOUR = "#ff00ff"
LARGEST_RATIO = 3.0
_OUTLINE_COLOURS = ("#ffd24a", "#37d5ff")
_LINE_COLOUR = "#7cfc9a"


def gray(axes: Axes, *, image: Float32) -> None:
    """An image (rows, columns) of grey values from 0 to 1; NaN is black."""
    axes.imshow(np.nan_to_num(image), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")


def outlined(axes: Axes, *, image: Float32, values: Float32, levels: tuple[float, ...]) -> None:
    """A grey `image` under the contours of other `values` at `levels`."""
    gray(axes, image=image)
    _contours(axes, values, levels, _OUTLINE_COLOURS)


def grid_lines(axes: Axes, *, image: Float32, lines: list[NDArray[np.float64]]) -> None:
    """Polylines (N, 2) of (column, row) over a dimmed grey `image`."""
    gray(axes, image=image * np.float32(0.6))
    axes.add_collection(LineCollection(lines, colors=_LINE_COLOUR, linewidths=0.6), autolim=False)


def ratio_map(axes: Axes, *, ratio: Float32, values: Float32, levels: tuple[float, ...], scale: ScalarMappable) -> None:
    """A map of volume ratios under contours; zero and below, where space folds, has a colour of its own."""
    colours = scale.to_rgba(np.where(np.isfinite(values), ratio, np.float32(np.nan)))
    colours[np.isfinite(values) & (ratio <= 0)] = to_rgba(FOLD_COLOUR)
    axes.imshow(colours, interpolation="nearest")
    _contours(axes, values, levels, ("#555555", "#999999"))


def _contours(axes: Axes, values: Float32, levels: tuple[float, ...], colours: tuple[str, ...]) -> None:
    smooth = box3(np.nan_to_num(values))
    for level, colour in zip(levels, colours, strict=False):
        if smooth.min() < level < smooth.max():  # matplotlib warns about a level that is nowhere
            axes.contour(smooth, levels=[level], colors=[colour], linewidths=0.7)
