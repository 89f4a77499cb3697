"""Forces as nodes of an ONNX graph: `network.force`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lightcrcf.network.config import Shape
from lightcrcf.network.force_config import FLOOR, FOREGROUND, GAIN, MIN_WEIGHTS, NOISE, RADIUS

__all__ = ["Graph", "Nodes", "unit_force"]

_END = np.iinfo(np.int64).max
_ALL = (1, 2, 3, 4)


class Graph(Protocol):
    """A builder of a graph; values are node names."""

    def node(self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """Add an operator with one output, and return its name."""

    def constant(self, values: Any, dtype: Any = np.int64, name: str | None = None) -> str:
        """Add a constant tensor, and return its name."""

    def warp(self, features: str, displacement: str) -> str:
        """Return `network.sampling.warp`."""

    def upsample(self, field: str) -> str:
        """Return `network.sampling.upsample`."""


class Nodes:
    """Arithmetic of a graph: operands are node names or numbers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, kind: str, *operands: str | float, **attributes: Any) -> str:
        """Add an operator, and return its name."""
        named = [o if isinstance(o, str) else self.graph.constant(o, np.float32) for o in operands]
        return self.graph.node(kind, named, **attributes)

    def product(self, *factors: str | float) -> str:
        """Return the product of all factors."""
        first, *others = factors
        for other in others:
            first = self("Mul", first, other)
        return str(first)

    def part(self, x: str, axis: int, start: int, end: int = _END) -> str:
        """Return x[start:end] along an axis."""
        return self.graph.node("Slice", [x, *(self.graph.constant([v]) for v in (start, end, axis))])

    def channels(self, x: str, count: int) -> list[str]:
        """Return the channels, one each."""
        return [self.part(x, 1, n, n + 1) for n in range(count)]

    def total(self, x: str, axes: Sequence[int]) -> str:
        """Return the sum over axes, which are kept."""
        return self.graph.node("ReduceSum", [x, self.graph.constant(list(axes))], keepdims=1)

    def replicated(self, x: str, axis: int, margin: int) -> str:
        """Return x with `margin` copies of its border voxels at both ends of an axis."""
        pads = [margin * (n % 5 == axis) for n in range(10)]
        return self.graph.node("Pad", [x, self.graph.constant(pads)], mode="edge")

    def window_mean(self, x: str) -> str:
        """Return the mean over the window of forces, zeros outside."""
        width = [2 * RADIUS + 1] * 3
        return self.graph.node("AveragePool", [x], kernel_shape=width, pads=[RADIUS] * 6, count_include_pad=1)


def unit_force(graph: Graph, fixed: str, moved: str, blocks: Shape | None = None) -> str:
    """Return `network.force.unit_force`, or the means of it over blocks of this shape."""
    n = Nodes(graph)
    squares = [n("Mul", fixed, fixed), n("Mul", moved, moved), n("Mul", fixed, moved)]
    f, m, ff, mm, fm = n.channels(n.window_mean(n("Concat", fixed, moved, *squares, axis=1)), 5)
    vf, vm = (n("Max", n("Sub", square, n("Mul", x, x)), 0.0) for square, x in ((ff, f), (mm, m)))
    c, s = n("Sub", fm, n("Mul", f, m)), n("Sqrt", vf)
    inverse = n("Div", 1.0, n("Add", n("Mul", vf, vm), FLOOR))
    below = n("Greater", n("Mul", n("Max", n("Sub", vf, NOISE), 0.0), vm), n("Mul", c, c))
    p = n("Where", below, n.product(2.0, s, c, inverse), 0.0)
    q = n.product(-1.0, p, c, inverse, vf)
    r = n("Add", n("Mul", p, f), n("Mul", q, m))
    p, q, r = n.channels(n.window_mean(n("Concat", p, q, r, axis=1)), 3)
    slope = n("Sub", n("Add", n("Mul", fixed, p), n("Mul", moved, q)), r)
    foreground = n.total(n("Cast", n("Greater", fixed, FOREGROUND), to=1), _ALL)
    unit = n("Div", n("Mul", n("Max", foreground, 1.0), 0.5 * GAIN), n("Max", n.total(s, _ALL), MIN_WEIGHTS))
    sides = [n.replicated(moved, axis, 1) for axis in (2, 3, 4)]
    differences = [n("Sub", n.part(x, a, 2), n.part(x, a, 0, -2)) for a, x in zip((2, 3, 4), sides, strict=True)]
    force = n.product(n("Concat", *differences, axis=1), slope, unit)
    unit = n("Div", force, n("Max", n("Sqrt", n.total(n("Mul", force, force), [1])), 1.0))
    return graph.node("AveragePool", [unit], kernel_shape=blocks, strides=blocks) if blocks else unit
