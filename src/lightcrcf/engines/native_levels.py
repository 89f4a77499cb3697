"""The fine levels of the network, which take most of the time, with the kernels of this package."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.blocks import space_to_depth
from lightcrcf.engines.convolution import PackedConvolution, convolve
from lightcrcf.geometry.feature_kernels import ChannelsLastFeatures
from lightcrcf.geometry.kernels import compose, upsample
from lightcrcf.network.config import NetworkConfig, Shape

__all__ = ["FinestEncoder", "NativeDecoder", "native_level_count"]

Float32 = NDArray[np.float32]


def native_level_count(config: NetworkConfig, precision: str) -> int:
    """Return the number of levels, from the finest on, with native decoders; if any, the finest encoder is native too.

    Two in float32, with less than half of the gain at the second; one in bf16, where OpenVINO is faster at the second.
    None for networks with other operations.
    """
    if config.stream != "dual" or config.correlation:
        return 0
    return 2 if precision == "f32" else 1


class FinestEncoder:
    """The encoder at 1/2 of the working resolution, in float32, with its buffers.

    Args:
        config: of a network with native levels.
        arrays: its fused weights.
        shape: (D/2, H/2, W/2).
    """

    def __init__(self, config: NetworkConfig, arrays: Mapping[str, Float32], shape: Shape) -> None:
        self._pool = config.pool
        self._convolution = PackedConvolution(arrays["encoder.0.weight"], arrays["encoder.0.bias"], config.slope)
        self._features = np.empty((2, config.encoder[0], *shape), np.float32)
        self.blocks = np.empty((2, config.blocks, *shape), np.float32)
        """Free for other uses after `encode`."""

    def encode(self, fixed: Float32, moving: Float32) -> Float32:
        """Return features (2, channels, D/2, H/2, W/2) of two images (D, H, W); valid until the next call."""
        return self._encode(space_to_depth(fixed, moving, pool=self._pool, out=self.blocks))

    def _encode(self, blocks: Float32) -> Float32:
        for images, features in zip(blocks, self._features, strict=True):
            convolve([images], self._convolution, features)
        return self._features


class NativeDecoder:
    """The decoder of one level, in float32, with its buffers.

    Args:
        config: of a network with native levels.
        arrays: its fused weights.
        level: 0 for the finest.
        shape: of its grid.
        scratch: buffer that is free during decoding; used if large enough.
    """

    def __init__(
        self, config: NetworkConfig, arrays: Mapping[str, Float32], level: int, shape: Shape, scratch: Float32
    ) -> None:
        def tensors(name: str) -> tuple[Float32, Float32]:
            return arrays[f"levels.{level}.{name}.weight"], arrays[f"levels.{level}.{name}.bias"]

        width, inner = config.encoder[level], config.decoder[level]
        self._pool, self._passes = config.pool, config.passes[level]
        # The first convolution in two parts: that of the fixed features is shared by all passes.
        weight, bias = tensors("first")
        self._fixed_branch = PackedConvolution(weight[:, :width], bias, 1.0)
        self._first = PackedConvolution(weight[:, width:], np.zeros_like(bias), config.slope)
        self._second = PackedConvolution(*tensors("second"), config.slope)
        self._head = PackedConvolution(*tensors("head"), 1.0)
        self._moving = ChannelsLastFeatures(width, shape)
        self._fixed_sums, self._last = (np.empty((inner, *shape), np.float32) for _ in range(2))
        self._inner = _view_or_new(scratch, (inner, *shape))
        self._residual = np.empty((3, *shape), np.float32)

    def decode(self, fixed: Float32, moving: Float32, coarse: Float32) -> Float32:
        """Return the field of the level from the features of both images and the field of the coarser level."""
        _, depth, height, width = fixed.shape
        field = upsample(coarse, (depth, height, width), self._pool)
        fixed_sums = self._convolve_fixed(fixed)
        self._moving.store(moving)
        for _ in range(self._passes):
            field = compose(field, self._predict(self._moving.warp(field), field, fixed_sums))
        return field

    def _convolve_fixed(self, fixed: Float32) -> Float32:
        """Return the contribution of the fixed features to the first convolution."""
        return convolve([fixed], self._fixed_branch, self._fixed_sums)

    def _predict(self, warped: Float32, field: Float32, fixed_sums: Float32) -> Float32:
        """Return the residual flow."""
        inner = convolve([warped, field], self._first, self._inner, fixed_sums)
        return convolve([convolve([inner], self._second, self._last)], self._head, self._residual)


def _view_or_new(memory: Float32, shape: tuple[int, ...]) -> Float32:
    """Return an array of this shape in `memory` if that is large enough, else a new one."""
    size = math.prod(shape)
    return memory.reshape(-1)[:size].reshape(shape) if size <= memory.size else np.empty(shape, np.float32)
