"""The layers of the network in bfloat16 with float32 sums, for processors with AVX512-BF16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.engines.layers import Features, Layers
from lightcrcf.engines.packing import HALF_GROUP, Convolution, group_outputs, pad_outputs
from lightcrcf.network.config import Shape

__all__ = ["Bfloat16Features", "Bfloat16Layers", "bfloat16_is_native", "pack_pairs"]

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

_BLOCK = 4  # pairs of a block in channels-last layout
_NO_STRIDE = (1, 1, 1)


def bfloat16_is_native() -> bool:
    """Return whether this processor has the dot product of bfloat16 (AVX512-BF16)."""
    return bool(_core.has_bfloat16())


def pack_pairs(first: Float32, second: Float32) -> Int32:
    """Pack two float32 arrays as pairs, rounded to the nearest bfloat16, ties to even.

    Example:
        >>> [hex(pair) for pair in pack_pairs(np.array([1.0], np.float32), np.array([2.0], np.float32))]
        ['0x40003f80']
    """
    low, high = (_round_bits(np.ascontiguousarray(x, np.float32).view(np.uint32)) for x in (first, second))
    return (low | high << np.uint32(16)).view(np.int32)


def _round_bits(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)


class Bfloat16Features:
    """Features as pairs of channels, with a margin of zeros around each plane.

    Args:
        channels: at least 1; padded with zeros to a multiple of 4.
        shape: (D, H, W).
        data: memory of other features on this grid; new, zero, if None.

    `data` holds pair p of voxel (i, j, k) at ((p (D + 2) + i + 1) (H + 2) + j + 1) row + k + 1.
    """

    def __init__(self, channels: int, shape: Shape, data: Int32 | None = None) -> None:
        depth, height, width = shape
        self.channels, self.shape, self.pairs = channels, (depth, height, width), -(-channels // 2)
        self.row = max(width + 2, int(_core.BFLOAT16_LEAST_ROW))
        self.size = (depth + 2) * (height + 2) * self.row
        least = -(-channels // HALF_GROUP) * HALF_GROUP // 2 * self.size + int(_core.BFLOAT16_SLACK)
        self.data: Int32 = np.zeros(least, np.int32) if data is None else data[:least]

    def voxels(self) -> Float32:
        """Return a copy as (channels, D, H, W) float32."""
        depth, height, width = self.shape
        grid = self.data[: self.pairs * self.size].reshape(self.pairs, depth + 2, height + 2, self.row)
        inner = np.ascontiguousarray(grid[:, 1:-1, 1:-1, 1 : width + 1]).view(np.uint32)
        halves = np.stack([inner << np.uint32(16), inner & np.uint32(0xFFFF0000)], axis=1)
        return halves.view(np.float32).reshape(2 * self.pairs, depth, height, width)[: self.channels]


class Bfloat16Layers(Layers):
    """Layers whose features are `Bfloat16Features`; convolutions are direct."""

    splits = False

    def convolution(
        self, name: str, weight: Float32, bias: Float32, slope: float, parts: Sequence[int], stride: Shape = _NO_STRIDE
    ) -> Convolution:
        """Pack as `Layers.convolution`; each part starts a pair."""
        outputs, inputs = weight.shape[:2]
        even = pad_outputs(_pad_parts(np.asarray(weight, np.float32), parts))
        pairs = pack_pairs(even[:, 0::2], even[:, 1::2])
        return Convolution(
            name, inputs, outputs, group_outputs(pairs), pad_outputs(np.asarray(bias, np.float32)), slope
        )

    def features(self, channels: int, shape: Shape, memory: Features | None = None) -> Bfloat16Features:
        """Return features, initially zero or in `memory`."""
        if memory is not None and memory.shape == tuple(shape) and memory.channels >= channels:
            return Bfloat16Features(channels, shape, memory.data)
        return Bfloat16Features(channels, shape)

    def space_to_depth(self, image: Float32, pool: Shape, out: Features) -> None:
        """Rearrange as `Layers.space_to_depth`."""
        _check_grid([out], _divided(image.shape, pool))
        _core.space_to_depth_bfloat16(image, pool, out.data)

    def convolve(
        self,
        sources: Sequence[Features],
        convolution: Convolution,
        out: Features,
        stride: Shape = _NO_STRIDE,
        start: Features | None = None,
    ) -> Bfloat16Features:
        """Convolve as `Layers.convolve`, without `start`."""
        data, pairs, shape = _described(sources)
        _check_grid([out], _divided(shape, stride))
        _core.convolve_bfloat16(
            data, pairs, shape, convolution.weight, convolution.bias, convolution.slope,
            convolution.outputs, stride, out.data,
        )  # fmt: skip
        result: Bfloat16Features = out
        return result

    def flow(self, sources: Sequence[Features], convolution: Convolution, out: Float32) -> Float32:
        """Convolve as `Layers.flow`."""
        data, pairs, _ = _described(sources)
        _check_grid(sources[:1], out.shape[1:])
        _core.convolve_flow_bfloat16(data, pairs, convolution.weight, convolution.bias, out)
        return out

    def channels_last(self, channels: int, shape: Shape) -> Int32:
        """Return an array (ceil(C / 8), D, H, W, 4) of pairs."""
        return np.empty((-(-channels // (2 * _BLOCK)), *shape, _BLOCK), np.int32)

    def to_channels_last(self, features: Features, out: NDArray[Any]) -> None:
        """Convert as `Layers.to_channels_last`."""
        _check_grid([features], out.shape[1:4])
        _core.to_channels_last_bfloat16(features.data, features.pairs, out)

    def warp(self, features: NDArray[Any], field: Float32, out: Features) -> None:
        """Warp as `Layers.warp`."""
        _check_grid([out], field.shape[1:])
        _core.warp_channels_last_bfloat16(features, field, out.pairs, out.data)

    def correlate(self, fixed: Features, warped: Features, out: Features) -> None:
        """Correlate as `Layers.correlate`."""
        _check_grid([warped, out], fixed.shape)
        _core.correlate_bfloat16(fixed.data, warped.data, fixed.shape, fixed.channels, out.data)

    def repeat(self, features: Features, pool: Shape, out: Features) -> None:
        """Upsample as `Layers.repeat`."""
        _check_grid([features], _divided(out.shape, pool))
        _core.repeat_bfloat16(features.data, features.shape, features.pairs, pool, out.data)

    def input_features(self, channels: int, shape: Shape) -> Bfloat16Features:
        """Return new features."""
        return Bfloat16Features(channels, shape)

    def to_features(self, values: Float32, memory: Features) -> Bfloat16Features:
        """Round the values to bfloat16 in `memory`, and return that."""
        _check_grid([memory], values.shape[1:])
        _core.pack_bfloat16(values, memory.data)
        result: Bfloat16Features = memory
        return result


def _described(sources: Sequence[Bfloat16Features]) -> tuple[list[Int32], list[int], Shape]:
    """Return the memory and the pairs of each source, and their grid."""
    _check_grid(sources, sources[0].shape)
    return [source.data for source in sources], [source.pairs for source in sources], sources[0].shape


def _divided(shape: Sequence[int], factors: Shape) -> tuple[int, ...]:
    return tuple(-(-n // factor) for n, factor in zip(shape, factors, strict=True))


def _check_grid(features: Sequence[Bfloat16Features], shape: Sequence[int]) -> None:
    """Raise ValueError for features on another grid; kernels see their memory only."""
    for each in features:
        if each.shape != tuple(shape):
            raise ValueError(f"features on a grid {tuple(shape)}, not {each.shape}")


def _pad_parts(weight: Float32, parts: Sequence[int]) -> Float32:
    """Return weights (O, I, 3, 3, 3) with a zero input after each part of odd size."""
    split = np.split(weight, np.cumsum(parts)[:-1], axis=1)
    none = np.zeros_like(weight[:, :1])
    return np.concatenate([piece for part in split for piece in (part, none[:, : part.shape[1] % 2])], axis=1)
