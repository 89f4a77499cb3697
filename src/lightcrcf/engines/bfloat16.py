"""3x3x3 convolution in bfloat16, for processors that have its dot product; sums are float32.

Features lie in memory as the instruction wants them: pairs of channels (`geometry.tiles`), the voxels of a plane one
after the other with a margin of zeros around them, so that a tile of sums runs over the ends of rows and needs no copy
of what it reads. A vector lies along the voxels; what a tile makes of the margins is masked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.lanes import LANES
from lightcrcf.geometry.sampling import blend_row, locate_row, place_row
from lightcrcf.geometry.tiles import Tile, add, begin, pairs, put_floats, put_pairs
from lightcrcf.network.config import Shape

__all__ = ["GROUP", "PAIRS", "PairedConvolution", "PairedFeatures", "convolve", "convolve_flow"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

# Tiles: output channels, and vectors of each. 24 sums, three inputs and a weight fit in 32 registers.
WIDE, NARROW = (8, 3), (8, 1)
FLOW, NARROW_FLOW = (4, 4), (4, 1)  # for the three channels of a flow
SLACK = 4 * LANES  # pairs that follow the last voxel of features, since a tile may look beyond it
GROUP = WIDE[0]  # output channels of a tile
PAIRS = GROUP // 2  # that they become
ACROSS, ONE_VECTOR = LANES * WIDE[1], LANES * NARROW[1]  # voxels of a tile
ACROSS_FLOW = LANES * FLOW[1]
LEAST_ROW = LANES // 2  # voxels: what a tile puts beyond a plane, less than a vector, falls into margins, two rows


class PairedFeatures:
    """Memory for features in bfloat16, zeros at first.

    Args:
        channels: rounded up to a multiple of 8; those added are zero.
        shape: (D, H, W).

    `data` holds pair p of voxel (i, j, k) at ((p (D + 2) + i + 1) (H + 2) + j + 1) row + k + 1.
    """

    def __init__(self, channels: int, shape: Shape) -> None:
        depth, height, width = shape
        self.shape, self.pairs = shape, -(-channels // GROUP) * PAIRS
        self.row = max(width + 2, LEAST_ROW)
        self.size = (depth + 2) * (height + 2) * self.row
        self.data: Int32 = np.zeros(self.pairs * self.size + SLACK, np.int32)
        mask = np.zeros((height, self.row), np.int32)
        mask[:, :width] = -1
        self.mask: Int32 = np.concatenate([mask.ravel(), np.zeros(SLACK, np.int32)])

    def voxels(self) -> Float32:
        """(2 pairs, D, H, W) float32, a copy."""
        depth, height, width = self.shape
        grid = self.data[: self.pairs * self.size].reshape(self.pairs, depth + 2, height + 2, self.row)
        inner = np.ascontiguousarray(grid[:, 1:-1, 1:-1, 1 : width + 1]).view(np.uint32)
        halves = np.stack([inner << np.uint32(16), inner & np.uint32(0xFFFF0000)], axis=1)
        return halves.view(np.float32).reshape(2 * self.pairs, depth, height, width)


class PairedConvolution:
    """Weights as the kernels read them.

    Args:
        weight: (O, I, 3, 3, 3).
        bias: (O,).
        slope: of the leaky ReLU that follows; 1 for none.
        parts: how many channels each part of the input has, where it is made of several: each begins a pair, and
            parts of features are rounded up to multiples of 8 as `PairedFeatures` are.
        flow: whether its three channels are a flow, for `convolve_flow`.
    """

    def __init__(
        self, weight: Float32, bias: Float32, slope: float, parts: tuple[int, ...] = (), flow: bool = False
    ) -> None:
        outputs, inputs = weight.shape[:2]
        group = FLOW[0] if flow else GROUP
        self.groups, self.slope = -(-outputs // group), np.float32(slope)
        spread = _spread(weight, parts or (inputs,))
        self.pairs = spread.shape[1] // 2
        padded = np.zeros((self.groups * group, *spread.shape[1:]), np.float32)
        padded[:outputs] = spread
        joined = pairs(padded[:, 0::2], padded[:, 1::2])
        # (groups, pairs, 3, 3, 3, outputs of a group)
        ordered = joined.reshape(self.groups, group, self.pairs, 3, 3, 3).transpose(0, 2, 3, 4, 5, 1)
        self.weight: Int32 = np.ascontiguousarray(ordered).ravel()
        self.bias: Float32 = np.zeros(self.groups * group, np.float32)
        self.bias[:outputs] = bias


def _spread(weight: Float32, parts: tuple[int, ...]) -> Float32:
    """The weights with zeros for the channels that the memory of each part has beside its own."""
    begins = np.cumsum((0, *parts))
    padded = [
        np.pad(weight[:, begin : begin + n], ((0, 0), (0, -n % (2 if last else GROUP)), (0, 0), (0, 0), (0, 0)))
        for begin, n, last in zip(begins, parts, [*[False] * (len(parts) - 1), True], strict=False)
    ]
    return np.concatenate(padded, axis=1)


def convolve(
    source: PairedFeatures,
    packed: PairedConvolution,
    out: PairedFeatures,
    *,
    first: int = 0,
    stride: Shape = (1, 1, 1),
) -> None:
    """The leaky ReLU of the convolution of the first channels of `source`, zeros beyond the borders.

    Args:
        source: (I, D, H, W) features.
        packed: weights, bias and slope.
        out: takes the result from pair `first` on: (O, D / stride, ...), rounded up.
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
        _convolve_apart(source.data, sizes, stride, *weights, *target)


