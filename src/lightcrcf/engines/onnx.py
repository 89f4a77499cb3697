"""Export of the network as one ONNX graph, from plain arrays, without PyTorch.

It includes the warps (GridSample supports volumes since operator set 20), and image sizes
are dynamic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.onnx_forces import unit_force
from lightcrcf.errors import UsageError, how_to_install
from lightcrcf.network.config import LEVELS
from lightcrcf.weights.store import Weights

try:
    import onnx
except ModuleNotFoundError:
    raise UsageError(
        "format onnx", expected="the package onnx", got="no such package", remedy=how_to_install("export")
    ) from None

__all__ = ["OPSET", "onnx_bytes"]

OPSET = 20
"""The first operator set with GridSample for volumes."""

_IR_VERSION = 9  # of the first onnx release with the operator set; older runtimes refuse newer versions
_END = np.iinfo(np.int64).max
_AXES = (2, 3, 4)


def onnx_bytes(weights: Weights) -> bytes:
    """Return the serialised graph of a model; the bytes are deterministic.

    Inputs `fixed` and `moving`, (1, 1, D, H, W) float32: normalised intensities on one grid (see `preparation` in
    the metadata), with sizes that are multiples of `NetworkConfig.multiples`. Output `displacement`,
    (1, 3, D/2, H/2, W/2) float32 in voxels of the half grid, pull-back, as from `Engine.displacement`.

    Args:
        weights: the model.

    Raises:
        UsageError: if the package onnx is not installed.
    """
    graph = _Graph(weights)
    field = graph.network("fixed", "moving")
    graph.node("Identity", [field], output="displacement")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    images = [helper.make_tensor_value_info(name, float32, [1, 1, "D", "H", "W"]) for name in ("fixed", "moving")]
    half = [f"{name}/{factor}" if factor > 1 else name for name, factor in zip("DHW", weights.config.pool, strict=True)]
    result = helper.make_tensor_value_info("displacement", float32, [1, 3, *half])
    body = helper.make_graph(graph.nodes, "LightCRCF", images, [result], graph.constants)
    model = helper.make_model(
        body, producer_name="lightcrcf", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
    )
    helper.set_model_props(model, _metadata(weights))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _metadata(weights: Weights) -> dict[str, str]:
    """Return the metadata of the graph: model, preparation and conventions."""
    return {
        "model": weights.name,
        "weights_sha256": weights.sha256,
        "made_for": weights.content,
        "supervision": weights.supervision,
        "preparation": json.dumps(asdict(weights.preparation), sort_keys=True),
        "multiples": json.dumps(weights.config.multiples),
        "displacement": "voxels of the half grid, pull-back: moved(x) = moving(x + displacement(x))",
    }


class _Graph:
    """A builder of the graph of `network.model`; values are node names."""

    def __init__(self, weights: Weights) -> None:
        self._arrays, self._config = weights.arrays, weights.config
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """Add an operator with one output, and return its name."""
        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.int64, name: str | None = None) -> str:
        """Add a constant tensor, and return its name."""
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def network(self, fixed: str, moving: str) -> str:
        """Return the finest field."""
        config, single = self._config, self._config.stream == "single"
        blocks = [self._space_to_depth(image) for image in (fixed, moving)]
        levels = self._encoder(self._concat(blocks, 1 if single else 0))
        images = [self._pyramid(block) for block in blocks] if single or config.force else []
        field, context = "", ""
        for level in range(LEVELS - 1, -1, -1):
            joint, pair = [], [self._part(levels[level], 0, n) for n in range(2)]
            if single:
                joint, pair = [levels[level]], [pyramid[level] for pyramid in images]
            coarsest = level == LEVELS - 1
            if coarsest:
                field, context = self._residual(level, joint, *pair)
                if config.antisymmetric[level]:
                    field = self._half_difference(field, self._residual(level, joint, *pair[::-1])[0])
                continue
            upsampled = [self._repeat(context)] if single else []
            field = self.upsample(field)
            for _ in range(config.passes[level]):
                warped = self.warp(pair[1], field)
                forces = self._forces(level, (fixed, moving), [pyramid[level] for pyramid in images], field)
                inputs = (pair[0], warped, field, *forces[:1])
                residual, context = self._residual(level, [*joint, *upsampled], *inputs)
                if config.antisymmetric[level]:
                    inputs = (warped, pair[0], field, *forces[1:])
                    residual = self._half_difference(residual, self._residual(level, joint, *inputs)[0])
                field = self.node("Add", [residual, self.warp(field, residual)])
        return field

    def _half_difference(self, first: str, second: str) -> str:
        return self.node("Mul", [self.node("Sub", [first, second]), self.constant(0.5, np.float32)])

    def _forces(self, level: int, full: tuple[str, str], images: Sequence[str], field: str) -> list[str]:
        """Return the forces that the network sees, of both directions where a level is antisymmetric.

        They are at the resolution of the level; at the finest one those at full resolution.
        """
        if not self._config.force:
            return []
        if level == 0:
            fixed, moved, blocks = full[0], self.warp(full[1], self.upsample(field)), self._config.pool
        else:
            fixed, moved, blocks = images[0], self.warp(images[1], field), None
        directions = [(fixed, moved), (moved, fixed)][: 1 + self._config.antisymmetric[level]]
        return [unit_force(self, *pair, blocks) for pair in directions]

    def _residual(self, level: int, joint: Sequence[str], fixed: str, warped: str, *flow: str) -> tuple[str, str]:
        """Return the residual flow of a level, and the features of its decoder."""
        compared = self._correlation(fixed, warped) if self._config.correlation else warped
        x = self._concat([*joint, fixed, compared, *flow], 1)
        for block in ("first", "second"):
            x = self._activated(self._convolution(x, f"levels.{level}.{block}"))
        return self._convolution(x, f"levels.{level}.head"), x

    def _encoder(self, x: str) -> list[str]:
        features = []
        for level in range(LEVELS):
            strides = (1, 1, 1) if level == 0 else self._config.pool
            x = self._activated(self._convolution(x, f"encoder.{level}", strides))
            features.append(x)
        return features

    def _convolution(self, x: str, name: str, strides: Sequence[int] = (1, 1, 1)) -> str:
        known = {constant.name for constant in self.constants}
        weights = [f"{name}.{part}" for part in ("weight", "bias")]
        for part in weights:
            if part not in known:  # passes share weights
                self.constant(self._arrays[part], np.float32, part)
        return self.node("Conv", [x, *weights], kernel_shape=[3, 3, 3], pads=[1] * 6, strides=list(strides))

    def _activated(self, x: str) -> str:
        return self.node("LeakyRelu", [x], alpha=self._config.slope)

    def _concat(self, parts: Sequence[str], axis: int) -> str:
        return self.node("Concat", parts, axis=axis)

    def _slice(self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Any = None) -> str:
        given = [self.constant(values) for values in (starts, ends, axes)]
        return self.node("Slice", [x, *given, *([] if steps is None else [self.constant(steps)])])

    def _part(self, x: str, axis: int, number: int) -> str:
        """Return one entry along an axis, which is kept."""
        return self._slice(x, [number], [number + 1], [axis])

    def _space_to_depth(self, image: str) -> str:
        pool = self._config.pool
        parts = [self._slice(image, offset, [_END] * 3, _AXES, pool) for offset in np.ndindex(*pool)]
        return self._concat(parts, 1)

    def _pyramid(self, blocks: str) -> list[str]:
        """Return an image at each level, fine to coarse."""
        images = [self.node("ReduceMean", [blocks, self.constant([1])], keepdims=1)]
        window = list(self._config.pool)
        for _ in range(LEVELS - 1):
            images.append(self.node("AveragePool", [images[-1]], kernel_shape=window, strides=window))
        return images

    def _repeat(self, x: str) -> str:
        """Upsample by nearest neighbour."""
        scales = self.constant([1, 1, *self._config.pool], np.float32)
        options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", [x, "", scales], **options)

    def upsample(self, field: str) -> str:
        """Return `network.sampling.upsample`."""
        scales = self.constant([1, 1, *self._config.pool], np.float32)
        fine = self.node("Resize", [field, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")
        factors: NDArray[np.float32] = np.asarray(self._config.pool, np.float32).reshape(1, 3, 1, 1, 1)
        return self.node("Mul", [fine, self.constant(factors, np.float32)])

    def warp(self, features: str, displacement: str) -> str:
        """Return `network.sampling.warp`; GridSample takes (N, D, H, W, 3) in -1..1, last axis first."""
        shape, coordinates = self.node("Shape", [displacement]), []
        zero, one, two = (self.constant(value, np.float32) for value in (0.0, 1.0, 2.0))
        for axis in (2, 1, 0):
            count = self.node("Squeeze", [self._slice(shape, [axis + 2], [axis + 3], [0])])
            length = self.node("Cast", [count], to=onnx.TensorProto.FLOAT)
            voxels = self.node("Range", [zero, length, one])
            along = [-1 if n == axis + 2 else 1 for n in range(5)]
            own = self.node("Reshape", [voxels, self.constant(along)])
            coordinate = self.node("Add", [self._part(displacement, 1, axis), own])
            last = self.node("Max", [self.node("Sub", [length, one]), one])
            scaled = self.node("Div", [self.node("Mul", [coordinate, two]), last])
            coordinates.append(self.node("Sub", [scaled, one]))
        grid = self.node("Transpose", [self._concat(coordinates, 1)], perm=[0, 2, 3, 4, 1])
        return self.node("GridSample", [features, grid], mode="linear", padding_mode="border", align_corners=1)

    def _correlation(self, fixed: str, warped: str) -> str:
        """Return `network.model.correlate`."""
        around = self.node("Pad", [warped, self.constant([0, 0, 1, 1, 1, 0, 0, 1, 1, 1])], mode="constant")
        products = []
        for offset in np.ndindex(3, 3, 3):
            ends = [start - 2 if start < 2 else _END for start in offset]
            product = self.node("Mul", [fixed, self._slice(around, offset, ends, _AXES)])
            products.append(self.node("ReduceMean", [product, self.constant([1])], keepdims=1))
        return self._concat(products, 1)
