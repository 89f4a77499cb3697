"""`lightcrcf bench core`: the network, field composition and warping one image and one label map, arrays to arrays."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from lightcrcf.engines.base import Engine, open_engine
from lightcrcf.engines.bfloat16 import bfloat16_is_native
from lightcrcf.engines.native import NativeEngine
from lightcrcf.geometry.kernels import resample, warp_upsampled
from lightcrcf.geometry.threads import use_threads
from lightcrcf.network.config import VARIANTS, NetworkConfig, multiply_adds, tensor_shapes
from lightcrcf.run_record.environment import versions
from lightcrcf.weights.store import load
from lightcrcf_bench.measure import circumstances
from lightcrcf_bench.records.cost import CoreRecord, CoreRun, Peaks, Times
from lightcrcf_bench.speed.layers import TimedLayers, Timer
from lightcrcf_bench.speed.parts import parts
from lightcrcf_bench.speed.tracing import Event
from lightcrcf_bench.speed.worker import measured
from lightcrcf_bench.speed.workload import Workload, workload

__all__ = [
    "PROTOCOL", "compute", "compute_alternately", "fitted", "measure_core", "native_precisions", "necessary_gflop",
    "register_arrays",
]  # fmt: skip

PROTOCOL = (
    "Both images go in as float32 arrays on one grid; out come the field on its half, the moved image (linear) and the "
    "moved label map (nearest neighbour). Each precision runs in a process of its own, after two runs that do not "
    "count. Floor: FLOPs of the convolutions, counted layer by layer as if done directly, at the speed of a large "
    "matrix product, and the bytes of the arrays that go in and come out at the speed of a copy, both measured in the "
    "same run."
)
_WARM_UP = 2
_TRACED = 5
Shape = tuple[int, int, int]


def measure_core(
    shape: Shape,
    *,
    model: str,
    threads: int,
    precisions: Sequence[str],
    repetitions: int,
    engine: str = "native",
    device: str = "cpu",
    gemm_size: int = 3072,
    note: str = "",
) -> CoreRecord:
    """Measure, with each precision in turn.

    Args:
        shape: of both images; rounded up to what the network takes.
        model: a name or a .safetensors file.
        threads: of everything.
        precisions: f32, bf16.
        repetitions: that count.
        engine, device: that run the network.
        gemm_size: of the matrices that show the machine's peak.
        note: what else the machine did.

    Raises:
        CommandError: if a process fails.
    """
    weights = load(model)
    fitting = fitted(shape, weights.config)
    asked = {"threads": threads, "precisions": list(precisions), "size": gemm_size}
    peaks = Peaks.model_validate(measured("peaks", asked, threads)[0])
    options = {
        "shape": fitting, "model": model, "threads": threads, "repetitions": repetitions, "engine": engine,
        "device": device,
    }  # fmt: skip
    runs = [_run({**options, "precision": precision}, threads) for precision in precisions]
    command = (
        f"lightcrcf bench core --shape {'x'.join(map(str, shape))} --threads {threads} --repetitions {repetitions}"
    )
    return CoreRecord(
        **circumstances(),
        protocol=PROTOCOL,
        commands=(f"{command} --out benchmarks/history/DATE-core.json",),
        note=note,
        model=f"{weights.name} {weights.sha256[:12]}",
        engine=engine,
        device=device,
        threads=threads,
        shape=fitting,
        parameters=weights.parameters,
        parameters_training=_training_parameters(weights.config),
        peaks=peaks,
        runs=tuple(runs),
    )


def fitted(shape: Shape, config: NetworkConfig) -> Shape:
    """Return the sizes rounded up to multiples that the network takes."""
    d, h, w = (-(-n // m) * m for n, m in zip(shape, config.multiples, strict=True))
    return d, h, w


def _run(options: Mapping[str, Any], threads: int) -> CoreRun:
    found, taken = measured("core", options, threads)
    own = {name: value for name, value in found.items() if name not in ("versions", "parameters")}
    return CoreRun(**own, precision=options["precision"], peak_mib=taken.peak_mib, load_before=taken.load_before)


def compute(
    shape: Sequence[int], model: str, threads: int, precision: str, repetitions: int, engine: Any, device: Any
) -> dict[str, Any]:
    """Measure in this process: the fields of a `CoreRun` known to the process, versions and parameters."""
    shape3 = (shape[0], shape[1], shape[2])
    pair, weights = workload(shape3), load(model)
    network = open_engine(weights, name=engine, device=device, precision=precision, threads=threads)  # type: ignore[arg-type]
    start = time.perf_counter()
    network.prepare(shape3)
    prepare_ms = 1e3 * (time.perf_counter() - start)

    def once() -> tuple[Any, Any, Any]:
        return register_arrays(network, pair)

    with use_threads(threads):
        for _ in range(_WARM_UP):
            results = once()
        times = [_milliseconds(once) for _ in range(repetitions)]
        found = parts(_traces(network, pair))
    arrays = (pair.fixed, pair.moving, pair.labels, *results)
    return {
        "times": Times(each_ms=tuple(times)).model_dump(),
        "parts": [part.model_dump() for part in found],
        "gflop": round(necessary_gflop(weights.config, shape3), 4),
        "mb": round(sum(array.nbytes for array in arrays) / 1e6, 3),
        "prepare_ms": round(prepare_ms, 1),
        "device_peak_mib": network.device_peak_mib(),
        "versions": versions(),
        "parameters": weights.parameters,
    }


def compute_alternately(
    shape: Sequence[int], model: str, threads: Sequence[int], precision: str, repetitions: int
) -> list[list[float]]:
    """Measure in this process: milliseconds of each repetition with each number of threads, alternating by call."""
    shape3 = (shape[0], shape[1], shape[2])
    pair, weights = workload(shape3), load(model)
    times: list[list[float]] = [[] for _ in threads]
    networks = [open_engine(weights, precision=precision, threads=count) for count in threads]  # type: ignore[arg-type]
    for number in range(-_WARM_UP, repetitions):
        for network, count, found in zip(networks, threads, times, strict=True):
            with use_threads(count):
                taken = _milliseconds(partial(register_arrays, network, pair))
            if number >= 0:
                found.append(taken)
    return times


def register_arrays(network: Engine, pair: Workload, timer: Timer | None = None) -> tuple[Any, Any, Any]:
    """Return the field, the moved image and the moved labels; the timer, if any, gets an event for each step."""
    timer, shape, pool = timer or Timer(pair.fixed.shape), pair.fixed.shape, network.config.pool
    field = network.displacement(pair.fixed, pair.moving)
    moved = timer.call("upsample field and warp image", warp_upsampled, pair.moving[None], field, pool)[0]
    step = np.diag([1.0 / p for p in pool])
    onto_field = np.column_stack([step, [0.5 / p - 0.5 for p in pool]])
    labels = timer.call(
        "upsample field and warp labels", resample, pair.labels, (shape[0], shape[1], shape[2]), np.eye(3, 4),
        field=field, field_matrix=onto_field, vector_matrix=np.diag([float(p) for p in pool]), interpolation="nearest",
    )  # fmt: skip
    return field, moved, labels


def _traces(network: Engine, pair: Workload) -> list[list[Event]]:
    """Return the events of several runs: of each layer of the native network, or of PyTorch's as a whole."""
    traces = []
    if isinstance(network, NativeEngine):
        network.release()  # it runs with other layers from here on
        network.layers = timed = TimedLayers(network.layers, Timer(pair.fixed.shape))  # type: ignore[assignment]
        register_arrays(network, pair)
    for _ in range(_TRACED):
        timer = Timer(pair.fixed.shape)
        if isinstance(network, NativeEngine):
            timed.timer = timer
            register_arrays(network, pair, timer)
        else:
            timer.call("network, PyTorch", network.displacement, pair.fixed, pair.moving)
            register_arrays(network, pair, timer)
        traces.append(timer.events)
    return traces


