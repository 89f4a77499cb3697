"""3x3x3 convolution for few channels on large grids, by Winograd's minimal filtering F(4, 3) across rows.

The kernels of OpenVINO (oneDNN) compute blocks of 16 channels, but the finest level of the network has 8. Here vectors
run along voxels. Winograd's filtering computes four output lines from six transformed input lines, with half of the
multiplications of direct convolution.

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
from lightcrcf.geometry.sampling import ZERO
from lightcrcf.geometry.simd import LANES
from lightcrcf.geometry.tiles import Tile, initialize, multiply_add, store_floats, vectors_are_long

__all__ = ["PackedConvolution", "convolve"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]

# Tiles: output channels, and vectors of each; one vector at the end of lines.
WIDE: Tile = (8, 3) if vectors_are_long() else (4, 1)
GROUP = WIDE[0]
FLOW = 3  # output channels of a flow head
FLOW_WIDE: Tile = (4, 4) if vectors_are_long() else (4, 1)
ROWS, TRANSFORMED_LINES = 4, 6  # output lines, and transformed input lines, of a Winograd tile
# The transform of the three weights across rows, G of the source.
WEIGHT_TRANSFORM = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
TWO, FOUR, FIVE, EIGHT = np.float32(2), np.float32(4), np.float32(5), np.float32(8)

VOXELS = 416  # of a tile of a transformed line: consecutive lines with their margins
# Strides are constants, so that the compiler can prove that accesses do not overlap, and no powers of two, which would
# collide in the cache.
LINE = 272  # between lines
STRIDE = VOXELS + LANES  # between transformed lines
CHANNEL = TRANSFORMED_LINES * STRIDE  # transformed lines of a plane of one channel
MAX_LINE = 256 - 2  # voxels of a line without margins
GROUPS = 8  # maximum number of line groups
PLANES = 8  # consecutive planes of a tile: each input plane is transformed once for three output planes


class PackedConvolution:
    """The weights of a convolution, transformed and packed for `convolve`.

    Args:
        weight: (O, I, 3, 3, 3).
        bias: (O,).
        slope: of the leaky ReLU that follows; 1 for none.
    """

    def __init__(self, weight: Float32, bias: Float32, slope: float) -> None:
        outputs, inputs = weight.shape[:2]
        group = FLOW_WIDE[0] if outputs == FLOW else GROUP
        sets = -(-outputs // group)
        padded = np.zeros((sets * group, inputs, 3, 3, 3))
        padded[:outputs] = weight
        transformed = np.einsum("mb,oiabc->moiac", WEIGHT_TRANSFORM, padded)
        # (6, sets, I, 3, 3, group): transformed line, output group, input, plane, column, output.
        ordered = transformed.reshape(TRANSFORMED_LINES, sets, group, inputs, 3, 3).transpose(0, 1, 3, 4, 5, 2)
        self.weight: Float32 = np.ascontiguousarray(ordered, np.float32).ravel()
        self.bias: Float32 = np.zeros(sets * group, np.float32)
        self.bias[:outputs] = bias
        self.slope, self.inputs, self.outputs = np.float32(slope), inputs, outputs


def convolve(
    sources: Sequence[Float32], packed: PackedConvolution, out: Float32, start: Float32 | None = None
) -> Float32:
    """Convolve the channels of all sources with zero padding, and apply the leaky ReLU.

    Args:
        sources: (C, D, H, W) each; their channels add up to those of the weights.
        packed: weights, bias and slope.
        out: (O, D, H, W) float32, overwritten and returned.
        start: (O, D, H, W), sums over other channels to add; not `out`.

    Raises:
        ValueError: if the number of channels does not match the weights, or the shape of `start` that of `out`.

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
    initial = ready(np.empty((0, 1, 1, 1)) if start is None else start)
    _convolve(inputs, channels, packed.weight, packed.bias, packed.slope, initial, out)
    return out


