"""Times of the layers of the native network, by a wrapper around `engines.layers.Layers`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from lightcrcf.engines.layers import Layers
from lightcrcf_bench.speed.tracing import Event, nbytes

__all__ = ["TimedLayers", "Timer"]

_KERNEL = 27  # weights of a 3x3x3 convolution for an input and an output channel
# Operations, and which of their arguments has the grid that they are named after.
_NAMES = {
    "to_channels_last": ("channels last", 0), "warp": ("warp features", 1), "correlate": ("correlate features", 0),
    "repeat": ("repeat features", 2), "to_features": ("round to features", 0), "compose": ("compose flows", 0),
    "warp_image": ("warp image", 1),
}  # fmt: skip


class Timer:
    """Events of one run.

    Args:
        shape: of the images, to which scales refer.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.events: list[Event] = []
        self._shape = tuple(shape)

    def call(self, label: str, function: Callable[..., Any], *given: Any, gflop: float = 0.0, **named: Any) -> Any:
        """Return function(*given, **named), and add an event."""
        start = time.perf_counter()
        found = function(*given, **named)
        seconds = time.perf_counter() - start
        self.events.append(Event(label, start, seconds, nbytes([*given, *named.values(), found]), gflop))
        return found

    def at(self, name: str, grid: Sequence[int]) -> str:
        """Return the name with the scale of a grid.

        Example:
            >>> Timer((32, 48, 64)).at("warp", (8, 12, 16))
            'warp 1/4'
        """
        return f"{name} 1/{max(round(n / m) for n, m in zip(self._shape, grid, strict=True))}"


class TimedLayers:
    """Layers that time each of their operations; everything else is theirs.

    Args:
        layers: that compute.
        timer: for the events; may be replaced between runs.
    """

    def __init__(self, layers: Layers, timer: Timer) -> None:
        self._layers, self.timer = layers, timer

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._layers, name)
        if name in ("convolve", "flow"):
            return lambda sources, convolution, out, *given, **named: self.timer.call(
                _layer(convolution.name), found, sources, convolution, out, *given, **named,
                gflop=2 * _KERNEL * convolution.inputs * convolution.outputs * prod(_grid(out)) / 1e9,
            )  # fmt: skip
        if name == "space_to_depth":
            return lambda *given: self.timer.call("space to depth", found, *given)
        if name == "upsample":
            return lambda *given: self.timer.call(self.timer.at("upsample flow", given[1]), found, *given)
        if name in _NAMES:
            label, place = _NAMES[name]
            return lambda *given: self.timer.call(self.timer.at(label, _grid(given[place])), found, *given)
        return found


def _layer(name: str) -> str:
    """Return the label of a convolution.

    Example:
        >>> _layer("encoder.0"), _layer("levels.1.first, fixed image")
        ('encoder 1/2', 'decoder 1/4, first, fixed image')
    """
    kind, level, rest = re.fullmatch(r"(encoder|levels)\.(\d)\.?(.*)", name).groups()  # type: ignore[union-attr]
    part = "encoder" if kind == "encoder" else "decoder"
    return f"{part} 1/{2 ** (int(level) + 1)}" + (f", {rest}" if rest else "")


def _grid(features: Any) -> tuple[int, ...]:
    """Return the grid of an array (C, D, H, W), or of features that have it as their shape."""
    return tuple(features.shape[-3:])