def necessary_gflop(config: NetworkConfig, shape: Shape) -> float:
    """Count 10^9 operations of convolutions (a multiply-add is two); what passes share of the fixed image counts once.

    Example:
        >>> round(necessary_gflop(VARIANTS["default"], (160, 192, 160)), 1)
        23.8
    """
    total = multiply_adds(config, shape)
    if config.stream == "dual":
        for level, passes in enumerate(config.passes):
            kernel = 27 * config.encoder[level] * config.decoder[level] * (1 + config.antisymmetric[level])
            total -= (passes - 1) * kernel * prod(config.coarser(shape, level + 1))
    return 2 * total / 1e9


def native_precisions() -> list[str]:
    """Return the precisions that this processor supports in hardware."""
    return ["f32", "bf16"] if bfloat16_is_native() else ["f32"]


def _milliseconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return round(1e3 * (time.perf_counter() - start), 3)


def _training_parameters(config: NetworkConfig) -> int | None:
    """Return the number of parameters before fusion; None without PyTorch or a matching configuration."""
    try:
        from lightcrcf.network.model import LightCRCF
    except ModuleNotFoundError:
        return None
    fused = (tensor_shapes(config), config.passes, config.pool)
    for trained in VARIANTS.values():
        if trained.branches and (tensor_shapes(trained), trained.passes, trained.pool) == fused:
            return sum(parameter.numel() for parameter in LightCRCF(trained).parameters())
    return None