@kernel
def _convolve(sources: Any, channels: Any, weight: Array, bias: Array, slope: Any, start: Array, out: Array) -> None:
    depth, height, width = out.shape[1:]
    across = -(-width // MAX_LINE)
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
    """Compute `PLANES` planes from `first` on, the rows of `groups` from j on, and voxels k : k + length.

    Results in the margins between lines, and beyond the last line, are not used.
    """
    depth, height = out.shape[1:3]
    span = length + 2
    count = -(-(groups * span - 2) // LANES) * LANES
    lines = np.zeros((ROWS * groups + 2) * LINE, np.float32)
    transformed = np.zeros(3 * channels * CHANNEL, np.float32)  # ring of three planes, indexed by plane modulo three
    sums, zeros = np.empty(bias.size * CHANNEL, np.float32), np.zeros(GROUP, np.float32)
    _input_transform(sources, first - 1, j, k, groups, span, lines, transformed[(first + 2) % 3 * channels * CHANNEL :])
    _input_transform(sources, first, j, k, groups, span, lines, transformed[first % 3 * channels * CHANNEL :])
    for i in range(first, min(first + PLANES, depth)):
        _input_transform(sources, i + 1, j, k, groups, span, lines, transformed[(i + 1) % 3 * channels * CHANNEL :])
        for m in range(TRANSFORMED_LINES):
            if out.shape[0] == FLOW:
                _sum_flow(transformed, i, m, channels, count, weight, zeros, 0, sums)
            else:
                for g in range(bias.size // GROUP):
                    _sum(transformed, i, m, channels, count, weight, zeros, g, sums)
        for o in range(out.shape[0]):
            for m in range(groups):
                _output_transform(sums[o * CHANNEL + m * span :], length, bias[o], lines)
                for r in range(min(ROWS, height - j - m * ROWS)):
                    line, found = out[o, i, j + m * ROWS + r, k:], lines[r * LINE :]
                    if start.shape[0] > 0:
                        initial = start[o, i, j + m * ROWS + r, k:]
                        for n in range(length):
                            found[n] += initial[n]
                    for n in range(length):
                        line[n] = found[n] if found[n] > ZERO else slope * found[n]


@device
def _input_transform(
    sources: Any, i: Any, j: Any, k: Any, groups: Any, span: Any, lines: Array, transformed: Array
) -> None:
    """Transform plane i of all channels from row j - 1 and column k - 1 on: B^T of the source."""
    at = 0
    for source in sources:
        for c in range(source.shape[0]):
            _load_lines(source[c], i, j - 1, k - 1, ROWS * groups + 2, span, lines)
            for m in range(groups):
                x, t = lines[m * ROWS * LINE :], transformed[at + m * span :]
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
def _output_transform(sums: Array, length: Any, bias: Any, lines: Array) -> None:
    """Compute four output lines: A^T of the source."""
    for n in range(length):
        plus, minus = sums[n + STRIDE] + sums[n + 2 * STRIDE], sums[n + STRIDE] - sums[n + 2 * STRIDE]
        far_plus, far_minus = sums[n + 3 * STRIDE] + sums[n + 4 * STRIDE], sums[n + 3 * STRIDE] - sums[n + 4 * STRIDE]
        lines[n] = sums[n] + plus + far_plus + bias
        lines[n + LINE] = minus + TWO * far_minus + bias
        lines[n + 2 * LINE] = plus + FOUR * far_plus + bias
        lines[n + 3 * LINE] = minus + EIGHT * far_minus + sums[n + 5 * STRIDE] + bias


@device
def _load_lines(image: Array, i: Any, first: Any, begin: Any, rows: Any, span: Any, lines: Array) -> None:
    """Load lines of `span` voxels of plane i from row `first` and column `begin` on; zeros outside."""
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


def _make_tile(tile: Tile, channels_out: int) -> Any:
    """Return sum_tile(transformed, i, at, channels, weight, w, zeros, sums, to): a tile of plane i from `at` on."""
    group = tile[0]
    start, accumulate, store = initialize(tile), multiply_add(tile), store_floats(tile, channels_out)

    @device
    def sum_tile(
        transformed: Array, i: Any, at: Any, channels: Any, weight: Array, w: Any, zeros: Array, sums: Array, to: Any
    ) -> None:
        found = start(zeros, 0)
        for c in range(channels):
            for a in range(3):
                here = ((i + 2 + a) % 3 * channels + c) * CHANNEL + at
                found = accumulate(found, transformed, here, weight, w)
                found = accumulate(found, transformed, here + 1, weight, w + group)
                found = accumulate(found, transformed, here + 2, weight, w + 2 * group)
                w += 3 * group
        store(found, sums, to, CHANNEL)

    return sum_tile


def _make_sum(wide: Tile, channels_out: int) -> Any:
    """Return a function that sums transformed line m of plane i for the g-th group of output channels."""
    group, across = wide[0], LANES * wide[1]
    wide_tile, narrow_tile = _make_tile(wide, channels_out), _make_tile((group, 1), channels_out)

    @device
    def sum_products(
        transformed: Array, i: Any, m: Any, channels: Any, count: Any, weight: Array, zeros: Array, g: Any, sums: Array
    ) -> None:
        sets = weight.size // (TRANSFORMED_LINES * channels * 9 * group)
        w = (m * sets + g) * channels * 9 * group
        n = np.int64(0)
        while n < count:
            at, to = m * STRIDE + n, g * group * CHANNEL + m * STRIDE + n
            if n + across <= count:
                wide_tile(transformed, i, at, channels, weight, w, zeros, sums, to)
                n += across
            else:
                narrow_tile(transformed, i, at, channels, weight, w, zeros, sums, to)
                n += LANES

    return sum_products


_sum, _sum_flow = _make_sum(WIDE, GROUP), _make_sum(FLOW_WIDE, FLOW)