def convolve_flow(
    source: PairedFeatures, packed: PairedConvolution, out: Float32, field: Float32 | None = None
) -> Float32:
    """The flow r that a convolution makes of features, or where there is a field compose(field, r), in one pass.

    Args:
        source: (I, D, H, W) features.
        packed: weights and bias of a flow.
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


# A tile is summed over `count` pairs and the 27 places around each voxel. Positions are those of the first of these
# places; next to a border that is in the margin.


def _sums(tile: Tile) -> Any:
    """sums(source, at, steps, count, weight, w, bias, o): one tile; steps between pairs, planes, rows and columns."""
    start, further, outputs = begin(tile), add(tile), tile[0]

    @device
    def sums(source: Array, at: Any, steps: Any, count: Any, weight: Array, w: Any, bias: Array, o: Any) -> Any:
        size, plane, row, middle, last = steps
        found = start(bias, o)
        for p in range(count):
            for a in range(3):
                for b in range(3):
                    here = at + p * size + a * plane + b * row
                    found = further(found, source, here, weight, w)
                    found = further(found, source, here + middle, weight, w + outputs)
                    found = further(found, source, here + last, weight, w + 2 * outputs)
                    w += 3 * outputs
        return found

    return sums


_wide, _narrow, _flow, _narrow_flow = _sums(WIDE), _sums(NARROW), _sums(FLOW), _sums(NARROW_FLOW)
_put_wide, _put_narrow = put_pairs(WIDE), put_pairs(NARROW)
_put_flow, _put_narrow_flow = put_floats(FLOW, 3), put_floats(NARROW_FLOW, 3)


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
    """Plane i of the result; its rows as one, with their margins."""
    plane = (height + 2) * row
    size = (depth + 2) * plane
    steps = (size, plane, row, 1, 2)
    begin, target, voxels = i * plane, (i + 1) * plane + row + 1, height * row
    voxel = np.int64(0)
    while voxel < voxels:
        wide = voxel + ACROSS <= voxels
        for g in range(bias.size // GROUP):
            w, where = g * count * 27 * GROUP, g * PAIRS * size + target + voxel
            if wide:
                sums = _wide(source, begin + voxel, steps, count, weight, w, bias, g * GROUP)
                _put_wide(sums, slope, mask, voxel, out, where, size)
            else:
                few = _narrow(source, begin + voxel, steps, count, weight, w, bias, g * GROUP)
                _put_narrow(few, slope, mask, voxel, out, where, size)
        voxel += ACROSS if wide else ONE_VECTOR


@kernel
def _convolve_apart(
    source: Array, source_sizes: Any, stride: Any, weight: Array, bias: Array, slope: Any, count: Any, depth: Any,
    height: Any, width: Any, row: Any, mask: Array, out: Array,
) -> None:  # fmt: skip
    for i in prange(depth):
        _plane_apart(
            source, source_sizes, stride, weight, bias, slope, np.int64(count), depth, height, width, row, mask,
            np.int64(i), out,
        )  # fmt: skip


@device
def _plane_apart(
    source: Array, source_sizes: Any, stride: Any, weight: Array, bias: Array, slope: Any, count: Any, depth: Any,
    height: Any, width: Any, row: Any, mask: Array, i: Any, out: Array,
) -> None:  # fmt: skip
    """With strides: what a row of the result is made of is brought together first, even voxels apart from odd ones."""
    source_size, source_plane, source_row = source_sizes
    down, over, along = stride
    plane = (height + 2) * row
    size = (depth + 2) * plane
    gap = -(-width // ACROSS) * ACROSS + LANES
    steps = (18 * gap, 6 * gap, 2 * gap, gap if along == 2 else 1, 1 if along == 2 else 2)
    lines = np.zeros(count * 18 * gap, np.int32)
    for j in range(height):
        for n in range(count * 9):
            p, a, b = n // 9, n // 3 % 3, n % 3
            at = p * source_size + (i * down + a) * source_plane + (j * over + b) * source_row
            _take(source[at:], along, width, lines[2 * n * gap :], lines[(2 * n + 1) * gap :])
        voxel = np.int64(0)
        while voxel < width:
            wide = width - voxel > ONE_VECTOR
            for g in range(bias.size // GROUP):
                w = g * count * 27 * GROUP
                where = g * PAIRS * size + (i + 1) * plane + (j + 1) * row + 1 + voxel
                if wide:
                    sums = _wide(lines, voxel, steps, count, weight, w, bias, g * GROUP)
                    _put_wide(sums, slope, mask, j * row + voxel, out, where, size)
                else:
                    few = _narrow(lines, voxel, steps, count, weight, w, bias, g * GROUP)
                    _put_narrow(few, slope, mask, j * row + voxel, out, where, size)
            voxel += ACROSS if wide else ONE_VECTOR


@device
def _take(source: Array, along: Any, width: Any, even: Array, odd: Array) -> None:
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
    flow, place, fraction = (
        np.empty((3, span), np.float32),
        np.empty((3, width), np.float32),
        np.empty((3, width), np.float32),
    )
    flat, corner = flow.reshape(-1), np.empty(width, np.int64)
    for j in range(height):
        voxel = np.int64(0)
        while voxel < width:
            at = i * plane + j * row + voxel
            if voxel + ACROSS_FLOW <= span:
                _put_flow(_flow(source, at, steps, count, weight, 0, bias, 0), flat, voxel, span)
                voxel += ACROSS_FLOW
            else:
                _put_narrow_flow(_narrow_flow(source, at, steps, count, weight, 0, bias, 0), flat, voxel, span)
                voxel += ONE_VECTOR
        if field.shape[1] == 0:
            for c in range(3):
                for k in range(width):
                    out[c, i, j, k] = flow[c, k]
        else:
            place_row(i, j, flow, place)
            locate_row((depth, height, width), place, corner, fraction)
            for c in range(3):
                line = out[c, i, j]
                blend_row(field[c], corner, fraction, line)
                for k in range(width):
                    line[k] += flow[c, k]
