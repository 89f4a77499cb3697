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
        width, inner = config.encoder[0], config.decoder[0]
        self._encoder = packed("encoder.0", config.slope)
        # The first convolution in two parts: that of the fixed image's features is the same in every pass.
        weight, bias = arrays["levels.0.first.weight"], arrays["levels.0.first.bias"]
        self._of_fixed = PackedConvolution(weight[:, :width], bias, 1.0)
        self._first = PackedConvolution(weight[:, width:], np.zeros_like(bias), config.slope)
        self._second, self._head = packed("levels.0.second", config.slope), packed("levels.0.head", 1.0)
        self._features = np.empty((2, width, *shape), np.float32)
        self._warped = np.empty((width, *shape), np.float32)
        self._begun, self._inner, self._last = (np.empty((inner, *shape), np.float32) for _ in range(3))
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
        begun = self._begin(fixed)
        for _ in range(self._config.passes[0]):
            field = compose(field, self._predict(warp(moving, field, self._warped), field, begun))
        return field

    def _begin(self, fixed: Float32) -> Float32:
        """What the fixed image's features add to the first convolution."""
        return convolve([fixed], self._of_fixed, self._begun)

    def _predict(self, warped: Float32, field: Float32, begun: Float32) -> Float32:
        """The residual flow."""
        inner = convolve([warped, field], self._first, self._inner, begun)
        return convolve([convolve([inner], self._second, self._last)], self._head, self._residual)
