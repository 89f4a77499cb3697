"""The network in bfloat16 with the kernels of this package; flows stay float32.

Equivalent to the graphs of `engines.graphs` for two streams. All buffers are allocated once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.bfloat16 import GROUP, PAIRS, Bfloat16Convolution, Bfloat16Features, convolve, convolve_flow
from lightcrcf.engines.bfloat16_features import space_to_depth_bfloat16, to_channels_last, warp_bfloat16
from lightcrcf.geometry.kernels import upsample
from lightcrcf.geometry.tiles import dot_product_is_native
from lightcrcf.network.config import LEVELS, NetworkConfig, Shape

__all__ = ["Bfloat16Network", "runs_in_bfloat16"]

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Arrays = Mapping[str, Float32]


def runs_in_bfloat16(config: NetworkConfig) -> bool:
    """Return whether the kernels support the network, and the processor has the instruction."""
    return config.stream == "dual" and not config.correlation and dot_product_is_native()


class Bfloat16Network:
    """A network with buffers for images of one shape.

    Args:
        config: of a network that `runs_in_bfloat16`.
        arrays: its fused weights.
        shape: (D, H, W) of the images.
    """

    def __init__(self, config: NetworkConfig, arrays: Arrays, shape: Shape) -> None:
        sizes = [config.coarser(shape, level + 1) for level in range(LEVELS)]
        self._pool, self._slope = config.pool, config.slope
        self._blocks = Bfloat16Features(config.blocks, sizes[0])
        self._encoder = [
            Bfloat16Convolution(arrays[f"encoder.{n}.weight"], arrays[f"encoder.{n}.bias"], config.slope)
            for n in range(LEVELS)
        ]
        self._levels = [_Level(config, arrays, n, sizes[n]) for n in range(LEVELS)]

    def displacement(self, fixed: Float32, moving: Float32) -> Float32:
        """Return `engines.base.Engine.displacement`, (3, D/2, H/2, W/2) float32."""
        self._encode(fixed, [level.inputs for level in self._levels])
        self._encode(moving, [level.moving for level in self._levels])
        field = self._levels[-1].coarsest_field()
        for level in self._levels[-2::-1]:
            field = level.decode(field)
        return field

    def _encode(self, image: Float32, targets: list[Bfloat16Features]) -> None:
        """Write the features of each level to the first channels of its target."""
        space_to_depth_bfloat16(image, self._pool, self._blocks)
        source = self._blocks
        for n, (packed, target) in enumerate(zip(self._encoder, targets, strict=True)):
            convolve(source, packed, target, stride=(1, 1, 1) if n == 0 else self._pool)
            source = target


class _Level:
    """The decoder of one level, and buffers for its features."""

    def __init__(self, config: NetworkConfig, arrays: Arrays, level: int, shape: Shape) -> None:
        def tensors(name: str) -> tuple[Float32, Float32]:
            return arrays[f"levels.{level}.{name}.weight"], arrays[f"levels.{level}.{name}.bias"]

        width, inner = config.encoder[level], config.decoder[level]
        coarsest = level == LEVELS - 1
        self._pool, self._passes, self._shape = config.pool, config.passes[level], shape
        self.moving = Bfloat16Features(width, shape)
        self.inputs = Bfloat16Features(2 * GROUP * -(-width // GROUP) + (0 if coarsest else 3), shape)
        self._channels_last: Int32 = np.empty((self.moving.pairs // PAIRS, *shape, PAIRS), np.int32)
        parts = (width, width) if coarsest else (width, width, 3)
        self._first = Bfloat16Convolution(*tensors("first"), config.slope, parts)
        self._second = Bfloat16Convolution(*tensors("second"), config.slope)
        self._head = Bfloat16Convolution(*tensors("head"), 1.0, flow=True)
        self._inner, self._last = Bfloat16Features(inner, shape), Bfloat16Features(inner, shape)

    def coarsest_field(self) -> Float32:
        """Return the flow of the coarsest level, without warping."""
        count = self.moving.pairs * self.moving.size
        self.inputs.data[count : 2 * count] = self.moving.data[:count]
        return self._predict(self.inputs, None)

    def decode(self, coarse: Float32) -> Float32:
        """Return the field of the level from that of the coarser level."""
        field = upsample(coarse, self._shape, self._pool)
        to_channels_last(self.moving, self._channels_last)
        for _ in range(self._passes):
            warp_bfloat16(self._channels_last, field, self.inputs, self.moving.pairs)
            field = self._predict(self.inputs, field)
        return field

    def _predict(self, inputs: Bfloat16Features, field: Float32 | None) -> Float32:
        """Return the field composed with the residual flow."""
        convolve(inputs, self._first, self._inner)
        convolve(self._inner, self._second, self._last)
        return convolve_flow(self._last, self._head, np.empty((3, *self._shape), np.float32), field)
