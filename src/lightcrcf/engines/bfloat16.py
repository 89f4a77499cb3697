"""3x3x3 convolution in bfloat16 with float32 accumulation, for processors with its dot-product instruction.

Features are stored as pairs of channels (`geometry.tiles`) with a margin of zeros around each plane, so that tiles of
accumulators run across the ends of rows without copies. Vectors run along voxels; results in the margins are masked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import cell_row, coordinates_row, trilinear_row
from lightcrcf.geometry.simd import LANES
from lightcrcf.geometry.tiles import Tile, initialize, multiply_add, pack_pairs, store_floats, store_pairs
from lightcrcf.network.config import Shape

__all__ = ["GROUP", "PAIRS", "Bfloat16Convolution", "Bfloat16Features", "convolve", "convolve_flow"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

# Tiles: output channels, and vectors of each. 24 accumulators, three inputs and a weight fit in 32 registers.
WIDE, NARROW = (8, 3), (8, 1)
FLOW, NARROW_FLOW = (4, 4), (4, 1)  # for the three channels of a flow
SLACK = 4 * LANES  # pairs of padding after the last voxel, for loads of the last tile
GROUP = WIDE[0]  # output channels of a tile
PAIRS = GROUP // 2  # of channels in a group
WIDE_VOXELS, NARROW_VOXELS = LANES * WIDE[1], LANES * NARROW[1]  # voxels of a tile
WIDE_FLOW_VOXELS = LANES * FLOW[1]
MIN_ROW = LANES // 2  # voxels; stores beyond a plane, less than a vector, stay within its two margin rows


class Bfloat16Features:
    """A buffer of features in bfloat16, initially zero.

    Args:
        channels: rounded up to a multiple of 8 with zero channels.
        shape: (D, H, W).

    `data` holds pair p of voxel (i, j, k) at ((p (D + 2) + i + 1) (H + 2) + j + 1) row + k + 1.
    """

    def __init__(self, channels: int, shape: Shape) -> None:
        depth, height, width = shape
        self.shape, self.pairs = shape, -(-channels // GROUP) * PAIRS
        self.row = max(width + 2, MIN_ROW)
        self.size = (depth + 2) * (height + 2) * self.row
        self.data: Int32 = np.zeros(self.pairs * self.size + SLACK, np.int32)
        mask = np.zeros((height, self.row), np.int32)
        mask[:, :width] = -1
        self.mask: Int32 = np.concatenate([mask.ravel(), np.zeros(SLACK, np.int32)])

    def voxels(self) -> Float32:
        """Return a copy as (2 pairs, D, H, W) float32."""
        depth, height, width = self.shape
        grid = self.data[: self.pairs * self.size].reshape(self.pairs, depth + 2, height + 2, self.row)
        inner = np.ascontiguousarray(grid[:, 1:-1, 1:-1, 1 : width + 1]).view(np.uint32)
        halves = np.stack([inner << np.uint32(16), inner & np.uint32(0xFFFF0000)], axis=1)
        return halves.view(np.float32).reshape(2 * self.pairs, depth, height, width)


class Bfloat16Convolution:
    """The weights of a convolution, packed for the kernels.

    Args:
        weight: (O, I, 3, 3, 3).
        bias: (O,).
        slope: of the leaky ReLU that follows; 1 for none.
        parts: channels of each part of a concatenated input: each part starts a pair, and all but the last are rounded
            up to multiples of 8 as in `Bfloat16Features`.
        flow: whether the three output channels are a flow, for `convolve_flow`.
    """

    def __init__(
        self, weight: Float32, bias: Float32, slope: float, parts: tuple[int, ...] = (), flow: bool = False
    ) -> None:
        outputs, inputs = weight.shape[:2]
        group = FLOW[0] if flow else GROUP
        self.groups, self.slope = -(-outputs // group), np.float32(slope)
        expanded = _pad_parts(weight, parts or (inputs,))
        self.pairs = expanded.shape[1] // 2
        padded = np.zeros((self.groups * group, *expanded.shape[1:]), np.float32)
        padded[:outputs] = expanded
        joined = pack_pairs(padded[:, 0::2], padded[:, 1::2])
        # (groups, pairs, 3, 3, 3, outputs of a group)
        ordered = joined.reshape(self.groups, group, self.pairs, 3, 3, 3).transpose(0, 2, 3, 4, 5, 1)
        self.weight: Int32 = np.ascontiguousarray(ordered).ravel()
        self.bias: Float32 = np.zeros(self.groups * group, np.float32)
        self.bias[:outputs] = bias


def _pad_parts(weight: Float32, parts: tuple[int, ...]) -> Float32:
    """Return the weights with zeros for the padding channels of each part."""
    begins = np.cumsum((0, *parts))
    padded = [
        np.pad(weight[:, begin : begin + n], ((0, 0), (0, -n % (2 if last else GROUP)), (0, 0), (0, 0), (0, 0)))
        for begin, n, last in zip(begins, parts, [*[False] * (len(parts) - 1), True], strict=False)
    ]
    return np.concatenate(padded, axis=1)


def convolve(
    source: Bfloat16Features,
    packed: Bfloat16Convolution,
    out: Bfloat16Features,
    *,
    first: int = 0,
    stride: Shape = (1, 1, 1),
) -> None:
    """Convolve the first channels of `source` with zero padding, and apply the leaky ReLU.

    Args:
        source: (I, D, H, W) features.
        packed: weights, bias and slope.
        out: overwritten from pair `first` on: (O, D / stride, ...), rounded up.
        stride: of the convolution along each axis, 1 or 2.

    Raises:
        ValueError: if shapes or pairs do not fit.
    """
    wanted = tuple(-(-n // s) for n, s in zip(source.shape, stride, strict=True))
    if out.shape != wanted or source.pairs < packed.pairs or out.pairs - first < packed.groups * PAIRS:
        raise ValueError(
            f"{packed.pairs} pairs of {source.shape} to {packed.groups * PAIRS} of {wanted}, not {source.pairs} to "
            f"{out.pairs - first} of {out.shape}"
        )
    weights = (packed.weight, packed.bias, packed.slope, packed.pairs)
    target = (*out.shape, out.row, out.mask, out.data[first * out.size :])
    if stride == (1, 1, 1):
        _convolve(source.data, *weights, *target)
    else:
        sizes = (source.size, source.size // (source.shape[0] + 2), source.row)
        _convolve_strided(source.data, sizes, stride, *weights, *target)


def convolve_flow(
    source: Bfloat16Features, packed: Bfloat16Convolution, out: Float32, field: Float32 | None = None
) -> Float32:
    """Return the flow r = convolution of features, or compose(field, r) in one pass.

    Args:
        source: (I, D, H, W) features.
        packed: weights and bias of a flow head.
        out: (3, D, H, W) float32, overwritten and returned.
        field: (3, D, H, W) voxels, as in `geometry.kernels.compose`; not `out`.

    Raises:
        ValueError: if shapes or pairs do not fit.
    """
    before = np.empty((3, 0, 0, 0), np.float32) if field is None else ready(field)
    fits = out.shape == (3, *source.shape) and before.shape in (out.shape, (3, 0, 0, 0))
    if not fits or source.pairs < packed.pairs or packed.groups != 1:
        raise ValueError(f"{packed.pairs} pairs to (3, *{source.shape}), not {source.pairs} to {out.shape}")
    _convolve_flow(source.data, packed.weight, packed.bias, packed.pairs, source.row, before, out)
    return out


# A tile sums over `count` pairs and the 27 neighbours of each voxel. Positions are those of the first neighbour; next
# to a border it is in the margin.


def _accumulate_tile(tile: Tile) -> Any:
    """sums(source, at, steps, count, weight, w, bias, o): one tile; steps between pairs, planes, rows and columns."""
    start, accumulate, outputs = initialize(tile), multiply_add(tile), tile[0]

    @device
    def sums(source: Array, at: Any, steps: Any, count: Any, weight: Array, w: Any, bias: Array, o: Any) -> Any:
        size, plane, row, middle, last = steps
        found = start(bias, o)
        for p in range(count):
            for a in range(3):
                for b in range(3):
                    here = at + p * size + a * plane + b * row
                    found = accumulate(found, source, here, weight, w)
                    found = accumulate(found, source, here + middle, weight, w + outputs)
                    found = accumulate(found, source, here + last, weight, w + 2 * outputs)
                    w += 3 * outputs
        return found

    return sums


_wide, _narrow, _flow, _narrow_flow = (
    _accumulate_tile(WIDE),
    _accumulate_tile(NARROW),
    _accumulate_tile(FLOW),
    _accumulate_tile(NARROW_FLOW),
)
_store_wide, _store_narrow = store_pairs(WIDE), store_pairs(NARROW)
_store_flow, _store_narrow_flow = store_floats(FLOW, 3), store_floats(NARROW_FLOW, 3)


@kernel
def _convolve(
    source: Array, weight: Array, bias: Array, slope: Any, count: Any, depth: Any, height: Any, width: Any, row: Any,
    mask: Array, out: Array,
) -> None:  # fmt: skip
    for i in prange(depth):
        _plane(source, weight, bias, slope, np.int64(count), depth, height, row, mask, np.int64(i), out)


@device
def _plane(
    source: Array, weight: Array, bias: Array, slope: Any, count: Any, depth: Any, height: Any, row: Any, mask: Array,
    i: Any, out: Array,
) -> None:  # fmt: skip
    """Compute plane i, with its rows and margins as one line."""
    plane = (height + 2) * row
    size = (depth + 2) * plane
    steps = (size, plane, row, 1, 2)
    begin, target, voxels = i * plane, (i + 1) * plane + row + 1, height * row
    voxel = np.int64(0)
    while voxel < voxels:
        wide = voxel + WIDE_VOXELS <= voxels
        for g in range(bias.size // GROUP):
            w, where = g * count * 27 * GROUP, g * PAIRS * size + target + voxel
            if wide:
                sums = _wide(source, begin + voxel, steps, count, weight, w, bias, g * GROUP)
                _store_wide(sums, slope, mask, voxel, out, where, size)
            else:
                few = _narrow(source, begin + voxel, steps, count, weight, w, bias, g * GROUP)
                _store_narrow(few, slope, mask, voxel, out, where, size)
        voxel += WIDE_VOXELS if wide else NARROW_VOXELS


@kernel
def _convolve_strided(
    source: Array, source_sizes: Any, stride: Any, weight: Array, bias: Array, slope: Any, count: Any, depth: Any,
    height: Any, width: Any, row: Any, mask: Array, out: Array,
) -> None:  # fmt: skip
    for i in prange(depth):
        _strided_plane(
            source, source_sizes, stride, weight, bias, slope, np.int64(count), depth, height, width, row, mask,
            np.int64(i), out,
        )  # fmt: skip


@device
def _strided_plane(
    source: Array, source_sizes: Any, stride: Any, weight: Array, bias: Array, slope: Any, count: Any, depth: Any,
    height: Any, width: Any, row: Any, mask: Array, i: Any, out: Array,
) -> None:  # fmt: skip
    """Compute plane i with strides: the input of a row is gathered first, even voxels separate from odd ones."""
    source_size, source_plane, source_row = source_sizes
    down, over, along = stride
    plane = (height + 2) * row
    size = (depth + 2) * plane
    gap = -(-width // WIDE_VOXELS) * WIDE_VOXELS + LANES
    steps = (18 * gap, 6 * gap, 2 * gap, gap if along == 2 else 1, 1 if along == 2 else 2)
    lines = np.zeros(count * 18 * gap, np.int32)
    for j in range(height):
        for n in range(count * 9):
            p, a, b = n // 9, n // 3 % 3, n % 3
            at = p * source_size + (i * down + a) * source_plane + (j * over + b) * source_row
            _gather_row(source[at:], along, width, lines[2 * n * gap :], lines[(2 * n + 1) * gap :])
        voxel = np.int64(0)
        while voxel < width:
            wide = width - voxel > NARROW_VOXELS
            for g in range(bias.size // GROUP):
                w = g * count * 27 * GROUP
                where = g * PAIRS * size + (i + 1) * plane + (j + 1) * row + 1 + voxel
                if wide:
                    sums = _wide(lines, voxel, steps, count, weight, w, bias, g * GROUP)
                    _store_wide(sums, slope, mask, j * row + voxel, out, where, size)
                else:
                    few = _narrow(lines, voxel, steps, count, weight, w, bias, g * GROUP)
                    _store_narrow(few, slope, mask, j * row + voxel, out, where, size)
            voxel += WIDE_VOXELS if wide else NARROW_VOXELS


@device
def _gather_row(source: Array, along: Any, width: Any, even: Array, odd: Array) -> None:
    if along == 2:
        for k in range(width):
            even[k], odd[k] = source[2 * k], source[2 * k + 1]
        even[width] = source[2 * width]
    else:
        for k in range(width + 2):
            even[k] = source[k]


@kernel
def _convolve_flow(source: Array, weight: Array, bias: Array, count: Any, row: Any, field: Array, out: Array) -> None:
    for i in prange(out.shape[1]):
        _flow_plane(source, weight, bias, np.int64(count), row, field, np.int64(i), out)


@device
def _flow_plane(
    source: Array, weight: Array, bias: Array, count: Any, row: Any, field: Array, i: Any, out: Array
) -> None:
    _, depth, height, width = out.shape
    plane = (height + 2) * row
    steps = ((depth + 2) * plane, plane, row, 1, 2)
    span = -(-width // LANES) * LANES
    flow, points, fraction = (
        np.empty((3, span), np.float32),
        np.empty((3, width), np.float32),
        np.empty((3, width), np.float32),
    )
    flat, corner = flow.reshape(-1), np.empty(width, np.int64)
    for j in range(height):
        voxel = np.int64(0)
        while voxel < width:
            at = i * plane + j * row + voxel
            if voxel + WIDE_FLOW_VOXELS <= span:
                _store_flow(_flow(source, at, steps, count, weight, 0, bias, 0), flat, voxel, span)
                voxel += WIDE_FLOW_VOXELS
            else:
                _store_narrow_flow(_narrow_flow(source, at, steps, count, weight, 0, bias, 0), flat, voxel, span)
                voxel += NARROW_VOXELS
        if field.shape[1] == 0:
            for c in range(3):
                for k in range(width):
                    out[c, i, j, k] = flow[c, k]
        else:
            coordinates_row(i, j, flow, points)
            cell_row((depth, height, width), points, corner, fraction)
            for c in range(3):
                line = out[c, i, j]
                trilinear_row(field[c], corner, fraction, line)
                for k in range(width):
                    line[k] += flow[c, k]
