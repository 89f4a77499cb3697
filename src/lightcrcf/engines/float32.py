"""The layers of the network in float32: Winograd's minimal filtering without strides, direct sums with strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.engines.layers import Features, Layers
from lightcrcf.engines.packing import Convolution, group_outputs, pad_outputs, transform_rows
from lightcrcf.network.config import Shape

__all__ = ["Float32Layers"]

Float32 = NDArray[np.float32]

_BLOCK = 8  # channels of a block in channels-last layout
_NO_STRIDE = (1, 1, 1)
_NOTHING = np.empty((0, 1, 1, 1), np.float32)


class Float32Layers(Layers):
    """Layers whose features are C-contiguous float32 arrays (C, D, H, W)."""

    splits = True

    def convolution(
        self, name: str, weight: Float32, bias: Float32, slope: float, parts: Sequence[int], stride: Shape = _NO_STRIDE
    ) -> Convolution:
        """Pack as `Layers.convolution`; with a stride the weights are not transformed."""
        padded = pad_outputs(np.asarray(weight, np.float32))
        packed = transform_rows(padded) if tuple(stride) == _NO_STRIDE else padded
        outputs, inputs = weight.shape[:2]
        return Convolution(
            name, inputs, outputs, group_outputs(packed), pad_outputs(np.asarray(bias, np.float32)), slope
        )

    def features(self, channels: int, shape: Shape, memory: Features | None = None) -> Float32:
        """Return an array, or a view of `memory`."""
        if memory is not None and memory.shape[1:] == tuple(shape) and len(memory) >= channels:
            view: Float32 = memory[:channels]
            return view
        return np.empty((channels, *shape), np.float32)

    def space_to_depth(self, image: Float32, pool: Shape, out: Features) -> None:
        """Rearrange as `Layers.space_to_depth`."""
        _core.space_to_depth(image, pool, out)

    def convolve(
        self,
        sources: Sequence[Features],
        convolution: Convolution,
        out: Features,
        stride: Shape = _NO_STRIDE,
        start: Features | None = None,
    ) -> Float32:
        """Convolve as `Layers.convolve`; `start` only without a stride."""
        weights = (convolution.weight, convolution.bias, convolution.slope)
        if tuple(stride) == _NO_STRIDE:
            _core.convolve(sources, *weights, _NOTHING if start is None else start, out)
        else:
            _core.convolve_strided(sources, *weights, stride, out)
        result: Float32 = out
        return result

    def flow(self, sources: Sequence[Features], convolution: Convolution, out: Float32) -> Float32:
        """Convolve as `Layers.flow`."""
        return self.convolve(sources, convolution, out)

    def channels_last(self, channels: int, shape: Shape) -> Float32:
        """Return an array (ceil(C / 8), D, H, W, 8)."""
        return np.empty((-(-channels // _BLOCK), *shape, _BLOCK), np.float32)

    def to_channels_last(self, features: Features, out: NDArray[Any]) -> None:
        """Convert as `Layers.to_channels_last`."""
        _core.to_channels_last(features, out)

    def warp(self, features: NDArray[Any], field: Float32, out: Features) -> None:
        """Warp as `Layers.warp`."""
        _core.warp_channels_last(features, field, out)

    def correlate(self, fixed: Features, warped: Features, out: Features) -> None:
        """Correlate as `Layers.correlate`."""
        _core.correlate(fixed, warped, out)

    def repeat(self, features: Features, pool: Shape, out: Features) -> None:
        """Upsample as `Layers.repeat`."""
        _core.repeat(features, pool, out)

    def input_features(self, channels: int, shape: Shape) -> None:
        """Return None: float32 arrays are features."""

    def to_features(self, values: Float32, memory: Features) -> Float32:
        """Return the values themselves."""
        return values
