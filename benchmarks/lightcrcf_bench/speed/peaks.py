"""Peak throughput of this machine: a large matrix product, and a copy of a large array."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lightcrcf.engines.graphs import op, openvino
from lightcrcf_bench.records.cost import Peaks

__all__ = ["measure_peaks"]

_COPIED_BYTES = 2**28
_REPETITIONS = 5


def measure_peaks(threads: int, precisions: Sequence[str], *, size: int = 3072) -> Peaks:
    """Measure the best of several repetitions; the matrix product by NumPy or OpenVINO, whichever is faster.

    Args:
        threads: to use; NumPy's library takes them from the environment of the process.
        precisions: f32, bf16.
        size: rows and columns of the matrices.
    """
    gflop = 2 * size**3 / 1e9
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    gflops = {precision: gflop / _best(_product(a, b, precision, threads)) for precision in precisions}
    if "f32" in gflops:
        out = np.empty_like(a)
        gflops["f32"] = max(gflops["f32"], gflop / _best(lambda: np.matmul(a, b, out=out)))
    rounded = {precision: round(value, 1) for precision, value in gflops.items()}
    return Peaks(threads=threads, gemm_size=size, gflops=rounded, copy_gb_per_s=round(_copy(threads), 2))


def _product(a: Any, b: Any, precision: str, threads: int) -> Callable[[], object]:
    inputs = [op.parameter(list(a.shape), np.float32) for _ in range(2)]
    graph = openvino.Model([op.result(op.matmul(*inputs, False, False))], inputs)
    properties = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads,
    }  # fmt: skip
    request = openvino.Core().compile_model(graph, "CPU", properties).create_infer_request()
    for index, array in enumerate((a, b)):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
    return request.infer  # type: ignore[no-any-return]


def _copy(threads: int) -> float:
    """Return 10^9 bytes per second, read plus written."""
    source = np.ones(_COPIED_BYTES // 4, np.float32)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return 2 * source.nbytes / 1e9 / seconds


def _best(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
