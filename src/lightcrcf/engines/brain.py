"""Brain extraction: the forward pass of `network.brain.BrainNet` with the native kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.engines.float32 import Float32Layers
from lightcrcf.engines.packing import Convolution
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.network.brain_config import BLOCKS, CONVOLUTIONS, MULTIPLE, SLOPE
from lightcrcf.weights.brain import brain_weights

__all__ = ["brain_logits"]

Float32 = NDArray[np.float32]
Packed = Mapping[str, Convolution]

_LAYERS = Float32Layers()
_POOL = (BLOCKS, BLOCKS, BLOCKS)


def brain_logits(image: Float32, known: Float32, arrays: Mapping[str, Float32] | None = None) -> Float32:
    """Return the logits of brain, (D, H, W) float32.

    Args:
        image: (D, H, W) unit intensities, 0 outside the field of view; sizes are multiples of 16.
        known: (D, H, W), 1 inside the field of view.
        arrays: weights; the shipped ones by default.

    Raises:
        ValueError: for other sizes.
    """
    if any(n % MULTIPLE for n in image.shape):
        raise ValueError(f"sizes that are multiples of {MULTIPLE}, not {image.shape}")
    packed = _shipped() if arrays is None else _pack(arrays)
    down = [_layer(packed, "down0", [_space_to_depth(image), _space_to_depth(known)])]
    for level in (1, 2, 3):
        down.append(_layer(packed, f"same{level}", [_layer(packed, f"down{level}", down[-1:])]))
    y = down.pop()
    for level in (2, 1, 0):
        y = _layer(packed, f"up{level}", [_upsample(y), down.pop()])
    blocks = _layer(packed, "head", [_layer(packed, "last", [y])])
    logits = np.empty(image.shape, np.float32)
    _core.depth_to_space(blocks, _POOL, logits)
    return logits


@cache
def _shipped() -> Packed:
    return _pack(brain_weights())


def _pack(arrays: Mapping[str, Float32]) -> Packed:
    return {
        name: _LAYERS.convolution(
            name, arrays[f"{name}.weight"], arrays[f"{name}.bias"], 1.0 if name == "head" else SLOPE, (inputs,),
            (stride,) * 3,
        )
        for name, (inputs, _, stride) in CONVOLUTIONS.items()
    }  # fmt: skip


def _layer(packed: Packed, name: str, sources: Sequence[Float32]) -> Float32:
    _, outputs, stride = CONVOLUTIONS[name]
    depth, height, width = (n // stride for n in sources[0].shape[1:])
    out = np.empty((outputs, depth, height, width), np.float32)
    return _LAYERS.convolve(sources, packed[name], out, (stride,) * 3)


def _space_to_depth(image: Float32) -> Float32:
    depth, height, width = (n // BLOCKS for n in image.shape)
    out = np.empty((BLOCKS**3, depth, height, width), np.float32)
    _LAYERS.space_to_depth(contiguous(image), _POOL, out)
    return out


def _upsample(features: Float32) -> Float32:
    """Upsample by nearest neighbour, factor 2."""
    channels, depth, height, width = features.shape
    out = np.empty((channels, BLOCKS * depth, BLOCKS * height, BLOCKS * width), np.float32)
    _LAYERS.repeat(features, _POOL, out)
    return out
