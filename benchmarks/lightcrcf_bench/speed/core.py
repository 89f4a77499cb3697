"""`lightcrcf bench core`: the network, field composition and warping one image and one label map, arrays to arrays."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from lightcrcf.engines.base import Engine, open_engine
from lightcrcf.engines.bfloat16_network import runs_in_bfloat16
from lightcrcf.engines.graphs import encoder_graph, level_graph
from lightcrcf.engines.native_levels import native_level_count
from lightcrcf.geometry.kernels import resample, warp_upsampled
from lightcrcf.geometry.threads import use_threads
from lightcrcf.network.config import LEVELS, VARIANTS, NetworkConfig, multiply_adds, tensor_shapes
from lightcrcf.run_record.environment import versions
from lightcrcf.weights.store import Weights, load
from lightcrcf_bench.measure import circumstances
from lightcrcf_bench.records.cost import CoreRecord, CoreRun, Peaks, Times
from lightcrcf_bench.speed.parts import parts
from lightcrcf_bench.speed.tracing import Labeller, trace
from lightcrcf_bench.speed.worker import measured
from lightcrcf_bench.speed.workload import Workload, workload

__all__ = [
    "PROTOCOL", "compute", "compute_alternately", "fitted", "measure_core", "native_precisions", "part_flops",
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
_ENCODER, _ENCODER_OF_IMAGE = "encoder 1/2", "encoder, one image"
Shape = tuple[int, int, int]


def measure_core(
    shape: Shape,
    *,
    model: str,
    threads: int,
    precisions: Sequence[str],
    repetitions: int,
    engine: str = "openvino",
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
        traces = [trace(once, _watched(pair.fixed.shape)) for _ in range(_TRACED)]
    flops = part_flops(weights, shape3, precision) if engine == "openvino" else {}
    arrays = (pair.fixed, pair.moving, pair.labels, *results)
    found = parts(traces, flops)
    total = sum(part.gflop for part in found) if flops else 2 * multiply_adds(weights.config, shape3) / 1e9
    return {
        "times": Times(each_ms=tuple(times)).model_dump(),
        "parts": [part.model_dump() for part in found],
        "gflop": round(total, 4),
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


def register_arrays(network: Engine, pair: Workload) -> tuple[Any, Any, Any]:
    """Return the field, the moved image and the moved labels."""
    shape, pool = pair.fixed.shape, network.config.pool
    field = network.displacement(pair.fixed, pair.moving)
    moved = warp_upsampled(pair.moving[None], field, pool)[0]
    step = np.diag([1.0 / p for p in pool])
    onto_field = np.column_stack([step, [0.5 / p - 0.5 for p in pool]])
    labels = resample(
        pair.labels, (shape[0], shape[1], shape[2]), np.eye(3, 4), field=field, field_matrix=onto_field,
        vector_matrix=np.diag([float(p) for p in pool]), interpolation="nearest",
    )  # fmt: skip
    return field, moved, labels


def part_flops(weights: Weights, shape: Shape, precision: str) -> dict[str, float]:
    """Count the 10^9 operations of convolutions in each part; a multiply-add is two. Graphs are counted as they run.

    Example:
        >>> from lightcrcf.network.config import multiply_adds
        >>> weights, shape = load("brain-t1"), (32, 48, 32)
        >>> counted, passes = part_flops(weights, shape, "f32"), weights.config.passes
        >>> encoders = sum(flops for part, flops in counted.items() if part.startswith("encoder"))
        >>> decoders = sum(
        ...     n * (counted[f"decoder 1/{2**i}"] + counted.get(f"decoder 1/{2**i}, fixed image", 0))
        ...     for i, n in enumerate(passes, 1)
        ... )
        >>> round(encoders + decoders, 9) == round(2 * multiply_adds(weights.config, shape) / 1e9, 9)  # as published
        True
    """
    config, arrays = weights.config, weights.arrays
    sizes = [config.coarser(shape, level + 1) for level in range(LEVELS)]
    if precision == "bf16" and runs_in_bfloat16(config):
        return _paired_flops(weights, sizes)
    own, counted = native_level_count(config, precision), {}
    if own:
        counted[_ENCODER] = 2 * _own("encoder.0", weights, sizes[0])
    for level in range(own):
        scale = 2 ** (level + 1)
        begin = _of_fixed(level, weights, sizes[level])
        counted[_begin(scale)], counted[_at("decoder", scale)] = begin, _decoder(level, weights, sizes[level]) - begin
    counted["encoder"] = _flops(encoder_graph(config, arrays, sizes[0], first=min(own, 1)))
    for level in range(own, LEVELS):
        counted[_at("decoder", 2 ** (level + 1))] = _flops(level_graph(config, arrays, level, sizes[level]))
    return counted


def _paired_flops(weights: Weights, sizes: Sequence[Shape]) -> dict[str, float]:
    """Count operations in bfloat16; repeated passes over the fixed image count once, as elsewhere."""
    counted = {_ENCODER_OF_IMAGE: sum(_own(f"encoder.{level}", weights, sizes[level]) for level in range(LEVELS))}
    for level, passes in enumerate(weights.config.passes):
        again = (passes - 1) / passes * _of_fixed(level, weights, sizes[level])
        counted[_at("decoder", 2 ** (level + 1))] = _decoder(level, weights, sizes[level]) - again
    return counted


def _decoder(level: int, weights: Weights, shape: Shape) -> float:
    return sum(_own(f"levels.{level}.{name}", weights, shape) for name in ("first", "second", "head"))


def _of_fixed(level: int, weights: Weights, shape: Shape) -> float:
    """Return the cost of the fixed image's features in the first convolution."""
    inputs = weights.arrays[f"levels.{level}.first.weight"].shape[1]
    return _own(f"levels.{level}.first", weights, shape) * weights.config.encoder[level] / int(inputs)


