"""3x3x3 convolution for few channels on large grids, where libraries' kernels leave half of their width empty.

OpenVINO's (oneDNN's) kernels compute blocks of 16 channels, and the finest level of the network has 8. Here the width
of the processor's vectors lies along the voxels: four output channels of a few hundred voxels stay in the first-level
cache, and twelve weights in registers, while all input channels go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import ZERO

__all__ = ["PackedConvolution", "convolve"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

TOGETHER = 4  # output channels
FLOW = 3  # output channels of a head, which have a loop of their own
VOXELS = 576  # computed together, lines with their margins one after the other
STRIDE = VOXELS + 16  # between channels of the sums: no power of two, so that they share the cache's places
VECTOR = 16


class PackedConvolution:
    """Weights in the order in which `convolve` reads them.

    Args:
        weight: (O, I, 3, 3, 3).
        bias: (O,).
        slope: of the leaky ReLU that follows; 1 for none.
    """

    def __init__(self, weight: Float32, bias: Float32, slope: float) -> None:
        outputs, inputs = weight.shape[:2]
        together = outputs if outputs == FLOW else TOGETHER
        groups = -(-outputs // together)
        padded = np.zeros((groups * together, inputs, 3, 3, 3), np.float32)
        padded[:outputs] = weight
        # (I, 3, 3, groups, 4, 3): the last axis runs along the width.
        ordered = padded.reshape(groups, together, inputs, 3, 3, 3).transpose(2, 3, 4, 0, 1, 5)
        self.weight: Float32 = np.ascontiguousarray(ordered).ravel()
        self.bias: Float32 = np.zeros(groups * together, np.float32)
        self.bias[:outputs] = bias
        self.slope, self.inputs, self.outputs = np.float32(slope), inputs, outputs


def convolve(
    sources: Sequence[Float32], packed: PackedConvolution, out: Float32, start: Float32 | None = None
) -> Float32:
    """out = the leaky ReLU of the convolution of all channels of the sources, zeros beyond the borders.

    Args:
        sources: (C, D, H, W) each; their channels add up to the inputs of the weights.
        packed: weights, bias and slope.
        out: (O, D, H, W) float32, overwritten and returned.
        start: (O, D, H, W), what other channels have added already; may not be `out`.

    Raises:
        ValueError: if the channels are others than the weights are for, or `start` has another shape than `out`.

    Example:
        >>> packed = PackedConvolution(np.ones((1, 2, 3, 3, 3), np.float32), np.array([0.5], np.float32), 1.0)
        >>> ones = np.ones((1, 3, 4, 5), np.float32)
        >>> convolve([ones, ones], packed, np.empty_like(ones))[0, 1, 1].tolist()
        [36.5, 54.5, 54.5, 54.5, 36.5]
    """
    inputs = tuple(ready(source) for source in sources)
    channels = sum(source.shape[0] for source in inputs)
    if (packed.inputs, packed.outputs) != (channels, out.shape[0]):
        raise ValueError(f"weights for {packed.inputs} to {packed.outputs} channels, not {channels} to {out.shape[0]}")
    if start is not None and start.shape != out.shape:
        raise ValueError(f"start of shape {out.shape}, not {start.shape}")
    begun = ready(np.empty((0, 1, 1, 1)) if start is None else start)
    _convolve(inputs, packed.weight, packed.bias, packed.slope, begun, out)
    return out


@kernel
def _convolve(sources: Any, weight: Array, bias: Array, slope: Any, start: Array, out: Array) -> None:
    depth, height, width = out.shape[1:]
    length = min(width, VOXELS - 2)
    rows = min(VOXELS // (length + 2), height)
    across, along = -(-width // length), -(-height // rows)
    for t in prange(depth * along * across):
        tile = np.int64(t)
        i, j, k = tile // (along * across), tile // across % along * rows, tile % across * length
        _convolve_tile(sources, weight, bias, slope, start, i, j, k, min(rows, height - j), min(length, width - k), out)


@device
def _convolve_tile(
    sources: Any,
    weight: Array,
    bias: Array,
    slope: Any,
    start: Array,
    i: Any,
    j: Any,
    k: Any,
    rows: Any,
    length: Any,
    out: Array,
) -> None:
    """Voxels j : j + rows and k : k + length of plane i.

    What is computed in the margins between the lines, and beyond the last one, is never looked at.
    """
    span = length + 2
    count = -(-(rows * span - 2) // VECTOR) * VECTOR
    plane = 2 * span + count + 2
    lines = np.zeros(3 * plane, np.float32)
    sums = np.empty(bias.size * STRIDE, np.float32)
    for o in range(bias.size):
        for n in range(count):
            sums[o * STRIDE + n] = bias[o]
    for o in range(start.shape[0]):
        for r in range(rows):
            begun, line = start[o, i, j + r, k:], sums[o * STRIDE + r * span :]
            for n in range(length):
                line[n] += begun[n]
    w = 0
    for source in sources:
        for c in range(source.shape[0]):
            for a in range(3):
                _load(source[c], i + a - 1, j - 1, k - 1, rows + 2, span, lines[a * plane :])
            for a in range(3):
                for b in range(3):
                    if bias.size == FLOW:
                        _add_flow(sums, lines, a * plane + b * span, count, weight, w)
                        w += FLOW * 3
                    for g in range(bias.size // TOGETHER):
                        _add(sums, g * TOGETHER * STRIDE, lines, a * plane + b * span, count, weight, w)
                        w += TOGETHER * 3
    for o in range(out.shape[0]):
        for r in range(rows):
            line, found = out[o, i, j + r, k:], sums[o * STRIDE + r * span :]
            for n in range(length):
                line[n] = found[n] if found[n] > ZERO else slope * found[n]


@device
def _load(image: Array, i: Any, first: Any, begin: Any, rows: Any, span: Any, lines: Array) -> None:
    """Lines of `span` voxels from plane i, from row `first` and column `begin` on; zeros outside."""
    depth, height, width = image.shape
    low, high = max(-begin, 0), min(span, width - begin)
    for r in range(rows):
        line = lines[r * span :]
        j = first + r
        if 0 <= i < depth and 0 <= j < height:
            inside = image[i, j, begin + low :]
            for n in range(low):
                line[n] = ZERO
            for n in range(high - low):
                line[low + n] = inside[n]
            for n in range(high, span):
                line[n] = ZERO
        else:
            for n in range(span):
                line[n] = ZERO


@device
def _add(sums: Array, at: Any, lines: Array, begin: Any, count: Any, w: Array, m: Any) -> None:
    """Add three taps along the width to four channels. The order lets each product join a sum in one instruction."""
    a0, a1, a2 = w[m], w[m + 1], w[m + 2]
    b0, b1, b2 = w[m + 3], w[m + 4], w[m + 5]
    c0, c1, c2 = w[m + 6], w[m + 7], w[m + 8]
    d0, d1, d2 = w[m + 9], w[m + 10], w[m + 11]
    line, first = lines[begin:], sums[at:]
    for n in range(count):
        x, y, z = line[n], line[n + 1], line[n + 2]
        first[n] = a2 * z + (a1 * y + (a0 * x + first[n]))
        first[n + STRIDE] = b2 * z + (b1 * y + (b0 * x + first[n + STRIDE]))
        first[n + 2 * STRIDE] = c2 * z + (c1 * y + (c0 * x + first[n + 2 * STRIDE]))
        first[n + 3 * STRIDE] = d2 * z + (d1 * y + (d0 * x + first[n + 3 * STRIDE]))


@device
def _add_flow(sums: Array, lines: Array, begin: Any, count: Any, w: Array, m: Any) -> None:
    """`_add` for three channels."""
    a0, a1, a2 = w[m], w[m + 1], w[m + 2]
    b0, b1, b2 = w[m + 3], w[m + 4], w[m + 5]
    c0, c1, c2 = w[m + 6], w[m + 7], w[m + 8]
    line = lines[begin:]
    for n in range(count):
        x, y, z = line[n], line[n + 1], line[n + 2]
        sums[n] = a2 * z + (a1 * y + (a0 * x + sums[n]))
        sums[n + STRIDE] = b2 * z + (b1 * y + (b0 * x + sums[n + STRIDE]))
        sums[n + 2 * STRIDE] = c2 * z + (c1 * y + (c0 * x + sums[n + 2 * STRIDE]))
