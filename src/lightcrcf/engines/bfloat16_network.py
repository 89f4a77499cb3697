"""The whole network in bfloat16, in this project's own kernels; flows stay float32.

It computes what the graphs of `engines.graphs` do, for two streams. All that it needs lies in memory that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.bfloat16 import GROUP, PAIRS, PairedConvolution, PairedFeatures, convolve, convolve_flow
from lightcrcf.engines.bfloat16_features import beside, space_to_pairs, warp_paired
from lightcrcf.geometry.kernels import upsample
from lightcrcf.geometry.tiles import dot_product_is_native
from lightcrcf.network.config import LEVELS, NetworkConfig, Shape

__all__ = ["Bfloat16Network", "runs_in_bfloat16"]

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Arrays = Mapping[str, Float32]


def runs_in_bfloat16(config: NetworkConfig) -> bool:
    """Whether the network is made of what is here, and the processor has the instruction."""
    return config.stream == "dual" and not config.correlation and dot_product_is_native()


class Bfloat16Network:
    """A network ready for images of one shape.

    Args:
        config: of a network that `runs_in_bfloat16`.
        arrays: its fused weights.
        shape: (D, H, W) of the images.
    """

    def __init__(self, config: NetworkConfig, arrays: Arrays, shape: Shape) -> None:
        sizes = [config.coarser(shape, level + 1) for level in range(LEVELS)]
        self._pool, self._slope = config.pool, config.slope
        self._blocks = PairedFeatures(config.blocks, sizes[0])
        self._encoder = [
            PairedConvolution(arrays[f"encoder.{n}.weight"], arrays[f"encoder.{n}.bias"], config.slope)
            for n in range(LEVELS)
        ]
        self._levels = [_Level(config, arrays, n, sizes[n]) for n in range(LEVELS)]

    def displacement(self, fixed: Float32, moving: Float32) -> Float32:
        """(3, D/2, H/2, W/2) float32, as `engines.base.Engine.displacement`."""
        self._encode(fixed, [level.inputs for level in self._levels])
        self._encode(moving, [level.moving for level in self._levels])
        field = self._levels[-1].begin()
        for level in self._levels[-2::-1]:
            field = level.decode(field)
        return field

    def _encode(self, image: Float32, targets: list[PairedFeatures]) -> None:
        """The features of all levels become the first channels of the targets."""
        space_to_pairs(image, self._pool, self._blocks)
        source = self._blocks
        for n, (packed, target) in enumerate(zip(self._encoder, targets, strict=True)):
            convolve(source, packed, target, stride=(1, 1, 1) if n == 0 else self._pool)
            source = target


class _Level:
    """The decoder of one level, and memory for its features."""

    def __init__(self, config: NetworkConfig, arrays: Arrays, level: int, shape: Shape) -> None:
        def tensors(name: str) -> tuple[Float32, Float32]:
            return arrays[f"levels.{level}.{name}.weight"], arrays[f"levels.{level}.{name}.bias"]

        width, inner = config.encoder[level], config.decoder[level]
        coarsest = level == LEVELS - 1
        self._pool, self._passes, self._shape = config.pool, config.passes[level], shape
        self.moving = PairedFeatures(width, shape)
        self.inputs = PairedFeatures(2 * GROUP * -(-width // GROUP) + (0 if coarsest else 3), shape)
        self._beside: Int32 = np.empty((self.moving.pairs // PAIRS, *shape, PAIRS), np.int32)
        parts = (width, width) if coarsest else (width, width, 3)
        self._first = PairedConvolution(*tensors("first"), config.slope, parts)
        self._second = PairedConvolution(*tensors("second"), config.slope)
        self._head = PairedConvolution(*tensors("head"), 1.0, flow=True)
        self._inner, self._last = PairedFeatures(inner, shape), PairedFeatures(inner, shape)

    def begin(self) -> Float32:
        """The flow of the coarsest level, where nothing has been moved yet."""
        count = self.moving.pairs * self.moving.size
        self.inputs.data[count : 2 * count] = self.moving.data[:count]
        return self._predict(self.inputs, None)

    def decode(self, coarse: Float32) -> Float32:
        """The level's field, from the coarser level's."""
        field = upsample(coarse, self._shape, self._pool)
        beside(self.moving, self._beside)
        for _ in range(self._passes):
            warp_paired(self._beside, field, self.inputs, self.moving.pairs)
            field = self._predict(self.inputs, field)
        return field

    def _predict(self, inputs: PairedFeatures, field: Float32 | None) -> Float32:
        """The field composed with the residual flow."""
        convolve(inputs, self._first, self._inner)
        convolve(self._inner, self._second, self._last)
        return convolve_flow(self._last, self._head, np.empty((3, *self._shape), np.float32), field)
