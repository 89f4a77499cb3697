"""The layers of the network: what `engines.forward` is made of, with an implementation for each precision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.packing import Convolution
from lightcrcf.geometry import kernels
from lightcrcf.network.config import Shape

__all__ = ["Features", "Layers"]

Float32 = NDArray[np.float32]
Features = Any
"""Features (C, D, H, W) in memory of an implementation."""

_NO_STRIDE = (1, 1, 1)


class Layers(ABC):
    """The operations of the network in one precision. Flows, fields and images are float32 in all."""

    splits: bool
    """Whether `convolve` can add to sums over some of the inputs (`begin`), which passes share."""

    @abstractmethod
    def convolution(
        self, name: str, weight: Float32, bias: Float32, slope: float, parts: Sequence[int], stride: Shape = _NO_STRIDE
    ) -> Convolution:
        """Pack a convolution.

        Args:
            name: of the tensors.
            weight: (O, I, 3, 3, 3).
            bias: (O,).
            slope: of the leaky ReLU that follows; 1 for none.
            parts: channels of each source; they add up to I.
            stride: that `convolve` will have.
        """

    @abstractmethod
    def features(self, channels: int, shape: Shape, memory: Features | None = None) -> Features:
        """Return uninitialised features, in `memory` if that has as many channels on the same grid."""

    @abstractmethod
    def space_to_depth(self, image: Float32, pool: Shape, out: Features) -> None:
        """Rearrange an image (D, H, W) to one channel for each voxel of a block, as `network.model.space_to_depth`."""

    @abstractmethod
    def convolve(
        self,
        sources: Sequence[Features],
        convolution: Convolution,
        out: Features,
        stride: Shape = _NO_STRIDE,
        start: Features | None = None,
    ) -> Features:
        """Convolve the channels of all sources with zero padding, add `start`, apply the leaky ReLU; return `out`."""

    @abstractmethod
    def flow(self, sources: Sequence[Features], convolution: Convolution, out: Float32) -> Float32:
        """Convolve to a flow (3, D, H, W) float32, voxels; return `out`."""

    @abstractmethod
    def channels_last(self, channels: int, shape: Shape) -> NDArray[Any]:
        """Return an array for `to_channels_last`."""

    @abstractmethod
    def to_channels_last(self, features: Features, out: NDArray[Any]) -> None:
        """Convert features to channels-last layout, for `warp`."""

    @abstractmethod
    def warp(self, features: NDArray[Any], field: Float32, out: Features) -> None:
        """Warp channels-last features, trilinear, clamped at the borders, as `geometry.kernels.warp`."""

    @abstractmethod
    def correlate(self, fixed: Features, warped: Features, out: Features) -> None:
        """Write the 27 local correlations, as `network.model.correlate`."""

    @abstractmethod
    def repeat(self, features: Features, pool: Shape, out: Features) -> None:
        """Upsample by nearest neighbour."""

    @abstractmethod
    def input_features(self, channels: int, shape: Shape) -> Features | None:
        """Return memory for `to_features`; None if it needs none."""

    @abstractmethod
    def to_features(self, values: Float32, memory: Features) -> Features:
        """Return float32 values (C, D, H, W), such as a field, as features; memory from `input_features`."""

    def upsample(self, field: Float32, shape: Shape, pool: Shape) -> Float32:
        """Return `geometry.kernels.upsample`: a field in voxels of a finer grid."""
        return kernels.upsample(field, shape, pool)

    def compose(self, field: Float32, flow: Float32) -> Float32:
        """Return `geometry.kernels.compose`: field o flow."""
        return kernels.compose(field, flow)

    def warp_image(self, image: Float32, field: Float32) -> Float32:
        """Return an image (1, D, H, W) warped, as `geometry.kernels.warp`."""
        return kernels.warp(image, field)