def _own(name: str, weights: Weights, shape: Shape) -> float:
    """Return the cost of one convolution of one image in native kernels."""
    return 2 * weights.arrays[f"{name}.weight"].size * prod(shape) / 1e9


def native_precisions() -> list[str]:
    """Return the precisions that this processor supports in hardware."""
    from lightcrcf.engines.openvino import bfloat16_is_native

    return ["f32", "bf16"] if bfloat16_is_native() else ["f32"]


def _flops(graph: Any) -> float:
    total = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            kernel = list(node.input(1).get_shape())
            total += 2 * prod(node.output(0).get_shape()) * prod(kernel[1:])
    return total / 1e9


def _milliseconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return round(1e3 * (time.perf_counter() - start), 3)


def _at(name: str, scale: int) -> str:
    return f"{name} 1/{scale}" if scale > 1 else name


def _begin(scale: int) -> str:
    return f"{_at('decoder', scale)}, fixed image"


def _watched(shape: tuple[int, ...]) -> dict[tuple[str, str], Labeller]:
    def scale(got: Sequence[int]) -> int:
        return max(round(n / m) for n, m in zip(shape, got, strict=True))

    def graph(arguments: Mapping[str, Any]) -> str:
        inputs = arguments["inputs"]
        return "encoder" if len(inputs) == 1 else _at("decoder", scale(inputs[0].shape[2:]))

    kernels, features, engines = "geometry/kernels.py", "geometry/feature_kernels.py", "engines"
    return {
        (f"{engines}/openvino.py", "_run"): graph,
        (f"{engines}/native_levels.py", "_encode"): lambda _: _ENCODER,
        (f"{engines}/native_levels.py", "_convolve_fixed"): lambda a: _begin(scale(a["fixed"].shape[1:])),
        (f"{engines}/native_levels.py", "_predict"): lambda a: _at("decoder", scale(a["warped"].shape[1:])),
        (f"{engines}/bfloat16_network.py", "_encode"): lambda _: _ENCODER_OF_IMAGE,
        (f"{engines}/bfloat16_network.py", "_predict"): lambda a: _at("decoder", scale(a["inputs"].shape)),
        (f"{engines}/bfloat16_features.py", "to_channels_last"): lambda a: _at(
            "features side by side", scale(a["out"].shape[1:4])
        ),
        (f"{engines}/bfloat16_features.py", "warp_bfloat16"): lambda a: _at(
            "warp features", scale(a["displacement"].shape[1:])
        ),
        (f"{engines}/blocks.py", "space_to_depth"): lambda _: "space to depth",
        (f"{engines}/torch.py", "_displacement"): lambda _: "network, PyTorch",
        (kernels, "upsample"): lambda a: _at("upsample flow", scale(a["shape"])),
        (kernels, "warp"): lambda a: _at("warp features", scale(a["features"].shape[1:])),
        (features, "store"): lambda a: _at("features side by side", scale(a["features"].shape[1:])),
        (features, "warp"): lambda a: _at("warp features", scale(a["displacement"].shape[1:])),
        (kernels, "compose"): lambda a: _at("compose flows", scale(a["v"].shape[1:])),
        (kernels, "warp_upsampled"): lambda _: "upsample field and warp image",
        (kernels, "resample"): lambda _: "upsample field and warp labels",
    }


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
