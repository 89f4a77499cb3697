"""`lightcrcf bench peers`: tools side by side on the same pairs, each in its own environment and process."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lightcrcf.errors import InputError
from lightcrcf_bench.accuracy.environments import Environments
from lightcrcf_bench.accuracy.methods import BenchSettings, MethodResult, MethodRunner
from lightcrcf_bench.accuracy.protocols import PROTOCOLS, Pair, Protocol, pairs
from lightcrcf_bench.accuracy.run import SCORING, alternately, chosen, describe, score, timings_of
from lightcrcf_bench.measure import CommandError, run
from lightcrcf_bench.records.schema import Case, Data, Forward, Record
from lightcrcf_bench.speed.worker import limited, measured

__all__ = ["DATA_SETS", "compare", "measure_forwards", "peers_name"]

DATA_SETS = {"oasis": "brain", "hippocampus": "hippocampus", "acdc": "cardiac", "chaos-t2": "abdomen"}
_FORWARDS = {
    "voxelmorph": ("VoxelMorph, its package", "voxelmorph"),
    "eoir-8": ("EOIR-8 size", "torch"),
    "lapirn": ("LapIRN size", "torch"),
    "transmorph": ("TransMorph size", "torch"),
}
_OWN_PASSES = 10
_NETWORKS = Path(__file__).with_name("networks.py")  # not imported: that would need PyTorch here
_SIDE_BY_SIDE = " Methods ran in turn, pair after pair, each in a process and an environment of its own."
Shape = tuple[int, int, int]
Log = Callable[[str], None]


def peers_name(data: str) -> str:
    """Return the name of the record of a data set."""
    return f"{data}-peers"


def compare(
    data: str,
    folder: Path,
    names: Sequence[str],
    bench: BenchSettings,
    *,
    count: int,
    forwards: Sequence[Forward] = (),
    note: str = "",
    log: Log = print,
) -> Record:
    """Run methods in turn on the first pairs of a data set, time them and score them.

    Args:
        data: a key of `DATA_SETS`.
        folder: of all data sets.
        names: methods, keys of `method_runners`; empty for all.
        bench: how to run; with `reuse`, a comparison that was interrupted goes on from its `work`.
        count: of pairs.
        forwards: of networks, to go with them.
        note: what else the machine did.
        log: gets a line for each run.

    Raises:
        InputError: if the data are not there.
        UsageError: if a method is unknown.
    """
    protocol = PROTOCOLS[DATA_SETS[data]]
    todo, run_here = pairs(protocol, folder)[:count], list(chosen(protocol, names, bench).values())
    cases: list[Case] = []

    def keep(runner: MethodRunner, pair: Pair, result: MethodResult) -> None:
        cases.append(score(runner.name, pair, result))
        content = cases[-1].failure or f"Dice {cases[-1].dice:.4f}"
        log(f"{data} {cases[-1].method} {cases[-1].fixed} <- {cases[-1].moving}: {content}")

    results = alternately(run_here, todo, bench, keep)
    return Record(
        name=peers_name(data),
        title=f"{protocol.title}: tools side by side",
        data=_first(protocol, len(todo)),
        protocol=SCORING + _SIDE_BY_SIDE,
        methods=tuple(describe(runner, results[runner.name], note) for runner in run_here),
        cases=tuple(cases),
        timings=tuple(timing for name, runs in results.items() for timing in timings_of(name, todo, runs)),
        forwards=tuple(forwards),
        commands=(
            f"lightcrcf bench peers --data {data} --folder ../shared/data --pairs {len(todo)} "
            f"--threads {bench.threads} --out benchmarks/history/DATE-{peers_name(data)}.json",
        ),
    )


def _first(protocol: Protocol, count: int) -> Data:
    data = protocol.data
    if count == len(data.pairs):
        return data
    return data.model_copy(update={"pairs": data.pairs[:count], "split": f"{data.split}; the first {count}"})


def measure_forwards(
    model: str, shape: Shape, threads: int, environments: Environments, *, rounds: int, log: Log = print
) -> list[Forward]:
    """Time forward passes in turn: our network's, with its warp, and those without public weights.

    Args:
        model: of ours.
        shape: of both images, which are made up.
        threads: of each.
        environments: where the packages are.
        rounds: each has a process of its own in every round and makes one pass after one that does not count; ours,
            which takes a fraction of a second, ten.
        log: gets a line for each run.
    """
    found: dict[str, list[Forward]] = {}
    with tempfile.TemporaryDirectory() as folder:
        measured("pair", {"files": None, "shape": shape, "folder": folder}, threads)
        for _ in range(rounds):
            found.setdefault("lightcrcf", []).append(_ours(model, shape, threads))
            for name in _FORWARDS:
                one = _forward(name, Path(folder), shape, threads, environments)
                found.setdefault(name, []).append(one)
                log(f"forward {name}: {one.failure or f'{one.each_ms[0]:.0f} ms'}")
    return [_joined(runs) for runs in found.values()]


def _ours(model: str, shape: Shape, threads: int) -> Forward:
    options = {
        "shape": shape, "model": model, "threads": threads, "precision": "f32", "repetitions": _OWN_PASSES,
        "engine": "openvino", "device": "cpu",
    }  # fmt: skip
    content, taken = measured("core", options, threads)
    return Forward(
        name="lightcrcf", title="LightCRCF", shape=shape, threads=threads, versions=content["versions"],
        parameters=content["parameters"], gmac=round(content["gflop"] / 2, 3), each_ms=content["times"]["each_ms"],
        peak_mib=taken.peak_mib, load_before=taken.load_before,
    )  # fmt: skip


def _forward(name: str, folder: Path, shape: Shape, threads: int, environments: Environments) -> Forward:
    title, tool = _FORWARDS[name]
    out = folder / "forward.json"
    words = (f"--pair={folder}", f"--out={out}", f"--threads={threads}")
    try:
        program = (str(environments.python(tool)), "-I", str(_NETWORKS))
        taken = run((*program, name, *words), environment=limited(threads))
    except (CommandError, InputError) as error:
        return Forward(name=name, title=title, shape=shape, threads=threads, failure=str(error))
    content = json.loads(out.read_text(encoding="utf-8"))
    return Forward(
        name=name, title=title, shape=shape, threads=threads, **content, peak_mib=taken.peak_mib,
        load_before=taken.load_before,
    )  # fmt: skip


def _joined(runs: Sequence[Forward]) -> Forward:
    """Join the rounds of one method into one row."""
    best = next((run for run in runs if run.failure is None), runs[0])
    peaks = [run.peak_mib for run in runs if run.peak_mib is not None]
    return best.model_copy(
        update={
            "each_ms": tuple(each for run in runs for each in run.each_ms),
            "peak_mib": max(peaks) if peaks else None,
        }
    )
