"""The forward pass of the fused network, once for all precisions: `network.model` over `engines.layers`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.engines import force
from lightcrcf.engines.layers import Features, Layers
from lightcrcf.network.config import LEVELS, NetworkConfig, Shape

__all__ = ["Forward"]

Float32 = NDArray[np.float32]
Arrays = Mapping[str, Float32]

_CORRELATIONS = 27


class Forward:
    """The network for images of one shape, with its buffers, which are allocated once.

    Args:
        config: of the network.
        arrays: its fused weights.
        shape: (D, H, W) of the images.
        layers: of a precision.
    """

    def __init__(self, config: NetworkConfig, arrays: Arrays, shape: Shape, layers: Layers) -> None:
        self._single, self._force = config.stream == "single", config.force
        sizes = [config.coarser(shape, level + 1) for level in range(LEVELS)]
        self._encoder = _Encoder(config, arrays, sizes, layers)
        kind: type[_Level] = _SingleLevel if self._single else _DualLevel
        self._levels: list[_Level] = [
            kind(config, arrays, n, sizes[n], layers, self._encoder.blocks[0]) for n in range(LEVELS)
        ]

    def displacement(self, fixed: Float32, moving: Float32) -> Float32:
        """Return `engines.base.Engine.displacement`, (3, D/2, H/2, W/2) float32."""
        for n, images in enumerate([(fixed, moving)] if self._single else [(fixed,), (moving,)]):
            self._encoder.encode(images, [level.encoded[n] for level in self._levels])
        if self._single:
            _pool_images((fixed, moving), [level.images for level in self._levels])
        elif self._force:
            self._levels[0].compared = (fixed, moving)
            _pool_images((fixed, moving), [level.images for level in self._levels[:-1]])
        field, context = self._levels[-1].coarsest()
        for level in self._levels[-2::-1]:
            field, context = level.decode(field, context)
        return field


class _Encoder:
    """The encoder of one image, or of both together."""

    def __init__(self, config: NetworkConfig, arrays: Arrays, sizes: Sequence[Shape], layers: Layers) -> None:
        self._layers, self._pool = layers, config.pool
        images = 2 if config.stream == "single" else 1
        self.blocks = [layers.features(config.blocks, sizes[0]) for _ in range(images)]
        """Free for other uses after `encode`."""
        self._strides = [(1, 1, 1), *[config.pool] * (LEVELS - 1)]
        inputs = [(config.blocks,) * images, *((width,) for width in config.encoder)]
        self._convolutions = [
            layers.convolution(*_tensors(arrays, f"encoder.{n}"), config.slope, inputs[n], self._strides[n])
            for n in range(LEVELS)
        ]

    def encode(self, images: Sequence[Float32], targets: Sequence[Features]) -> None:
        """Write the features of each level to its target."""
        for image, blocks in zip(images, self.blocks, strict=True):
            self._layers.space_to_depth(image, self._pool, blocks)
        sources = self.blocks
        for convolution, stride, target in zip(self._convolutions, self._strides, targets, strict=True):
            sources = [self._layers.convolve(sources, convolution, target, stride)]


class _Decoder:
    """The two blocks and the head of a level.

    Args:
        config, arrays: of the network.
        level: 0 for the finest.
        shape: of its grid.
        layers: of a precision.
        parts: channels of each input.
        memory: features for inner results, if they fit.
        shared: whether the first part is the same in all passes, and its sums are computed once.
    """

    def __init__(
        self, config: NetworkConfig, arrays: Arrays, level: int, shape: Shape, layers: Layers, parts: Sequence[int],
        memory: tuple[Features, Features | None], shared: bool,
    ) -> None:  # fmt: skip
        self._layers, width, self._shape = layers, config.decoder[level], shape
        name, weight, bias = _tensors(arrays, f"levels.{level}.first")
        self._begin, self._sums = None, None
        if shared:
            self._begin = layers.convolution(f"{name}, fixed image", weight[:, : parts[0]], bias, 1.0, parts[:1])
            self._sums = layers.features(width, shape)
            weight, bias, parts = weight[:, parts[0] :], np.zeros_like(bias), parts[1:]
        self._first = layers.convolution(name, weight, bias, config.slope, parts)
        self._second = layers.convolution(*_tensors(arrays, f"levels.{level}.second"), config.slope, (width,))
        self._head = layers.convolution(*_tensors(arrays, f"levels.{level}.head"), 1.0, (width,))
        self._inner, self.features = (layers.features(width, shape, m) for m in memory)
        self._flow = np.empty((3, *shape), np.float32)

    def begin(self, first: Features) -> None:
        """Sum over the part that passes share, if they do."""
        if self._begin is not None:
            self._layers.convolve([first], self._begin, self._sums)

    def predict(self, sources: Sequence[Features]) -> Float32:
        """Return the residual flow (3, D, H, W); valid until the next call."""
        own = sources if self._begin is None else sources[1:]
        inner = self._layers.convolve(own, self._first, self._inner, start=self._sums)
        self._layers.convolve([inner], self._second, self.features)
        return self._layers.flow([self.features], self._head, self._flow)


class _Level(ABC):
    """A level of the network.

    Args:
        config, arrays: of the network.
        level: 0 for the finest.
        shape: of its grid.
        layers: of a precision.
        blocks: features that are free during decoding.
    """

    encoded: tuple[Features, ...]
    """Features of each image, or joint ones, from the encoder."""
    images: Float32
    """The fixed and the moving image (2, D, H, W) at the resolution of the level, for one stream or forces."""
    compared: Sequence[Float32]
    """The images of which forces are computed: those of the level, or finer ones."""

    @abstractmethod
    def __init__(
        self, config: NetworkConfig, arrays: Arrays, level: int, shape: Shape, layers: Layers, blocks: Features
    ) -> None: ...

    @abstractmethod
    def coarsest(self) -> tuple[Float32, Features | None]:
        """Return the flow of the coarsest level, without warping, and decoder features for the next level."""

    @abstractmethod
    def decode(self, coarse: Float32, context: Features | None) -> tuple[Float32, Features | None]:
        """Return the field of the level, and decoder features for the next, from those of the coarser level."""


class _DualLevel(_Level):
    """A level of a network with two streams: fixed features, warped moving features or correlations, flow, force."""

    def __init__(
        self, config: NetworkConfig, arrays: Arrays, level: int, shape: Shape, layers: Layers, blocks: Features
    ) -> None:
        width, coarsest = config.encoder[level], level == LEVELS - 1
        self._layers, self._pool, self._passes, self._shape = layers, config.pool, config.passes[level], shape
        self._fixed, self._moving = self.encoded = (layers.features(width, shape), layers.features(width, shape))
        self._channels_last = layers.channels_last(0 if coarsest else width, shape)
        self._warped = self._moving if coarsest else layers.features(width, shape, self._moving)
        self._correlated = layers.features(_CORRELATIONS, shape) if config.correlation else None
        self._flow = None if coarsest else layers.input_features(3, shape)
        self._antisymmetric = config.antisymmetric[level]
        self._sees_force = config.force and not coarsest
        self.images = np.empty((2 * self._sees_force, *shape), np.float32)
        self.compared = tuple(self.images)
        self._force = layers.input_features(3, shape) if self._sees_force else None
        vectors = 0 if coarsest else 1 + config.force
        parts = (width, _CORRELATIONS if config.correlation else width, *(3,) * vectors)
        shared = layers.splits and self._passes > 1 and not self._antisymmetric
        # Once its sums are computed, nothing reads the fixed features; but correlations do.
        memory = (blocks, self._fixed if shared and not config.correlation else None)
        self._decoder = _Decoder(config, arrays, level, shape, layers, parts, memory, shared)

    def coarsest(self) -> tuple[Float32, None]:
        """Return the flow."""
        return self._residual(None).copy(), None

    def decode(self, coarse: Float32, context: Features | None) -> tuple[Float32, None]:
        """Return the field, after all passes."""
        field = self._layers.upsample(coarse, self._shape, self._pool)
        self._layers.to_channels_last(self._moving, self._channels_last)
        self._decoder.begin(self._fixed)
        for _pass in range(self._passes):
            self._layers.warp(self._channels_last, field, self._warped)
            field = self._layers.compose(field, self._residual(field))
        return field, None

    def _residual(self, field: Float32 | None) -> Float32:
        """Return the residual flow of one pass, of both directions half their difference; valid until the next call."""
        images, forces = [self._fixed, self._matched()], list[Float32]()
        if self._sees_force and field is not None:
            fixed, moving = self.compared
            forces += force.forces(fixed, moving, field, self._pool, both=self._antisymmetric)
        there = self._predict(images, field, *forces[:1])
        if not self._antisymmetric:
            return there
        difference = there.copy()
        difference -= self._predict(images[::-1], field, *forces[1:])
        difference *= np.float32(0.5)
        return difference

    def _predict(self, images: Sequence[Features], *vectors: Float32 | None) -> Float32:
        """Return the output of the decoder for features and, where there are any, the field so far and the force."""
        memories = (self._flow, self._force)
        further = zip(vectors, memories[: len(vectors)], strict=True)
        return self._decoder.predict([*images, *(self._layers.to_features(v, m) for v, m in further if v is not None)])

    def _matched(self) -> Features:
        if self._correlated is None:
            return self._warped
        self._layers.correlate(self._fixed, self._warped, self._correlated)
        return self._correlated


class _SingleLevel(_Level):
    """A level of a network with one stream: joint features, coarser decoder features, both images, flow."""

    def __init__(
        self, config: NetworkConfig, arrays: Arrays, level: int, shape: Shape, layers: Layers, blocks: Features
    ) -> None:
        coarsest = level == LEVELS - 1
        self._layers, self._pool, self._shape = layers, config.pool, shape
        self._joint = layers.features(config.encoder[level], shape)
        self.encoded = (self._joint,)
        self.images, self._pair = (np.empty((2, *shape), np.float32) for _ in range(2))
        self._image_features = layers.input_features(2, shape)
        self._context = None if coarsest else layers.features(config.decoder[level + 1], shape)
        self._flow = None if coarsest else layers.input_features(3, shape)
        parts = (config.encoder[level], 2) if coarsest else (config.encoder[level], config.decoder[level + 1], 2, 3)
        self._decoder = _Decoder(config, arrays, level, shape, layers, parts, (blocks, None), False)

    def coarsest(self) -> tuple[Float32, Features]:
        """Return the flow and the decoder's features."""
        images = self._layers.to_features(self.images, self._image_features)
        return self._decoder.predict([self._joint, images]).copy(), self._decoder.features

    def decode(self, coarse: Float32, context: Features | None) -> tuple[Float32, Features]:
        """Return the field and the decoder's features."""
        field = self._layers.upsample(coarse, self._shape, self._pool)
        self._layers.repeat(context, self._pool, self._context)
        self._pair[0] = self.images[0]
        self._pair[1] = self._layers.warp_image(self.images[1:], field)[0]
        images, flow = (
            self._layers.to_features(self._pair, self._image_features),
            self._layers.to_features(field, self._flow),
        )
        residual = self._decoder.predict([self._joint, self._context, images, flow])
        return self._layers.compose(field, residual), self._decoder.features


def _tensors(arrays: Arrays, name: str) -> tuple[str, Float32, Float32]:
    return name, arrays[f"{name}.weight"], arrays[f"{name}.bias"]


def _pool_images(images: Sequence[Float32], targets: Sequence[Float32]) -> None:
    """Write both images at each level, fine to coarse, to its target (2, d, h, w)."""
    sources: Sequence[Float32] = images
    for target in targets:
        for source, out in zip(sources, target, strict=True):
            pool = tuple(n // m for n, m in zip(source.shape, out.shape, strict=True))
            _core.average_pool(source, pool, out)
        sources = list(target)
