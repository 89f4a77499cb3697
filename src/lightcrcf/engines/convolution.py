"""3x3x3 convolution for few channels on large grids, where libraries' kernels leave half of their width empty.

OpenVINO's (oneDNN's) kernels compute blocks of 16 channels, and the finest level of the network has 8. Here the width
of the processor's vectors lies along the voxels. Along the rows it is Winograd's minimal filtering F(4, 3): six sums,
over six mixtures of six lines, make four lines of the output, with half of the multiplications of the direct way.

Source:
    A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3 (F(4, 3)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.lanes import LANES
from lightcrcf.geometry.sampling import ZERO
from lightcrcf.geometry.tiles import Tile, add, begin, put_floats, vectors_are_long

__all__ = ["PackedConvolution", "convolve"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

# Tiles: output channels, and vectors of each, at the end of the lines only one.
WIDE: Tile = (8, 3) if vectors_are_long() else (4, 1)
TOGETHER = WIDE[0]
FLOW = 3  # output channels of a head, which have tiles of their own
FLOW_WIDE: Tile = (4, 4) if vectors_are_long() else (4, 1)
ROWS, MIXTURES = 4, 6  # lines that are made together, and mixtures of the six lines that they are made of
# The transform of the three weights along the rows, G of the source.
MIXED = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
TWO, FOUR, FIVE, EIGHT = np.float32(2), np.float32(4), np.float32(5), np.float32(8)

VOXELS = 416  # of one mixture that are summed together, lines with their margins one after the other
# Strides within a loop are constants, so that the compiler sees what does not overlap, and no powers of two, so that
# they share the cache's places.
LINE = 272  # between lines
STRIDE = VOXELS + LANES  # between mixtures
CHANNEL = MIXTURES * STRIDE  # all mixtures of a plane of one channel
LONGEST = 256 - 2  # voxels of a line, without its margins
GROUPS = 8  # of lines, at most
PLANES = 8  # computed one after the other: each plane is mixed once for the three that it is part of


class PackedConvolution:
    """Weights as `convolve` reads them, transformed along the rows.

    Args:
        weight: (O, I, 3, 3, 3).
        bias: (O,).
        slope: of the leaky ReLU that follows; 1 for none.
    """

    def __init__(self, weight: Float32, bias: Float32, slope: float) -> None:
        outputs, inputs = weight.shape[:2]
        together = FLOW_WIDE[0] if outputs == FLOW else TOGETHER
        sets = -(-outputs // together)
        padded = np.zeros((sets * together, inputs, 3, 3, 3))
        padded[:outputs] = weight
        mixed = np.einsum("mb,oiabc->moiac", MIXED, padded)
        # (6, sets, I, 3, 3, outputs): mixture, outputs, input, plane, along the width, outputs together.
        ordered = mixed.reshape(MIXTURES, sets, together, inputs, 3, 3).transpose(0, 1, 3, 4, 5, 2)
        self.weight: Float32 = np.ascontiguousarray(ordered, np.float32).ravel()
        self.bias: Float32 = np.zeros(sets * together, np.float32)
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
        >>> convolve([ones, ones], packed, np.empty_like(ones))[0, 1, 1].round(2).tolist()
        [36.5, 54.5, 54.5, 54.5, 36.5]
    """
    inputs = tuple(ready(source) for source in sources)
    channels = sum(source.shape[0] for source in inputs)
    if (packed.inputs, packed.outputs) != (channels, out.shape[0]):
        raise ValueError(f"weights for {packed.inputs} to {packed.outputs} channels, not {channels} to {out.shape[0]}")
    if start is not None and start.shape != out.shape:
        raise ValueError(f"start of shape {out.shape}, not {start.shape}")
    begun = ready(np.empty((0, 1, 1, 1)) if start is None else start)
    _convolve(inputs, channels, packed.weight, packed.bias, packed.slope, begun, out)
    return out


