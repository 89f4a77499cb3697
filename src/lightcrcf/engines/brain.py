"""Brain extraction with OpenVINO: one graph, compiled for the last shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.graphs import op, openvino
from lightcrcf.geometry.threads import threads_in_use
from lightcrcf.network.brain_config import BLOCKS, CONVOLUTIONS, MULTIPLE, SLOPE
from lightcrcf.weights.brain import brain_weights

__all__ = ["brain_graph", "brain_logits"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]
Node = Any


def brain_logits(image: Float32, known: Float32, arrays: Mapping[str, Float32] | None = None) -> Float32:
    """Return the logits of brain, (D, H, W) float32.

    Args:
        image: (D, H, W) unit intensities, 0 outside the field of view; sizes are multiples of 16.
        known: (D, H, W), 1 inside the field of view.
        arrays: weights; the shipped ones by default.

    Raises:
        ValueError: for other sizes.
    """
    depth, height, width = image.shape
    if any(n % MULTIPLE for n in image.shape):
        raise ValueError(f"sizes that are multiples of {MULTIPLE}, not {image.shape}")
    shape = (depth, height, width)
    threads = threads_in_use()
    request = _request(shape, threads) if arrays is None else _compiled(arrays, shape, threads)
    source = openvino.Tensor(np.stack([image, known])[None])
    return np.array(request.infer([source])[0][0, 0], np.float32)


@lru_cache(maxsize=2)
def _request(shape: Shape, threads: int) -> Any:
    return _compiled(brain_weights(), shape, threads)


def _compiled(arrays: Mapping[str, Float32], shape: Shape, threads: int) -> Any:
    properties = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
    }  # fmt: skip
    return openvino.Core().compile_model(brain_graph(arrays, shape), "CPU", properties).create_infer_request()


def brain_graph(arrays: Mapping[str, Float32], shape: Shape) -> Any:
    """Return the graph of `network.brain.BrainNet`: input (1, 2, *shape), output logits (1, 1, *shape)."""

    def layer(name: str, x: Node) -> Node:
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        strides, ones = [CONVOLUTIONS[name][2]] * 3, [1, 1, 1]
        convolved = op.convolution(x, op.constant(weight), strides, ones, ones, ones)
        return op.add(convolved, op.constant(bias.reshape(1, -1, 1, 1, 1)))

    def at(name: str, x: Node) -> Node:
        return op.prelu(layer(name, x), op.constant(np.array([SLOPE], np.float32)))

    source = op.parameter([1, 2, *shape], np.float32)
    down = [at("down0", op.space_to_depth(source, "depth_first", BLOCKS))]
    for level in (1, 2, 3):
        down.append(at(f"same{level}", at(f"down{level}", down[-1])))
    y = down.pop()
    for level in (2, 1, 0):
        skip = down.pop()
        y = at(f"up{level}", op.concat([_upsample(y), skip], 1))
    blocks = layer("head", at("last", y))
    return openvino.Model([op.result(op.depth_to_space(blocks, "blocks_first", BLOCKS))], [source])


def _upsample(x: Node) -> Node:
    """Upsample by nearest neighbour, factor 2."""
    scales, axes = op.constant(np.full(3, 2, np.float32)), op.constant(np.array([2, 3, 4]))
    return op.interpolate(
        x, scales, "nearest", "scales", axes=axes, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
