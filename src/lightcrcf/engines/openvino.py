"""The default engine on the CPU: kernels of this package at the fine levels, OpenVINO at the others.

Warps and compositions use kernels of this package. In bfloat16 they compute all levels if the processor supports it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine, Shape
from lightcrcf.engines.blocks import space_to_depth
from lightcrcf.engines.graphs import encoder_graph, level_graph, openvino, smallest_graph
from lightcrcf.engines.native_levels import FinestEncoder, NativeDecoder, native_level_count
from lightcrcf.errors import UsageError
from lightcrcf.geometry.kernels import compose, upsample, warp
from lightcrcf.geometry.threads import use_threads
from lightcrcf.network.config import LEVELS
from lightcrcf.weights.store import Weights

if TYPE_CHECKING:
    from lightcrcf.engines.bfloat16_network import Bfloat16Network

__all__ = ["OpenVINOEngine", "bfloat16_is_native"]

Float32 = NDArray[np.float32]

_LIMIT = "ONEDNN_MAX_CPU_ISA"  # limits the instruction set of OpenVINO


class OpenVINOEngine(Engine):
    """The fused network with OpenVINO; arguments as in `engines.base.open_engine`.

    Graphs are compiled for one shape and cached until the shape changes.

    Raises:
        UsageError: for bf16 if neither kernels of this package nor OpenVINO support it here.
    """

    def __init__(self, weights: Weights, *, precision: str, threads: int | None) -> None:
        if precision == "bf16":
            _check_bfloat16(weights)
        super().__init__("openvino", "cpu", precision, weights.config)
        self._weights, self._threads = weights, threads
        self._dual = weights.config.stream == "dual"
        self._shape: Shape | None = None
        self._encoder: Any = None
        self._levels: list[Any] = []
        self._finest: FinestEncoder | None = None
        self._native: list[NativeDecoder] = []
        self._bfloat16: Bfloat16Network | None = None

    def prepare(self, shape: Shape) -> None:
        """Compile the graphs for images of this shape."""
        if shape == self._shape:
            return
        config, arrays = self._weights.config, self._weights.arrays
        if self.precision == "bf16":
            from lightcrcf.engines.bfloat16_network import Bfloat16Network, runs_in_bfloat16

            if runs_in_bfloat16(config):
                self._bfloat16, self._shape = Bfloat16Network(config, arrays, shape), shape
                return
        sizes = [config.coarser(shape, level + 1) for level in range(LEVELS)]
        native = native_level_count(config, self.precision)
        with ThreadPoolExecutor(LEVELS + 1) as pool:
            levels = [
                pool.submit(self._compile, level_graph(config, arrays, n, sizes[n])) for n in range(native, LEVELS)
            ]
            encoder = pool.submit(self._compile, encoder_graph(config, arrays, sizes[0], first=min(native, 1)))
            self._finest = FinestEncoder(config, arrays, sizes[0]) if native else None
            if self._finest is not None:
                scratch = self._finest.blocks
                self._native = [NativeDecoder(config, arrays, n, sizes[n], scratch) for n in range(native)]
            self._encoder, self._levels = encoder.result(), [None] * native + [level.result() for level in levels]
        self._shape = shape

    def release(self) -> None:
        """Delete the graphs with their buffers."""
        self._shape, self._encoder, self._levels, self._finest, self._native = None, None, [], None, []
        self._bfloat16 = None

    def _compile(self, graph: Any) -> Any:
        # Pinned threads could share a core with another registration while a second core is idle.
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision, "ENABLE_CPU_PINNING": False
        }  # fmt: skip
        if self._threads:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        return _core().compile_model(graph, "CPU", properties).create_infer_request()

    def _displacement(self, fixed: Float32, moving: Float32) -> Float32:
        depth, height, width = fixed.shape
        self.prepare((depth, height, width))
        with use_threads(self._threads):
            if self._bfloat16 is not None:
                return self._bfloat16.displacement(fixed, moving)
            outputs = self._encoded(fixed, moving)
            field, context = self._step(LEVELS - 1, outputs, None, [])
            for level in range(LEVELS - 2, -1, -1):
                field, context = self._step(level, outputs, field, context)
        return field

    def _encoded(self, fixed: Float32, moving: Float32) -> list[Float32]:
        """Return features of all levels, fine to coarse, and further outputs of the graph."""
        if self._finest is not None:
            features = self._finest.encode(fixed, moving)
            return [features, *_run(self._encoder, [features])]
        blocks = space_to_depth(fixed, moving, pool=self._weights.config.pool)
        return _run(self._encoder, [blocks if self._dual else blocks.reshape(1, -1, *blocks.shape[2:])])

    def _step(
        self, level: int, outputs: list[Float32], coarse: Float32 | None, context: list[Float32]
    ) -> tuple[Float32, list[Float32]]:
        """Return the field (3, d, h, w) at `level`, and for one stream the decoder features for the next level."""
        features = outputs[level]
        joint = [] if self._dual else [features]
        fixed, moving = features if self._dual else outputs[LEVELS + level].reshape(2, 1, *features.shape[2:])
        if coarse is None:
            residual, *context = _run(self._levels[level], [*joint, fixed[None], moving[None]])
            return residual[0], context
        config = self._weights.config
        if level < len(self._native):
            return self._native[level].decode(fixed, moving, coarse), []
        field = upsample(coarse, fixed.shape[1:], config.pool)
        for _ in range(config.passes[level]):
            inputs = [*joint, fixed[None], warp(moving, field)[None], field[None], *context]
            residual, *context = _run(self._levels[level], inputs)
            field = compose(field, residual[0])
        return field, context


def _check_bfloat16(weights: Weights) -> None:
    from lightcrcf.engines.bfloat16_network import runs_in_bfloat16

    if not runs_in_bfloat16(weights.config) and not bfloat16_is_native():
        limit = os.environ.get(_LIMIT)
        raise UsageError(
            "precision bf16", expected="a processor with AVX512-BF16 or AMX",
            got="none" if limit is None else f"none, or none that {_LIMIT}={limit} lets OpenVINO use",
            remedy="choose f32",
        )  # fmt: skip


@cache
def bfloat16_is_native() -> bool:
    """Return whether OpenVINO has native bfloat16 on this processor; emulation is slower than float32."""
    if "BF16" not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return False
    try:  # the capabilities are those of the processor, even if the environment disables them
        _core().compile_model(smallest_graph(), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    except RuntimeError:
        return False
    return True


@cache
def _core() -> Any:
    return openvino.Core()


def _run(request: Any, inputs: list[Float32]) -> list[Float32]:
    """Return the outputs of a graph: views of its memory, valid until it runs again."""
    tensors = [openvino.Tensor(array, shared_memory=True) for array in inputs]  # OpenVINO does not keep references
    for index, tensor in enumerate(tensors):
        request.set_input_tensor(index, tensor)
    request.infer()
    return [output.data for output in request.output_tensors]
