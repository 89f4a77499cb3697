"""`lightcrcf batch`: register many pairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.console import print_json, print_message, resumable
from lightcrcf.cli.options import Scheduler, Workers, parse_options, with_all_options
from lightcrcf.errors import InputError, LightCRCFError, MemoryEstimateError, QualityError, UsageError

if TYPE_CHECKING:
    from lightcrcf.batch.pairs import Pair
    from lightcrcf.batch.progress import BatchProgress
    from lightcrcf.batch.summary import Summary

__all__ = ["batch", "follow_batch", "raise_for"]


class _PairsError(LightCRCFError):
    """Some pairs failed with internal errors."""


@with_all_options(without=("threads", "brain_mask"))
def batch(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="PAIRS.csv|IMAGES...", help="A table of pairs, or images.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the manifest, the results and the summary.")],
    to: Annotated[Path | None, typer.Option(help="A template: register each image onto it.")] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Register each image onto each other one.")] = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run of the same batch stopped.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="As --resume, and try again what failed.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Write a report.html for each pair.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each pair [default: the cores, shared among the workers].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the state of all pairs on stdout.")] = False,
    fail_on_qc: Annotated[
        bool, typer.Option("--fail-on-qc", help="Exit with code 4 if quality control says fail for any pair.")
    ] = False,
    **options: Any,
) -> None:
    """Register many pairs: those of a table, all images onto a template, or each image onto each other one."""
    pairs = _pairs(inputs, to, all_pairs)
    from lightcrcf.batch.options import BatchOptions
    from lightcrcf.batch.run import run_batch

    every = BatchOptions(**parse_options(options), threads=threads, report=report)
    with resumable("the same command with --resume"), follow_batch(out) as follower:
        summary = run_batch(
            pairs,
            out,
            every,
            workers=workers,
            scheduler=scheduler,
            resume=resume or retry_failed,
            retry_failed=retry_failed,
            begun=follower.begun,
            progress=follower.progress,
        )
    if json:
        print_json(summary.as_dict())
    print_message(f"{summary}\nresults: {out / 'index.html'}, {out / 'summary.csv'}")
    raise_for(summary, out, fail_on_qc=fail_on_qc)


def _pairs(inputs: list[Path], to: Path | None, each_with_each: bool) -> list[Pair]:
    from lightcrcf.batch.pairs import all_pairs, many_to_one, read_pairs, refuse_folders

    if to is not None and each_with_each:
        raise UsageError("--to", expected="--to or --all-pairs", got="both", remedy="leave one out")
    if to is not None:
        return many_to_one(to, inputs)
    if each_with_each:
        return all_pairs(inputs)
    refuse_folders(inputs, "with --to TEMPLATE or --all-pairs")
    if len(inputs) != 1 or not inputs[0].name.lower().endswith((".csv", ".tsv", ".txt")):
        raise UsageError(
            "lightcrcf batch",
            expected="one CSV file, or images with --to TEMPLATE or --all-pairs",
            got=f"{inputs[0]}" + (f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""),
            remedy="say what to register with what",
        )
    return read_pairs(inputs[0])


@contextmanager
def follow_batch(out: Path) -> Iterator[_Log | _Status]:
    """Show the progress of a batch on stderr: a status line on a terminal, else log lines.

    Args:
        out: folder of the results.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Log(out)
        return
    with console.status("starting ...") as status:
        yield _Status(status)


class _Log:
    def __init__(self, out: Path) -> None:
        from lightcrcf.progress import Throttle

        self._out, self._may_print = out, Throttle(start=False)

    def begun(self, pairs: int) -> None:
        print_message(f"{pairs} {'pair' if pairs == 1 else 'pairs'} to register; results go to {self._out}")

    def progress(self, state: BatchProgress) -> None:
        if self._may_print():
            print_message(str(state))


class _Status:
    def __init__(self, status: Any) -> None:
        self._status = status

    def begun(self, pairs: int) -> None:
        self._status.update(f"0 of {pairs} pairs")

    def progress(self, state: BatchProgress) -> None:
        self._status.update(str(state))


def raise_for(summary: Summary, out: Path, *, fail_on_qc: bool) -> None:
    """Raise an error for pairs without a result or with a failed quality control.

    Raises:
        LightCRCFError: of the kind of the most serious failure.
    """
    failures, bad = summary.failures, summary.counts.get("fail", 0)
    if failures:
        worst = min(failures.values(), key=lambda error: _SERIOUS.index(error["exit_code"]))
        raise _KINDS[worst["exit_code"]](
            str(out),
            expected=f"results of all {summary.pairs} pairs",
            got=f"{len(failures)} without, the worst: {worst['message']}",
            remedy="see index.html, and use --retry-failed when it is mended",
        )
    if fail_on_qc and bad:
        raise QualityError(
            str(out),
            expected="registrations that pass",
            got=f"{bad} of {summary.pairs} that fail",
            remedy="see index.html",
        )


_KINDS: dict[int, Any] = {1: _PairsError, 3: InputError, 4: QualityError, 5: MemoryEstimateError}
_SERIOUS = (1, 5, 4, 3)
