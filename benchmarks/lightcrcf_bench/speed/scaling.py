"""`lightcrcf bench scaling`: time and memory against voxels and threads."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume, write
from lightcrcf.weights.store import load
from lightcrcf_bench.measure import CommandError, circumstances, run
from lightcrcf_bench.records.cost import ScalingRecord, ScalingRun, Times
from lightcrcf_bench.speed.worker import limited, measured
from lightcrcf_bench.speed.workload import workload

__all__ = ["PROTOCOL", "SIZES", "measure_scaling"]

SIZES = ("96x96x96", "128x128x128", "160x192x160", "224x224x224", "256x256x256", "320x320x320")
PROTOCOL = (
    "Images are made up, 1 mm voxels. Compute: the network, field composition and warping one image and one label map, "
    "arrays to arrays. Step: one refinement step at full resolution. Command: `lightcrcf register` from start to exit, "
    "reading and writing included, the headers trusted (`--init none`); memory is its largest resident, the estimate "
    "what the program expected before it began to compute. Each is a process of its own; in that of compute, numbers "
    "of threads take turns call by call. Since machines change their speed, compute and steps are measured in three "
    "rounds over all sizes: medians of all of them, and of the ratios of calls that took turns."
)
Shape = tuple[int, int, int]
_ROUNDS = 3
_WARM_UP = (32, 32, 32)


def measure_scaling(
    shapes: Sequence[Shape],
    threads: Sequence[int],
    *,
    model: str,
    precision: str,
    preset: str,
    repetitions: int,
    limit_seconds: float | None = None,
    log: Callable[[str], None] = print,
    note: str = "",
) -> ScalingRecord:
    """Measure every size with every number of threads; what does not fit stays in the record with its reason.

    Args:
        shapes: of both images.
        threads: numbers of threads.
        model: a name or a .safetensors file.
        precision: of the convolutions.
        preset: of the whole command.
        repetitions: of the compute.
        limit_seconds: after which a command is stopped and counts as failed.
        log: gets a line for each run.
        note: what else the machine did.
    """
    found = {
        (shape, count): ScalingRun(shape=shape, threads=count, preset=preset) for shape in shapes for count in threads
    }
    with tempfile.TemporaryDirectory() as work:
        _warm_up(Path(work) / "first", model, preset)
        for _ in range(_ROUNDS):
            for shape in shapes:
                folder = Path(work) / "x".join(map(str, shape))
                apart = [_once_more(found[shape, n], folder, model, repetitions, limit_seconds) for n in threads]
                for run_of in _with_core(apart, model, precision, repetitions):
                    found[shape, run_of.threads] = run_of
                    log(_summary_text(run_of))
    runs = tuple(found.values())
    sizes = " ".join("x".join(map(str, shape)) for shape in shapes)
    return ScalingRecord(
        **circumstances(),
        protocol=PROTOCOL,
        commands=(
            f'lightcrcf bench scaling --shapes "{sizes}" --threads "{" ".join(map(str, threads))}" '
            "--out benchmarks/history/DATE-scaling.json",
        ),
        note=note,
        model=load(model).name,
        precision=precision,
        runs=runs,
    )


def _write_pair(shape: Shape, folder: Path) -> None:
    pair = workload(shape)
    for name, image in (("fixed", pair.fixed), ("moving", pair.moving)):
        write(folder / f"{name}.nii.gz", Volume((1000 * image).astype(np.int16), Grid(shape, np.eye(4))))


def _warm_up(folder: Path, model: str, preset: str) -> None:
    """Run a command without measuring it, which compiles kernels. If it fails, so do the measured ones."""
    folder.mkdir()
    _write_pair(_WARM_UP, folder)
    with suppress(CommandError):
        _command(folder, 1, model, preset, None)


def _once_more(
    so_far: ScalingRun, folder: Path, model: str, repetitions: int, limit_seconds: float | None
) -> ScalingRun:
    """Return the times of one more round of steps added; in the first round the whole command too."""
    if so_far.failure is not None:
        return so_far
    threads, new = so_far.threads, {}
    try:
        if so_far.step is None:
            if not folder.exists():
                folder.mkdir()
                _write_pair(so_far.shape, folder)
            new = _command(folder, threads, model, so_far.preset, limit_seconds)
        step = _step(folder, threads, repetitions)
    except CommandError as error:
        return so_far.model_copy(update={"failure": error.reason})
    return so_far.model_copy(update={**new, "step": _both(so_far.step, step)})


def _with_core(found: Sequence[ScalingRun], model: str, precision: str, repetitions: int) -> list[ScalingRun]:
    """Add the compute times of one more round to the successful runs of one size."""
    counts = [run.threads for run in found if run.failure is None]
    if not counts:
        return list(found)
    try:
        times = dict(zip(counts, _core(found[0].shape, counts, model, precision, repetitions), strict=True))
    except CommandError as error:
        return [run.model_copy(update={"failure": run.failure or error.reason}) for run in found]
    return [
        run.model_copy(update={"core": _both(run.core, times[run.threads])}) if run.threads in times else run
        for run in found
    ]


def _both(before: Times | None, new: Times) -> Times:
    return new if before is None else Times(each_ms=(*before.each_ms, *new.each_ms))


def _core(shape: Shape, counts: Sequence[int], model: str, precision: str, repetitions: int) -> list[Times]:
    from lightcrcf_bench.speed.core import fitted

    options = {
        "shape": fitted(shape, load(model).config), "model": model, "threads": counts, "precision": precision,
        "repetitions": repetitions,
    }  # fmt: skip
    return [Times(each_ms=tuple(each)) for each in measured("alternating", options, max(counts))[0]]


def _step(folder: Path, threads: int, repetitions: int) -> Times:
    options = {"folder": str(folder), "scale": 1, "count": max(repetitions, 3), "threads": threads}
    return Times(each_ms=tuple(measured("refine", options, threads)[0]["each_ms"]))


def _command(folder: Path, threads: int, model: str, preset: str, limit_seconds: float | None) -> dict[str, Any]:
    out = folder / "out"
    files = (f"--{name}={folder / name}.nii.gz" for name in ("fixed", "moving"))
    options = (f"--out={out}", f"--model={model}", "--init=none", f"--preset={preset}", f"--threads={threads}")
    taken = run((sys.executable, "-m", "lightcrcf", "register", *files, *options), limit_seconds, limited(threads))
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {
        "command_seconds": taken.seconds,
        "command_peak_mib": taken.peak_mib,
        "estimate_mib": record["estimated_memory_mb"],
        "working_voxels": int(np.prod(record["working_grid"]["shape"])),
        "load_before": taken.load_before,
    }


def _summary_text(found: ScalingRun) -> str:
    size = f"{'x'.join(map(str, found.shape))}, {found.threads} threads"
    if found.core is None or found.step is None:
        return f"{size}: {found.failure}"
    return (
        f"{size}: compute {found.core.median_ms:.0f} ms, step {found.step.median_ms:.0f} ms, command "
        f"{found.command_seconds:.1f} s, {found.command_peak_mib:.0f} MiB (expected {found.estimate_mib:.0f})"
    )
