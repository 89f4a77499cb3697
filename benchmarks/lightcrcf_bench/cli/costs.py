"""`lightcrcf bench core`, `refine` and `scaling`: times, and their lower bounds."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightcrcf.cli.console import print_json, print_message
from lightcrcf.errors import UsageError
from lightcrcf.options import Preset

if TYPE_CHECKING:
    from lightcrcf_bench.accuracy.environments import Environments
    from lightcrcf_bench.records.cost import CostRecord

__all__ = ["core", "environments", "refine", "scaling"]

Threads = Annotated[int, typer.Option(min=1, help="Threads of everything.")]
Out = Annotated[Path | None, typer.Option(help="Record to write, DATE-NAME.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record on stdout.")]
Note = Annotated[str, typer.Option(help="What else the machine did, for the record.")]
Gemm = Annotated[int, typer.Option(min=64, help="Size of the matrices by which the machine's peak is measured.")]
Places = Annotated[
    Path | None,
    typer.Option("--environments", help="Folder of the other tools' environments [default: in the user's cache]."),
]


class Precision(str, Enum):
    """Arithmetic of the network."""

    all = "all"
    f32 = "f32"
    bf16 = "bf16"


def core(
    shape: Annotated[str, typer.Option(help="Of both images.")] = "160x192x160",
    threads: Threads = 2,
    precision: Annotated[Precision, typer.Option(help="all: those that this processor has.")] = Precision.all,
    model: Annotated[str, typer.Option(help="A name or a .safetensors file.")] = "brain",
    repetitions: Annotated[int, typer.Option(min=1, help="That count.")] = 15,
    engine: Annotated[str, typer.Option(help="native or torch.")] = "native",
    device: Annotated[str, typer.Option(help="cpu, or cuda with --engine torch.")] = "cpu",
    gemm_size: Gemm = 3072,
    out: Out = None,
    note: Note = "",
    json: Json = False,
) -> None:
    """Time the network and its warps, arrays to arrays, and compare with the floor of this machine."""
    from lightcrcf.engines.base import check_engine
    from lightcrcf_bench.publish.cost_views import core_text
    from lightcrcf_bench.speed.core import measure_core, native_precisions
    from lightcrcf_bench.speed.workload import parse_shape

    check_engine(engine, device, "auto", threads)
    record = measure_core(
        parse_shape(shape),
        model=model,
        threads=threads,
        precisions=native_precisions() if precision is Precision.all else [precision.value],
        repetitions=repetitions,
        engine=engine,
        device=device,
        gemm_size=gemm_size,
        note=note,
    )
    _deliver(record, core_text(record), out, json)


def refine(
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets, for a pair of brains [default: shapes made up].")
    ] = None,
    shape: Annotated[str, typer.Option(help="Of what is made up.")] = "160x192x160",
    threads: Threads = 2,
    steps: Annotated[int, typer.Option(min=3, help="At most, in each run.")] = 10,
    repetitions: Annotated[int, typer.Option(min=1, help="Runs, of ours and of greedy.")] = 3,
    environments_at: Places = None,
    gemm_size: Gemm = 3072,
    out: Out = None,
    note: Note = "",
    json: Json = False,
) -> None:
    """Time one refinement step, and an iteration of greedy with the same window on the same pair."""
    from lightcrcf_bench.accuracy.protocols import PROTOCOLS, pairs
    from lightcrcf_bench.publish.cost_views import refine_text
    from lightcrcf_bench.speed.refinement import measure_refinement
    from lightcrcf_bench.speed.workload import parse_shape

    pair = pairs(PROTOCOLS["brain"], data)[0] if data else None
    record = measure_refinement(
        (pair.fixed_image, pair.moving_image) if pair else None,
        f"OASIS {pair.fixed} <- {pair.moving}" if pair else "made up",
        shape=parse_shape(shape),
        threads=threads,
        count=steps,
        repetitions=repetitions,
        environments=environments(environments_at),
        log=print_message,
        gemm_size=gemm_size,
        note=note,
    )
    _deliver(record, refine_text(record), out, json)


def scaling(
    shapes: Annotated[str, typer.Option(help="Sizes, with spaces between [default: 96x96x96 to 320x320x320].")] = "",
    threads: Annotated[str, typer.Option(help="Numbers of threads, with spaces between.")] = "1 2",
    model: Annotated[str, typer.Option(help="A name or a .safetensors file.")] = "brain",
    precision: Annotated[Precision, typer.Option(help="f32 or bf16.")] = Precision.f32,
    preset: Annotated[Preset, typer.Option(help="Of the whole command.")] = "default",
    repetitions: Annotated[int, typer.Option(min=1, help="Of the compute.")] = 5,
    limit: Annotated[
        float | None, typer.Option(help="Seconds after which a command is stopped and counts as failed.")
    ] = None,
    out: Out = None,
    note: Note = "",
    json: Json = False,
) -> None:
    """Measure time and memory of several sizes with several numbers of threads."""
    from lightcrcf_bench.publish.cost_views import scaling_text
    from lightcrcf_bench.speed.scaling import SIZES, measure_scaling
    from lightcrcf_bench.speed.workload import parse_shape

    if precision is Precision.all:
        raise UsageError("--precision", expected="f32 or bf16", got="all", remedy="choose one")
    record = measure_scaling(
        [parse_shape(word) for word in shapes.split() or SIZES],
        _numbers(threads),
        model=model,
        precision=precision.value,
        preset=preset,
        repetitions=repetitions,
        limit_seconds=limit,
        log=print_message,
        note=note,
    )
    _deliver(record, scaling_text(record), out, json)


def environments(folder: Path | None) -> Environments:
    """Return the environments of other tools: below `folder`, or in the cache of the user."""
    from lightcrcf_bench.accuracy.environments import Environments

    return Environments(folder or Path.home() / ".cache" / "lightcrcf" / "peers", print_message)


def _numbers(text: str) -> Sequence[int]:
    numbers = [int(word) for word in text.replace(",", " ").split() if word.isdigit()]
    if not numbers or min(numbers) < 1:
        raise UsageError("--threads", expected='numbers such as "1 2"', got=text, remedy="correct them")
    return numbers


def _deliver(record: CostRecord, text: str, out: Path | None, json: bool) -> None:
    if out is not None:
        record.write(out)
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        print_message(text)
