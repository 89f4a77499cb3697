"""The finest level of the network in this project's own kernels, where most of the time goes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.convolution import PackedConvolution, convolve
from lightcrcf.geometry.kernels import compose, upsample, warp
from lightcrcf.network.config import NetworkConfig, Shape

__all__ = ["FinestLevel"]

Float32 = NDArray[np.float32]


class FinestLevel:
    """Encoder and decoder at 1/2 of the working resolution, in float32, with the memory that they need.

    Args:
        config: of a network that `suits`.
        arrays: its fused weights.
        shape: (D/2, H/2, W/2).
    """

    def __init__(self, config: NetworkConfig, arrays: Mapping[str, Float32], shape: Shape) -> None:
        def packed(name: str, slope: float) -> PackedConvolution:
            return PackedConvolution(arrays[f"{name}.weight"], arrays[f"{name}.bias"], slope)

        self._config = config
        self._encoder = packed("encoder.0", config.slope)
        self._blocks = [packed(f"levels.0.{name}", config.slope) for name in ("first", "second")]
        self._head = packed("levels.0.head", 1.0)
        width, inner = config.encoder[0], config.decoder[0]
        self._features = np.empty((2, width, *shape), np.float32)
        self._warped = np.empty((width, *shape), np.float32)
        self._inner = [np.empty((inner, *shape), np.float32) for _ in self._blocks]
        self._residual = np.empty((3, *shape), np.float32)

    @staticmethod
    def suits(config: NetworkConfig) -> bool:
        """Whether the network's finest level is made of nothing but what is here."""
        return config.stream == "dual" and not config.correlation

    def encode(self, blocks: Float32) -> Float32:
        """(2, channels, D/2, H/2, W/2) features of space-to-depth images; valid until the next call."""
        for images, features in zip(blocks, self._features, strict=True):
            convolve([images], self._encoder, features)
        return self._features

    def decode(self, fixed: Float32, moving: Float32, coarse: Float32) -> Float32:
        """The field (3, D/2, H/2, W/2), from features of both images and the coarser level's field."""
        _, depth, height, width = fixed.shape
        field = upsample(coarse, (depth, height, width), self._config.pool)
        for _ in range(self._config.passes[0]):
            field = compose(field, self._predict([fixed, warp(moving, field, self._warped), field]))
        return field

    def _predict(self, inputs: list[Float32]) -> Float32:
        """The residual flow."""
        for block, inner in zip(self._blocks, self._inner, strict=True):
            inputs = [convolve(inputs, block, inner)]
        return convolve(inputs, self._head, self._residual)
