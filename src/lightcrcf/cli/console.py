"""What the subcommands share: progress on a terminal, JSON on stdout, a table for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer

__all__ = ["Progress", "print_json", "print_table", "progress_on_terminal", "say"]

Progress = Callable[[str, float], None]


def say(text: str) -> None:
    """One line for people, on stderr; lost if nobody reads it any more."""
    with suppress(OSError):
        typer.echo(text, err=True)


def print_json(data: Any) -> None:
    """`data` as JSON on stdout, for programs; NaN and infinity become null."""
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
    """Columns for people, on stdout: the first aligned left, the others right (left too unless they are numbers).

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
def progress_on_terminal() -> Iterator[Progress | None]:
    """A bar on stderr that follows (stage, fraction); None where stderr is no terminal, so that logs stay clean."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda stage, fraction: bar.update(task, description=stage, completed=fraction)
