"""The default engine: the native kernels, on the CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine, Shape
from lightcrcf.engines.bfloat16 import Bfloat16Layers, bfloat16_is_native
from lightcrcf.engines.float32 import Float32Layers
from lightcrcf.engines.forward import Forward
from lightcrcf.engines.layers import Layers
from lightcrcf.errors import UsageError
from lightcrcf.geometry.threads import use_threads
from lightcrcf.weights.store import Weights

__all__ = ["NativeEngine"]

Float32 = NDArray[np.float32]


class NativeEngine(Engine):
    """The fused network with native kernels; arguments as in `engines.base.open_engine`.

    Buffers are for one shape and kept until the shape changes. `layers` may be replaced before the first pair, by
    layers that measure themselves for instance.

    Raises:
        UsageError: for bf16 on a processor without AVX512-BF16.
    """

    def __init__(self, weights: Weights, *, precision: str, threads: int | None) -> None:
        if precision == "bf16" and not bfloat16_is_native():
            raise UsageError("precision bf16", expected="a processor with AVX512-BF16", got="none", remedy="choose f32")
        super().__init__("native", "cpu", precision, weights.config)
        self.layers: Layers = Bfloat16Layers() if precision == "bf16" else Float32Layers()
        self._weights, self._threads = weights, threads
        self._shape: Shape | None = None
        self._forward: Forward | None = None

    def prepare(self, shape: Shape) -> None:
        """Pack the weights and allocate buffers for images of this shape."""
        self._prepared(shape)

    def _prepared(self, shape: Shape) -> Forward:
        if self._forward is None or shape != self._shape:
            self._forward = None  # frees its buffers first
            self._forward = Forward(self._weights.config, self._weights.arrays, shape, self.layers)
            self._shape = shape
        return self._forward

    def release(self) -> None:
        """Free the buffers and the packed weights."""
        self._shape, self._forward = None, None

    def _displacement(self, fixed: Float32, moving: Float32) -> Float32:
        depth, height, width = fixed.shape
        forward = self._prepared((depth, height, width))
        with use_threads(self._threads):
            return forward.displacement(fixed, moving)
