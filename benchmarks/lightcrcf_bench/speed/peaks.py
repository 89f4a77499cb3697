"""Peak throughput of this machine: a large matrix product, and a copy of a large array."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lightcrcf.errors import UsageError, how_to_install
from lightcrcf_bench.records.cost import Peaks

__all__ = ["measure_peaks"]

_COPIED_BYTES = 2**28
_REPETITIONS = 5


def measure_peaks(threads: int, precisions: Sequence[str], *, size: int = 3072) -> Peaks:
    """Measure the best of several repetitions; the matrix product by NumPy or PyTorch, whichever is faster.

    Args:
        threads: to use; NumPy's library takes them from the environment of the process.
        precisions: f32, bf16.
        size: rows and columns of the matrices.

    Raises:
        UsageError: for bf16 without PyTorch.
    """
    gflop = 2 * size**3 / 1e9
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    gflops = {}
    for precision in precisions:
        gflops[precision] = gflop / min(_best(product) for product in _products(a, b, precision, threads))
    rounded = {precision: round(value, 1) for precision, value in gflops.items()}
    return Peaks(threads=threads, gemm_size=size, gflops=rounded, copy_gb_per_s=round(_copy(threads), 2))


def _products(a: Any, b: Any, precision: str, threads: int) -> Iterator[Callable[[], object]]:
    """Yield products of two matrices by the libraries that are installed."""
    if precision == "f32":
        out = np.empty_like(a)
        yield lambda: np.matmul(a, b, out=out)
    try:
        import torch
    except ModuleNotFoundError:
        if precision != "f32":
            raise UsageError(
                "peak of bf16",
                expected="PyTorch to be installed",
                got="no such package",
                remedy=how_to_install("train"),
            ) from None
        return
    torch.set_num_threads(threads)
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.from_numpy(matrix).to(kind) for matrix in (a, b))
    yield lambda: left @ right


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
