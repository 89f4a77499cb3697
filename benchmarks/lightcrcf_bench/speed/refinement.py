"""`lightcrcf bench refine`: time of a refinement step, and of an iteration of greedy on the same pair."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lightcrcf.affine.align import align
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.threads import use_threads
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.schedule import Level, plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.volumes import Volume, read, write
from lightcrcf.weights.store import load
from lightcrcf_bench.accuracy import peers
from lightcrcf_bench.accuracy.environments import Environments
from lightcrcf_bench.measure import CommandError, circumstances, run
from lightcrcf_bench.records.cost import GreedyIteration, Peaks, RefineRecord, RefineRun, Times
from lightcrcf_bench.speed.parts import parts
from lightcrcf_bench.speed.tracing import Event
from lightcrcf_bench.speed.worker import limited, measured
from lightcrcf_bench.speed.workload import workload

__all__ = ["PROTOCOL", "measure_refinement", "steps", "write_pair"]

PROTOCOL = (
    "Both images, affinely aligned on one working grid, are refined from zero at one resolution, as brain wants "
    "it (the field has half the resolution of full images); a step is the time from one candidate to the next, "
    "rejected ones included. Floor: both images read, the field read and written, once, at the speed of a copy that "
    "was measured in the same run. greedy has the same images and window; its iteration is the difference in time "
    "between many and few of them, so that reading and setting up do not count; ours and greedy's runs alternate."
)
# Floats that a step cannot do without: both images for each of their voxels, the field in and out for each of its own.
_FLOATS = (2, 6)
# Name of each part of a step, and the floats that it reads and writes for each voxel of the images and of the field.
_PARTS = {
    "upsample": ("upsample field", 3, 3), "warp": ("warp image", 5, 0), "compare": ("correlation", 5, 0),
    "force": ("force", 8, 0), "average": ("average force", 3, 3), "smooth": ("smooth", 0, 6),
    "measure": ("strength of the force", 0, 0), "add": ("carry on", 0, 6), "compose": ("compose", 0, 9),
    "even out": ("even out", 0, 8), "repair folds": ("look for folds", 0, 4),
}  # fmt: skip


def measure_refinement(
    images: tuple[Path, Path] | None,
    pair: str,
    *,
    shape: tuple[int, int, int],
    threads: int,
    count: int,
    repetitions: int,
    environments: Environments,
    log: Callable[[str], None] = print,
    gemm_size: int = 3072,
    note: str = "",
) -> RefineRecord:
    """Measure a step with images of full and of half resolution.

    Args:
        images: files of a fixed and a moving brain; None for shapes made up.
        pair: what they are, for the record.
        shape: of what is made up.
        threads: of everything.
        count: of steps in each run, at most.
        repetitions: runs, of ours and of greedy.
        environments: where greedy is installed.
        log: gets a line for each resolution.
        gemm_size: as for `bench core`.
        note: what else the machine did.

    Raises:
        CommandError: if a process of ours fails.
    """
    asked = {"threads": threads, "precisions": ["f32"], "size": gemm_size}
    peaks = Peaks.model_validate(measured("peaks", asked, threads)[0])
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        files = None if images is None else [str(image) for image in images]
        measured("pair", {"files": files, "shape": shape, "folder": folder}, threads)
        for level in (_level(scale) for scale in (2, 1)):
            runs.append(_run(Path(folder), level, threads, count, repetitions, environments))
            log(f"images at 1/{level.image_scale}: {runs[-1].times.median_ms:.1f} ms a step")
    return RefineRecord(
        **circumstances(),
        protocol=PROTOCOL,
        commands=(
            f"lightcrcf bench refine --data ../shared/data --threads {threads} --steps {count} "
            f"--repetitions {repetitions} --out benchmarks/history/DATE-refine.json",
        ),
        note=note,
        pair=pair,
        threads=threads,
        peaks=peaks,
        runs=tuple(runs),
    )


def _run(
    folder: Path, level: Level, threads: int, count: int, repetitions: int, environments: Environments
) -> RefineRun:
    options = {"folder": str(folder), "scale": level.image_scale, "count": count, "threads": threads}
    greedy, ours, peaks_mib, loads = _Greedy(folder, level, threads, count, environments), [], [], []
    for _ in range(repetitions):
        found, taken = measured("refine", options, threads)
        ours.append(found)
        peaks_mib.append(taken.peak_mib)
        loads.append(taken.load_before)
        greedy.again()
    return RefineRun(
        scale=level.image_scale, shape=ours[0]["shape"], parts=ours[0]["parts"], mb=ours[0]["mb"], radius=level.radius,
        times=Times(each_ms=tuple(each for found in ours for each in found["each_ms"])),
        peak_mib=max(peaks_mib), load_before=loads[0], greedy=greedy.found(),
    )  # fmt: skip


def _level(scale: int) -> Level:
    return next(v for v in plan("default", load("brain").preparation).schedule if v.image_scale == scale)


class _Greedy:
    """Runs of few and of many iterations, alternating."""

    def __init__(self, folder: Path, level: Level, threads: int, count: int, environments: Environments) -> None:
        self._folder, self._threads, self._environments = folder, threads, environments
        self._window = "x".join([str(level.radius)] * 3)
        self._levels = "x0" if level.image_scale == 2 else ""  # none at full resolution
        self._numbers = (2, 2 + count)
        self._seconds: tuple[list[float], list[float]] = ([], [])
        self._failure: str | None = None

    def again(self) -> None:
        """Run again; skip after a failure."""
        if self._failure is not None:
            return
        try:
            pair = [self._once(number) for number in self._numbers]
        except (CommandError, InputError) as error:
            self._failure = str(error)
            return
        for seconds, value in zip(self._seconds, pair, strict=True):
            seconds.append(value)

    def _once(self, number: int) -> float:
        python, out = self._environments.python("greedy"), self._folder / "greedy"
        files = [f"--{name}={self._folder / name}.nii.gz" for name in ("fixed", "moving")]
        words = [f"--out={out}", f"--deform={self._words(str(number))}", f"--threads={self._threads}"]
        run((str(python), "-I", peers.__file__, "greedy", *files, *words), environment=limited(self._threads))
        return float(json.loads((out / peers.SUMMARY).read_text(encoding="utf-8"))["call_seconds"])

    def _words(self, number: str) -> str:
        return f"-m NCC {self._window} -n {number}{self._levels}"

    def found(self) -> GreedyIteration:
        """Return the entries of the record."""
        few, many = self._seconds
        return GreedyIteration(
            command=f"greedy {self._words('N')}, {self._threads} threads", few=self._numbers[0],
            many=self._numbers[1], few_seconds=tuple(few), many_seconds=tuple(many), failure=self._failure,
        )  # fmt: skip


def write_pair(files: Sequence[str] | None, shape: Sequence[int], folder: str) -> None:
    """Write a pair on one working grid to a folder, aligned affinely: `fixed` and `moving`, .nii.gz and .npy."""
    if files is None:
        made = workload((shape[0], shape[1], shape[2]))
        grid, images = Grid(made.fixed.shape, np.eye(4)), (made.fixed, made.moving)
    else:
        fixed, moving = (read(file) for file in files)
        pair = WorkingPair.prepare(
            fixed, moving, (None, None), align(fixed, moving).affine, load("brain"), RegistrationCache()
        )
        grid, images = pair.grid, (pair.fixed, pair.moving)
    for name, image in zip(("fixed", "moving"), images, strict=True):
        write(Path(folder) / f"{name}.nii.gz", Volume(image, grid))
        np.save(Path(folder) / f"{name}.npy", image)


def steps(folder: str, scale: int, count: int, threads: int) -> dict[str, Any]:
    """Measure in this process: milliseconds of each step from zero at one resolution, and their parts."""
    fixed, moving = (read(Path(folder) / f"{name}.nii.gz").data for name in ("fixed", "moving"))
    level = _level(scale)
    schedule = (replace(level, steps=count),)

    voxels = _voxels(fixed.shape, scale), _voxels(fixed.shape, level.scale)
    with use_threads(threads):
        refine(fixed, moving, None, schedule=(replace(level, steps=1),))  # loads the kernels
        recorder = _Recorder(voxels)
        refine(fixed, moving, None, schedule=schedule, after=recorder)
    whole = recorder.events
    begins = [index for index, event in enumerate(whole) if event.label == "compose"]
    if len(begins) < 2:
        raise InputError("refinement", expected="at least two steps", got=str(len(begins)), remedy="give more --steps")
    each = [1e3 * (whole[b].start - whole[a].start) for a, b in pairwise(begins)]
    return {
        "each_ms": [round(value, 3) for value in each],
        "parts": [part.model_dump() for part in parts(_cycles(whole, begins))],
        "shape": [-(-n // scale) for n in fixed.shape],
        "mb": round(4 * float(np.dot(_FLOATS, voxels)) / 1e6, 3),
    }


def _voxels(shape: Sequence[int], scale: int) -> float:
    return float(np.prod([-(-n // scale) for n in shape]))


class _Recorder:
    """Events of the parts of steps, each from the end of the one before.

    Args:
        voxels: of the images and of the field.
    """

    def __init__(self, voxels: tuple[float, float]) -> None:
        self.events = list[Event]()
        self._voxels, self._began = voxels, time.perf_counter()

    def __call__(self, part: str) -> None:
        """Record that a part ended."""
        ended = time.perf_counter()
        if part in _PARTS:
            label, *floats = _PARTS[part]
            moved = round(4 * float(np.dot(floats, self._voxels)))
            self.events.append(Event(label, self._began, ended - self._began, moved))
        self._began = time.perf_counter()


def _cycles(events: Sequence[Event], begins: Sequence[int]) -> list[Sequence[Event]]:
    """Return the parts of each step, from its beginning to the next; those that all have in common."""
    cycles = [events[a:b] for a, b in pairwise(begins)]
    usual = Counter(tuple(event.label for event in cycle) for cycle in cycles).most_common(1)[0][0]
    return [cycle for cycle in cycles if tuple(event.label for event in cycle) == usual]
