"""Output of the subcommands: messages and progress on stderr, JSON and tables on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lightcrcf.progress import Throttle

__all__ = ["Progress", "print_json", "print_message", "print_table", "resumable", "show_progress"]

Progress = Callable[[str, float], None]


def print_message(text: str) -> None:
    """Print a message on stderr; ignore a closed stream."""
    with suppress(OSError):
        typer.echo(text, err=True)


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Say how a command goes on that is interrupted.

    Args:
        how: what to call, such as "'lightcrcf batch' with --resume".
    """
    try:
        yield
    except KeyboardInterrupt:
        print_message(f"what is finished is kept; {how} goes on from there")
        raise


def print_json(data: Any) -> None:
    """Print `data` as JSON on stdout; NaN and infinity become null."""
    typer.echo(json.dumps(_finite(data), indent=2, ensure_ascii=False, default=str))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not (abs(data) < float("inf")):
        return None
    return data


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: bool = True) -> None:
    """Print a table on stdout; the first column is aligned left, the others right.

    Args:
        header: column names.
        rows: cells.
        numbers: whether further columns hold numbers; otherwise they are aligned left too.

    Example:
        >>> print_table(["stage", "mm"], [["before", 12.5], ["after", 0.75]])
        stage     mm
        before  12.5
        after   0.75
    """
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        pad = str.rjust if numbers else str.ljust
        cells = [pad(cell, width) for cell, width in zip(others, widths[1:], strict=True)]
        typer.echo("  ".join([first.ljust(widths[0]), *cells]).rstrip())


@contextmanager
def show_progress(title: str) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, else a line at the start and at most every half minute.

    Args:
        title: description of the task, for the log.
    """
    if not sys.stderr.isatty():
        yield _Log(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda stage, fraction: bar.update(task, description=stage, completed=fraction)


_CHECKS = ("read", "brain", "choose model")  # stages whose error is the only line of output


class _Log:
    """Progress in a log: the title after the inputs are checked, then a stage at most every half minute."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._may_print: Throttle | None = None

    def __call__(self, stage: str, fraction: float) -> None:
        from lightcrcf.progress import Throttle

        if self._may_print is None and stage not in _CHECKS:
            self._may_print = Throttle(start=False)
            print_message(f"{self._title} ...")
        elif self._may_print is not None and self._may_print():
            print_message(f"{stage} ({fraction:.0%})")
