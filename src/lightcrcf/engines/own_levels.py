"""The network's fine levels in this project's own kernels, where most of the time goes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.blocks import space_to_depth
from lightcrcf.engines.convolution import PackedConvolution, convolve
from lightcrcf.geometry.feature_kernels import SideBySide
from lightcrcf.geometry.kernels import compose, upsample
from lightcrcf.network.config import NetworkConfig, Shape

__all__ = ["FinestEncoder", "OwnDecoder", "own_levels"]

Float32 = NDArray[np.float32]


def own_levels(config: NetworkConfig, precision: str) -> int:
    """How many levels, from the finest on, are decoded here; the finest is encoded here too if any is.

    In float32 two, the second by less than half as much; in bf16 OpenVINO is faster there. None of networks that are
    made of more than what is here.
    """
    if config.stream != "dual" or config.correlation:
        return 0
    return 2 if precision == "f32" else 1


class FinestEncoder:
    """Features at 1/2 of the working resolution, in float32, with the memory that they need.

    Args:
        config: of a network with `own_levels`.
        arrays: its fused weights.
        shape: (D/2, H/2, W/2).
    """

    def __init__(self, config: NetworkConfig, arrays: Mapping[str, Float32], shape: Shape) -> None:
        self._pool = config.pool
        self._convolution = PackedConvolution(arrays["encoder.0.weight"], arrays["encoder.0.bias"], config.slope)
        self._features = np.empty((2, config.encoder[0], *shape), np.float32)
        self.blocks = np.empty((2, config.blocks, *shape), np.float32)
        """Free for anything once `encode` is done."""

    def encode(self, fixed: Float32, moving: Float32) -> Float32:
        """(2, channels, D/2, H/2, W/2) features of two images (D, H, W); valid until the next call."""
        return self._encode(space_to_depth(fixed, moving, pool=self._pool, out=self.blocks))

    def _encode(self, blocks: Float32) -> Float32:
        for images, features in zip(blocks, self._features, strict=True):
            convolve([images], self._convolution, features)
        return self._features


class OwnDecoder:
    """The decoder of one level, in float32, with the memory that it needs.

    Args:
        config: of a network with `own_levels`.
        arrays: its fused weights.
        level: 0 for the finest.
        shape: of its grid.
        scratch: memory that nothing else needs while it decodes; taken instead of new where it is enough.
    """

    def __init__(
        self, config: NetworkConfig, arrays: Mapping[str, Float32], level: int, shape: Shape, scratch: Float32
    ) -> None:
        def tensors(name: str) -> tuple[Float32, Float32]:
            return arrays[f"levels.{level}.{name}.weight"], arrays[f"levels.{level}.{name}.bias"]

        width, inner = config.encoder[level], config.decoder[level]
        self._pool, self._passes = config.pool, config.passes[level]
        # The first convolution in two parts: that of the fixed image's features is the same in every pass.
        weight, bias = tensors("first")
        self._of_fixed = PackedConvolution(weight[:, :width], bias, 1.0)
        self._first = PackedConvolution(weight[:, width:], np.zeros_like(bias), config.slope)
        self._second = PackedConvolution(*tensors("second"), config.slope)
        self._head = PackedConvolution(*tensors("head"), 1.0)
        self._moving = SideBySide(width, shape)
        self._begun, self._last = (np.empty((inner, *shape), np.float32) for _ in range(2))
        self._inner = _within(scratch, (inner, *shape))
        self._residual = np.empty((3, *shape), np.float32)

    def decode(self, fixed: Float32, moving: Float32, coarse: Float32) -> Float32:
        """The level's field, from features of both images and the coarser level's field."""
        _, depth, height, width = fixed.shape
        field = upsample(coarse, (depth, height, width), self._pool)
        begun = self._begin(fixed)
        self._moving.take(moving)
        for _ in range(self._passes):
            field = compose(field, self._predict(self._moving.warp(field), field, begun))
        return field

    def _begin(self, fixed: Float32) -> Float32:
        """What the fixed image's features add to the first convolution."""
        return convolve([fixed], self._of_fixed, self._begun)

    def _predict(self, warped: Float32, field: Float32, begun: Float32) -> Float32:
        """The residual flow."""
        inner = convolve([warped, field], self._first, self._inner, begun)
        return convolve([convolve([inner], self._second, self._last)], self._head, self._residual)


def _within(memory: Float32, shape: tuple[int, ...]) -> Float32:
    """An array of this shape in `memory` if it is large enough, else a new one."""
    size = math.prod(shape)
    return memory.reshape(-1)[:size].reshape(shape) if size <= memory.size else np.empty(shape, np.float32)
