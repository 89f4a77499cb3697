"""`lightcrcf bench`: measure the product and other tools, and bring the published figures up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightcrcf.cli.app import App
from lightcrcf.cli.console import print_message
from lightcrcf.errors import UsageError
from lightcrcf_bench.cli import costs as bench_costs

if TYPE_CHECKING:
    from lightcrcf_bench.accuracy.methods import BenchSettings
    from lightcrcf_bench.accuracy.protocols import Protocol

__all__ = ["app"]

_TIMED_PAIRS = 3

app = App(help="Measure LightCRCF and other tools.", no_args_is_help=True)

for _command in (bench_costs.core, bench_costs.refine, bench_costs.scaling):
    app.command()(_command)


@app.callback()
def _allow_scipy() -> None:
    """Measure LightCRCF and other tools."""
    # `lightcrcf` blocks the import of SciPy, which Numba would load for its BLAS; the statistics here need it.
    if sys.modules.get("scipy", app) is None:
        del sys.modules["scipy"]


@app.command()
def accuracy(
    protocol: Annotated[str, typer.Option(help="brain, brain-ordered, heads, hippocampus, cardiac or abdomen.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    out: Annotated[
        Path, typer.Option(help="Record to write or renew, DATE-NAME-accuracy.json; its CSV lies beside it.")
    ],
    methods: Annotated[
        str, typer.Option(help="Methods to measure, with commas between; the others stay. [default: all]")
    ] = "",
    model: Annotated[
        str | None, typer.Option(help="Of our network: a name or a .safetensors file, in rows of its own.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Keep what the methods leave in this folder.")] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take other tools' results that --work already holds.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each method.")] = 2,
    limit: Annotated[
        float | None, typer.Option(help="Seconds after which a command is stopped and counts as failed.")
    ] = None,
    times_only: Annotated[
        bool, typer.Option("--times-only", help="Only take the times again, methods alternating.")
    ] = False,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="How many of the pairs, from the first. [default: all; times only: 3]")
    ] = None,
    note: Annotated[str, typer.Option(help="What else the machine did, for the record.")] = "",
) -> None:
    """Register held-out pairs with every method and score them by labels."""
    import tempfile

    from lightcrcf_bench.accuracy.methods import BenchSettings

    if reuse and work is None:
        raise UsageError("--reuse", expected="--work DIR with it", got="none", remedy="say where the results lie")
    names = [name for name in methods.replace(",", " ").split() if name]
    with tempfile.TemporaryDirectory() as temporary:
        bench = BenchSettings(work or Path(temporary), threads, reuse, model, limit)
        measure = _retime if times_only else _measure
        measure(_protocol(protocol), data, out, names, bench, pairs, note)


@app.command()
def peers(
    data: Annotated[str, typer.Option(help="oasis, hippocampus, acdc or chaos-t2.")],
    folder: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    out: Annotated[Path, typer.Option(help="Record to write, DATE-NAME-peers.json; its CSV lies beside it.")],
    methods: Annotated[str, typer.Option(help="Methods to compare, with commas between. [default: all]")] = "",
    pairs: Annotated[int, typer.Option(min=1, help="How many of the held-out pairs.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each method.")] = 2,
    limit: Annotated[
        float | None, typer.Option(help="Seconds after which a command is stopped and counts as failed.")
    ] = None,
    shape: Annotated[str, typer.Option(help="Of the images of the forward passes.")] = "160x192x160",
    rounds: Annotated[int, typer.Option(min=0, help="Forward passes of each network; 0 for none.")] = 3,
    environments: bench_costs.Places = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep what other tools leave here, and go on from it after an interruption.")
    ] = None,
    note: Annotated[str, typer.Option(help="What else the machine did, for the record.")] = "",
) -> None:
    """Run other tools and ours in turn on held-out pairs, each in an environment of its own; time and score them."""
    import tempfile

    from lightcrcf_bench.accuracy.comparison import DATA_SETS, compare, measure_forwards
    from lightcrcf_bench.accuracy.methods import BenchSettings
    from lightcrcf_bench.accuracy.protocols import PROTOCOLS
    from lightcrcf_bench.records import schema as records
    from lightcrcf_bench.speed.workload import parse_shape

    if data not in DATA_SETS:
        raise UsageError("--data", expected=f"one of {', '.join(DATA_SETS)}", got=data, remedy="check the name")
    names, places = [name for name in methods.replace(",", " ").split() if name], bench_costs.environments(environments)
    size, model = parse_shape(shape), PROTOCOLS[DATA_SETS[data]].model
    with tempfile.TemporaryDirectory() as temporary:
        kept = work is not None
        bench = BenchSettings(work or Path(temporary), threads, reuse=kept, limit_seconds=limit, environments=places)
        forwards = measure_forwards(model, size, threads, places, rounds=rounds, log=print_message) if rounds else []
        record = compare(data, folder, names, bench, count=pairs, forwards=forwards, note=note, log=print_message)
    records.write(out, record)


@app.command()
def ablation(
    recipe: Annotated[Path, typer.Option(help="TOML training configuration, with watched persons.")],
    work: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not repeated.")],
    out: Annotated[Path, typer.Option(help="Record to write, DATE-RECIPE-ablation.json.")],
    variants: Annotated[str, typer.Option(help="Of the network, with commas between. [default: all]")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Of each variant.")] = 3,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each run [default: the recipe's].")] = None,
    note: Annotated[str, typer.Option(help="What else the machine did, for the record.")] = "",
) -> None:
    """Train variants of the network by the same recipe, and compare what they reach on watched persons."""
    from lightcrcf_bench.training.ablation import measure_ablation

    names = [name for name in variants.replace(",", " ").split() if name]
    measure_ablation(recipe, work, variants=names, seeds=seeds, steps=steps, note=note, log=print_message).write(out)


@app.command()
def throughput(
    data: Annotated[Path, typer.Option(help="Folder of the data sets; the brains of the oasis training split count.")],
    out: Annotated[Path, typer.Option(help="Record to write, DATE-throughput.json.")],
    pairs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 32,
    repetitions: Annotated[int, typer.Option(min=1, help="Of each setting, which take turns.")] = 2,
    note: Annotated[str, typer.Option(help="What else the machine did, for the record.")] = "",
) -> None:
    """Register many brains onto one, and count the pairs that are done in an hour."""
    from lightcrcf_bench.speed.throughput import measure_throughput

    images = sorted((data / "oasis").glob("sub-10[01]?_T1w.nii.gz"))
    description = f"oasis, {len(images)} skull-stripped brains"
    record = measure_throughput(
        images, data=description, pairs=pairs, repetitions=repetitions, note=note, log=print_message
    )
    record.write(out)


@app.command()
def report(
    root: Annotated[Path, typer.Option(help="The repository.")] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a document is out of date.")] = False,
) -> None:
    """Bring the tables and figures of the documents up to date with the records."""
    from lightcrcf_bench.publish.render import main

    if main(["--root", str(root), *(["--check"] if check else [])]):
        raise typer.Exit(1)


def _protocol(name: str) -> Protocol:
    from lightcrcf_bench.accuracy.protocols import PROTOCOLS

    if name not in PROTOCOLS:
        raise UsageError("--protocol", expected=f"one of {', '.join(PROTOCOLS)}", got=name, remedy="check the name")
    return PROTOCOLS[name]


def _retime(
    protocol: Protocol, data: Path, out: Path, names: list[str], bench: BenchSettings, count: int | None, note: str
) -> None:
    from lightcrcf_bench.accuracy import run as accuracy
    from lightcrcf_bench.records import schema as records

    old, count = records.read(out), count or _TIMED_PAIRS
    records.write(out, accuracy.retime(old, protocol, data, names, bench, count=count, note=note))


def _measure(
    protocol: Protocol, data: Path, out: Path, names: list[str], bench: BenchSettings, count: int | None, note: str
) -> None:
    from lightcrcf_bench.accuracy import run as accuracy
    from lightcrcf_bench.records import schema as records

    for name in accuracy.chosen(protocol, names, bench):  # each is written when it is done: some take hours
        record = accuracy.measure(protocol, data, [name], bench, count=count, note=note, log=print_message)
        records.write(out, records.merge(records.read(out), record) if out.exists() else record)
