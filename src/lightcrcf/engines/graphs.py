"""OpenVINO graphs of the network from plain arrays: one for the encoder, and one for each decoder level.

OpenVINO has no 3-D grid sampling, so that graphs end at the warps. Shapes are static, for the choice of kernels.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.network.config import LEVELS, NetworkConfig

__all__ = ["encoder_graph", "level_graph", "op", "openvino", "smallest_graph"]

Arrays = Mapping[str, NDArray[np.float32]]
Shape = tuple[int, int, int]
Node = Any

_CONVERTER = "openvino.tools.ovc"


def _import_openvino() -> Any:
    """Import OpenVINO without its model converter, whose import takes 0.3 s and sends telemetry."""
    blocked = _CONVERTER not in sys.modules
    if blocked:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        import openvino
    finally:
        if blocked:
            del sys.modules[_CONVERTER]
    return openvino


openvino: Any = _import_openvino()
op: Any = openvino.opset13


def encoder_graph(config: NetworkConfig, arrays: Arrays, shape: Shape, *, first: int = 0) -> Any:
    """Return the graph of the encoder: features of all levels from space-to-depth images.

    Args:
        config: of the network.
        arrays: its fused weights.
        shape: (D/2, H/2, W/2).
        first: first level; from 1 on, the input is the features of the level before.

    Returns:
        A model with the input (2, channels, *shape) for two streams (fixed, moving), or (1, 2 blocks, *shape) for one.
        Outputs: features of each level, fine to coarse; for one stream also the (1, 2, ...) images at each level.
    """
    single = config.stream == "single"
    count = config.encoder[first - 1] if first else config.blocks
    blocks = _parameter(2 * count, shape) if single else _parameter(count, shape, batch=2)
    features, x = [], blocks
    for level in range(first, LEVELS):
        stride = (1, 1, 1) if level == 0 else config.pool
        x = _activation(_convolution(x, arrays, f"encoder.{level}", stride=stride), config.slope)
        features.append(x)
    images = _image_pyramid(blocks, shape, config) if single else []
    return openvino.Model([op.result(output) for output in (*features, *images)], [blocks])


def level_graph(config: NetworkConfig, arrays: Arrays, level: int, shape: Shape) -> Any:
    """Return the graph of the decoder of one level.

    Args:
        config: of the network.
        arrays: its fused weights.
        level: 0 is 1/2, 3 is 1/16.
        shape: of this level's grid.

    Returns:
        A model. Inputs for two streams: fixed features, warped moving features, flow (not at the coarsest level).
        Inputs for one stream: joint features, fixed image, warped moving image, flow and the coarser level's decoder
        features (both not at the coarsest level). Outputs: residual flow (1, 3, *shape); for one stream also the
        decoder features.
    """
    single, coarsest = config.stream == "single", level == LEVELS - 1
    width = config.encoder[level]
    channels = [width, 1, 1] if single else [width, width]
    inputs = [_parameter(c, shape) for c in (channels if coarsest else [*channels, 3])]
    parts = list(inputs)
    if single and not coarsest:
        inputs.append(_parameter(config.decoder[level + 1], config.coarser(shape, 1)))
        parts.insert(1, _nearest(inputs[-1], shape))
    elif config.correlation:
        parts[1] = _correlation(parts[0], parts[1], shape)
    x = op.concat(parts, 1)
    for block in ("first", "second"):
        x = _activation(_convolution(x, arrays, f"levels.{level}.{block}"), config.slope)
    outputs = [_convolution(x, arrays, f"levels.{level}.head"), *([x] if single else [])]
    return openvino.Model([op.result(output) for output in outputs], inputs)


def smallest_graph() -> Any:
    """Return a graph of one convolution, to test what the plugin can compile."""
    source, weight = _parameter(8, (4, 4, 4)), np.zeros((8, 8, 3, 3, 3), np.float32)
    return openvino.Model([op.result(op.convolution(source, op.constant(weight), *[[1, 1, 1]] * 4))], [source])


def _parameter(channels: int, shape: tuple[int, ...], *, batch: int = 1) -> Node:
    return op.parameter([batch, channels, *shape], np.float32)


def _convolution(x: Node, arrays: Arrays, name: str, *, stride: Shape = (1, 1, 1)) -> Node:
    weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
    ones = [1, 1, 1]
    convolved = op.convolution(x, op.constant(weight), list(stride), ones, ones, ones)
    return op.add(convolved, op.constant(bias.reshape(1, -1, 1, 1, 1)))


def _activation(x: Node, slope: float) -> Node:
    return op.prelu(x, op.constant(np.array([slope], np.float32)))


def _nearest(x: Node, shape: Shape) -> Node:
    """Upsample by nearest neighbour, factor 2."""
    sizes, axes = op.constant(np.array(shape)), op.constant(np.array([2, 3, 4]))
    return op.interpolate(
        x, sizes, "nearest", "sizes", axes=axes, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _image_pyramid(blocks: Node, shape: Shape, config: NetworkConfig) -> list[Node]:
    """Return the images at each level, (1, 2, ...), from their space-to-depth (1, 2 blocks, *shape)."""
    pairs = op.reshape(blocks, op.constant(np.array([1, 2, config.blocks, shape[0] * shape[1] * shape[2]])), False)
    flat = op.reduce_mean(pairs, op.constant(np.array([2])), False)
    images = [op.reshape(flat, op.constant(np.array([1, 2, *shape])), False)]
    for _ in range(LEVELS - 1):
        window, none = list(config.pool), [0, 0, 0]
        images.append(op.avg_pool(images[-1], window, none, none, window, True))
    return images


def _correlation(fixed: Node, warped: Node, shape: Shape) -> Node:
    """Return `network.model.correlate`."""
    edge = op.constant(np.array([0, 0, 1, 1, 1]))
    around = op.pad(warped, edge, edge, "constant", op.constant(np.float32(0)))
    step, axes, channel = (op.constant(np.array(v)) for v in ([1, 1, 1], [2, 3, 4], [1]))
    products = []
    for offset in np.ndindex(3, 3, 3):
        start, stop = op.constant(np.array(offset)), op.constant(np.array(offset) + shape)
        shifted = op.slice(around, start, stop, step, axes)
        products.append(op.reduce_mean(op.multiply(fixed, shifted), channel, True))
    return op.concat(products, 1)
