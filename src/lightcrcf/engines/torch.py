"""The reference engine: `network.model` on the CPU or on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine, Shape
from lightcrcf.errors import UsageError
from lightcrcf.network.model import LightCRCF
from lightcrcf.weights.store import Weights

__all__ = ["TorchEngine"]

Float32 = NDArray[np.float32]


class TorchEngine(Engine):
    """The fused network with PyTorch; arguments as in `engines.base.open_engine`.

    Raises:
        UsageError: if CUDA is selected but not available.
    """

    def __init__(self, weights: Weights, *, device: str, precision: str, threads: int | None) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                "device cuda", expected="a CUDA GPU that PyTorch can use", got="none", remedy="choose device cpu"
            )
        super().__init__("torch", device, precision, weights.config)
        self._threads = threads
        model = LightCRCF.from_plain_arrays(weights.config, weights.arrays)
        self._model = model.to(device)

    def prepare(self, shape: Shape) -> None:
        """Do nothing: PyTorch compiles nothing."""

    def release(self) -> None:
        """Empty the cache of PyTorch on the GPU; there is none on the CPU."""
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def device_peak_mib(self) -> float | None:
        """Return the peak memory of tensors on the GPU, in MiB; None on the CPU."""
        return round(torch.cuda.max_memory_allocated() / 2**20, 1) if self.device == "cuda" else None

    def _displacement(self, fixed: Float32, moving: Float32) -> Float32:
        images = [torch.tensor(image, device=self.device)[None, None] for image in (fixed, moving)]
        low_precision = torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.no_grad(), low_precision, _full_float32(), _threads(self._threads):
            field = self._model(*images)[-1]
        displacement: Float32 = field[0].float().cpu().numpy()
        return np.ascontiguousarray(displacement)


def _full_float32() -> AbstractContextManager[None]:
    # TF32, the default of convolutions on CUDA, has a mantissa of ten bits.
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return context


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