@kernel
def _convolve(sources: Any, channels: Any, weight: Array, bias: Array, slope: Any, start: Array, out: Array) -> None:
    depth, height, width = out.shape[1:]
    across = -(-width // LONGEST)
    length = -(-width // across)
    every = -(-height // ROWS)
    down = -(-every // min(max(VOXELS // (length + 2), 1), GROUPS))
    groups = -(-every // down)
    deep = -(-depth // PLANES)
    for t in prange(deep * down * across):
        tile = np.int64(t)
        i, j, k = tile // (down * across) * PLANES, tile // across % down * groups * ROWS, tile % across * length
        if j < height and k < width:
            _convolve_tile(sources, channels, weight, bias, slope, start, i, j, k, groups, min(length, width - k), out)


@device
def _convolve_tile(
    sources: Any,
    channels: Any,
    weight: Array,
    bias: Array,
    slope: Any,
    start: Array,
    first: Any,
    j: Any,
    k: Any,
    groups: Any,
    length: Any,
    out: Array,
) -> None:
    """Some planes from `first` on, the rows of `groups` from j on, and voxels k : k + length.

    What is computed in the margins between the lines, and beyond the last one, is never looked at.
    """
    depth, height = out.shape[1:3]
    span = length + 2
    count = -(-(groups * span - 2) // LANES) * LANES
    lines = np.zeros((ROWS * groups + 2) * LINE, np.float32)
    mixed = np.zeros(
        3 * channels * CHANNEL, np.float32
    )  # of three planes, each at the place of its number modulo three
    sums, zeros = np.empty(bias.size * CHANNEL, np.float32), np.zeros(TOGETHER, np.float32)
    _mix(sources, first - 1, j, k, groups, span, lines, mixed[(first + 2) % 3 * channels * CHANNEL :])
    _mix(sources, first, j, k, groups, span, lines, mixed[first % 3 * channels * CHANNEL :])
    for i in range(first, min(first + PLANES, depth)):
        _mix(sources, i + 1, j, k, groups, span, lines, mixed[(i + 1) % 3 * channels * CHANNEL :])
        for m in range(MIXTURES):
            if out.shape[0] == FLOW:
                _sum_flow(mixed, i, m, channels, count, weight, zeros, 0, sums)
            else:
                for g in range(bias.size // TOGETHER):
                    _sum(mixed, i, m, channels, count, weight, zeros, g, sums)
        for o in range(out.shape[0]):
            for m in range(groups):
                _unmix(sums[o * CHANNEL + m * span :], length, bias[o], lines)
                for r in range(min(ROWS, height - j - m * ROWS)):
                    line, found = out[o, i, j + m * ROWS + r, k:], lines[r * LINE :]
                    if start.shape[0] > 0:
                        begun = start[o, i, j + m * ROWS + r, k:]
                        for n in range(length):
                            found[n] += begun[n]
                    for n in range(length):
                        line[n] = found[n] if found[n] > ZERO else slope * found[n]


@device
def _mix(sources: Any, i: Any, j: Any, k: Any, groups: Any, span: Any, lines: Array, mixed: Array) -> None:
    """The mixtures of plane i of all channels, from row j - 1 and column k - 1 on: B transposed of the source."""
    at = 0
    for source in sources:
        for c in range(source.shape[0]):
            _load(source[c], i, j - 1, k - 1, ROWS * groups + 2, span, lines)
            for m in range(groups):
                x, t = lines[m * ROWS * LINE :], mixed[at + m * span :]
                for n in range(span):
                    d1, d2, d3, d4 = x[n + LINE], x[n + 2 * LINE], x[n + 3 * LINE], x[n + 4 * LINE]
                    even, odd = d4 - FOUR * d2, d3 - FOUR * d1
                    near, far = d4 - d2, TWO * (d3 - d1)
                    t[n] = FOUR * x[n] - FIVE * d2 + d4
                    t[n + STRIDE] = even + odd
                    t[n + 2 * STRIDE] = even - odd
                    t[n + 3 * STRIDE] = near + far
                    t[n + 4 * STRIDE] = near - far
                    t[n + 5 * STRIDE] = FOUR * d1 - FIVE * d3 + x[n + 5 * LINE]
            at += CHANNEL


@device
def _unmix(sums: Array, length: Any, bias: Any, lines: Array) -> None:
    """Four lines of the output: A transposed of the source."""
    for n in range(length):
        plus, minus = sums[n + STRIDE] + sums[n + 2 * STRIDE], sums[n + STRIDE] - sums[n + 2 * STRIDE]
        far_plus, far_minus = sums[n + 3 * STRIDE] + sums[n + 4 * STRIDE], sums[n + 3 * STRIDE] - sums[n + 4 * STRIDE]
        lines[n] = sums[n] + plus + far_plus + bias
        lines[n + LINE] = minus + TWO * far_minus + bias
        lines[n + 2 * LINE] = plus + FOUR * far_plus + bias
        lines[n + 3 * LINE] = minus + EIGHT * far_minus + sums[n + 5 * STRIDE] + bias


@device
def _load(image: Array, i: Any, first: Any, begin: Any, rows: Any, span: Any, lines: Array) -> None:
    """Lines of `span` voxels from plane i, from row `first` and column `begin` on; zeros outside."""
    depth, height, width = image.shape
    low, high = max(-begin, 0), min(span, width - begin)
    for r in range(rows):
        line = lines[r * LINE :]
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


def _tile(tile: Tile, channels_out: int) -> Any:
    """one(mixed, i, at, channels, weight, w, zeros, sums, to): a tile of plane i from voxel `at` of a mixture on."""
    together = tile[0]
    start, further, put = begin(tile), add(tile), put_floats(tile, channels_out)

    @device
    def one(
        mixed: Array, i: Any, at: Any, channels: Any, weight: Array, w: Any, zeros: Array, sums: Array, to: Any
    ) -> None:
        found = start(zeros, 0)
        for c in range(channels):
            for a in range(3):
                here = ((i + 2 + a) % 3 * channels + c) * CHANNEL + at
                found = further(found, mixed, here, weight, w)
                found = further(found, mixed, here + 1, weight, w + together)
                found = further(found, mixed, here + 2, weight, w + 2 * together)
                w += 3 * together
        put(found, sums, to, CHANNEL)

    return one


def _summing(wide: Tile, channels_out: int) -> Any:
    """sum(mixed, i, m, channels, count, weight, zeros, g, sums): mixture m of plane i of the g-th set of channels."""
    together, across = wide[0], LANES * wide[1]
    many, few = _tile(wide, channels_out), _tile((together, 1), channels_out)

    @device
    def summing(
        mixed: Array, i: Any, m: Any, channels: Any, count: Any, weight: Array, zeros: Array, g: Any, sums: Array
    ) -> None:
        sets = weight.size // (MIXTURES * channels * 9 * together)
        w = (m * sets + g) * channels * 9 * together
        n = np.int64(0)
        while n < count:
            at, to = m * STRIDE + n, g * together * CHANNEL + m * STRIDE + n
            if n + across <= count:
                many(mixed, i, at, channels, weight, w, zeros, sums, to)
                n += across
            else:
                few(mixed, i, at, channels, weight, w, zeros, sums, to)
                n += LANES

    return summing


_sum, _sum_flow = _summing(WIDE, TOGETHER), _summing(FLOW_WIDE, FLOW)
