"""`lightcrcf bench throughput`: pairs per hour of `lightcrcf batch`, and the time of each stage.

Many images onto one template, through the command line, with the affine alignment and without, by one worker of one
thread, one of all threads, and several of one thread. All take turns, so that they meet the same machine.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from lightcrcf.errors import InputError
from lightcrcf.run_record.environment import usable_cores
from lightcrcf_bench.measure import circumstances, run
from lightcrcf_bench.publish.markdown import table
from lightcrcf_bench.records.parts import Measurement, Strict
from lightcrcf_bench.records.schema import BUSY

__all__ = ["THROUGHPUT", "Setting", "ThroughputRecord", "measure_throughput", "throughput_text"]

THROUGHPUT = "throughput"
PROTOCOL = (
    "`lightcrcf batch --to TEMPLATE IMAGES --preset fast`, the whole command with its start and its summary; settings "
    "take turns, each starts anew every time. Images repeat when there are fewer than pairs."
)


Init = Literal["auto", "none"]
INITS: tuple[Init, ...] = ("auto", "none")


class Setting(Strict):
    """One way to do the same pairs.

    Args:
        init: "auto" with the affine alignment, "none" without.
        workers: processes.
        threads: of each.
    """

    init: Init
    workers: int
    threads: int


class Took(Strict):
    """Time of a setting.

    Args:
        setting: the setting.
        seconds: of each repetition, the whole command.
        stages_s: median over pairs of what each stage took, within the worker.
        peak_mib: of the largest process; Linux does not tell the sum.
        load_before: one-minute load average when its first repetition began.
    """

    setting: Setting
    seconds: Annotated[tuple[float, ...], Field(min_length=1)]
    stages_s: dict[str, float]
    peak_mib: float
    load_before: float


class ThroughputRecord(Measurement):
    """`lightcrcf bench throughput`."""

    format: Literal["lightcrcf-throughput"] = "lightcrcf-throughput"
    data: str
    pairs: int
    settings: tuple[Took, ...]

    def per_hour(self, took: Took) -> float:
        """Return pairs per hour, by the median repetition."""
        return 3600 * self.pairs / median(took.seconds)

    def speedup(self, init: Init, workers: int) -> float | None:
        """Return pairs an hour of `workers` workers of one thread over those of one; None if either is missing."""
        alone, together = (self._find(Setting(init=init, workers=n, threads=1)) for n in (1, workers))
        return self.per_hour(together) / self.per_hour(alone) if alone and together else None

    def steady_speedup(self, init: Init, workers: int) -> float | None:
        """Return the speed-up by the median time of a pair in its worker, without the start of workers."""
        alone, together = (self._find(Setting(init=init, workers=n, threads=1)) for n in (1, workers))
        return workers * alone.stages_s["total"] / together.stages_s["total"] if alone and together else None

    def _find(self, setting: Setting) -> Took | None:
        return next((took for took in self.settings if took.setting == setting), None)


def measure_throughput(
    images: Sequence[Path],
    *,
    data: str,
    pairs: int,
    repetitions: int,
    note: str = "",
    log: Callable[[str], None] = print,
) -> ThroughputRecord:
    """Register images onto the first of them, in every setting.

    Args:
        images: two or more files; the first is the template.
        data: what they are, for the record.
        pairs: in each run.
        repetitions: of each setting.
        note: what else the machine did.
        log: called with a line for each setting.

    Raises:
        InputError: for fewer than two images.
        CommandError: if a batch fails.
    """
    if len(images) < 2:
        raise InputError(data, expected="two or more images", got=str(len(images)), remedy="check the folder")
    cores = usable_cores()
    ways = sorted({(1, 1), (1, cores), (cores, 1)})
    settings = [Setting(init=i, workers=w, threads=t) for i in INITS for w, t in ways]
    taken: dict[int, list[_Run]] = {n: [] for n in range(len(settings))}
    for _ in range(repetitions):
        for n, setting in enumerate(settings):
            taken[n].append(_run(images, pairs, setting))
            log(f"{setting}: {3600 * pairs / taken[n][-1].seconds:.0f} pairs an hour")
    return ThroughputRecord(
        **circumstances(),
        protocol=PROTOCOL,
        commands=(
            f"lightcrcf bench throughput --data ../shared/data --pairs {pairs} --repetitions {repetitions} "
            "--out benchmarks/history/DATE-throughput.json",
        ),
        note=note,
        data=data,
        pairs=pairs,
        settings=tuple(_took(setting, taken[n]) for n, setting in enumerate(settings)),
    )


def throughput_text(record: ThroughputRecord) -> str:
    """Return a row for each setting, and how much several workers bring."""
    stages = _stages(record)
    header = ("affine", "workers", "threads of each", "pairs an hour", "lowest, highest", "peak, MiB", *stages)
    rows = []
    for took in record.settings:
        hours = [3600 * record.pairs / seconds for seconds in took.seconds]
        busy = BUSY if took.load_before > record.machine.cores + 1 else ""
        rows.append(
            (
                "yes" if took.setting.init == "auto" else "no (`--init none`)",
                str(took.setting.workers),
                str(took.setting.threads),
                f"{record.per_hour(took):,.0f}{busy}",
                f"{min(hours):,.0f}, {max(hours):,.0f}",
                f"{took.peak_mib:.0f}",
                *(f"{took.stages_s.get(stage, 0.0):.2f}" for stage in stages),
            )
        )
    machine = record.machine
    notes = [
        f"{record.data}; {record.pairs} pairs, {len(record.settings[0].seconds)} repetitions. {record.protocol} "
        "Stages: median seconds of a pair in its worker.",
        f"{machine.cpu}, {machine.cores} cores, {record.measured.isoformat()}. {record.note}".strip(),
    ]
    for init, content in zip(INITS, ("with the affine alignment", "without"), strict=True):
        gain = record.speedup(init, machine.cores)
        steady = record.steady_speedup(init, machine.cores)
        if gain is not None:
            notes.append(
                f"{machine.cores} workers of one thread do {gain:.2f} times what one does, {content}; "
                f"{steady:.2f} times once they have started."
            )
    return "\n".join([*table(header, rows), "", *(f"- {note}" for note in notes)])


class _Run(Strict):
    seconds: float
    peak_mib: float
    load_before: float
    stages: tuple[dict[str, float], ...]


def _run(images: Sequence[Path], pairs: int, setting: Setting) -> _Run:
    with tempfile.TemporaryDirectory() as folder:
        listing, out = Path(folder) / "pairs.csv", Path(folder) / "out"
        moving = [images[1 + n % (len(images) - 1)] for n in range(pairs)]
        with listing.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(("id", "fixed", "moving"))
            rows.writerows((f"{n:05d}", images[0].resolve(), image.resolve()) for n, image in enumerate(moving))
        command = (
            sys.executable, "-m", "lightcrcf", "batch", str(listing), "--out", str(out), "--preset", "fast",
            "--init", setting.init, "--workers", str(setting.workers), "--threads", str(setting.threads),
        )  # fmt: skip
        measured = run(command)
        lines = (out / "timings.jsonl").read_text(encoding="utf-8").splitlines()
        stages = tuple(json.loads(line)["seconds"] for line in lines)
    return _Run(**asdict(measured), stages=stages)


def _took(setting: Setting, runs: Sequence[_Run]) -> Took:
    pairs = [pair for run in runs for pair in run.stages]
    return Took(
        setting=setting,
        seconds=tuple(run.seconds for run in runs),
        stages_s={name: round(median(pair.get(name, 0.0) for pair in pairs), 4) for name in pairs[0]},
        peak_mib=max(run.peak_mib for run in runs),
        load_before=runs[0].load_before,
    )


def _stages(record: ThroughputRecord) -> list[str]:
    """Return the stages of at least 0.01 s in some setting, in order."""
    found = dict.fromkeys(name for took in record.settings for name in took.stages_s)
    return [name for name in found if any(took.stages_s.get(name, 0.0) >= 0.01 for took in record.settings)]
