"""Options that several commands have: those of a registration, from their one table, and a few of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from lightcrcf.options import Fill, Options, fill_value, help_of, word_of

__all__ = ["FillOption", "Scheduler", "Workers", "given_options", "registers", "takes"]

Command = TypeVar("Command", bound=Callable[..., Any])

_FILL = "X|nan|auto"
FillOption = Annotated[str, typer.Option(metavar=_FILL, help=help_of("fill"))]
Workers = Annotated[int, typer.Option(min=1, help="Processes on this machine, which share its cores.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="<address>", help="A running Dask cluster does the work: tcp://host:port, or its --scheduler-file."
    ),
]
_TABLE: Mapping[str, Field[Any]] = {option.name: option for option in fields(Options)}


def takes(*names: str) -> Callable[[Command], Command]:
    """Give a command options of `lightcrcf.options.Options`, which it gets by name in its last, `**options`.

    Args:
        names: of the options, in the order in which help shows them.
    """

    def decorated(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        every = [*own, *(_parameter(_TABLE[name]) for name in names)]
        command.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in every}
        return command

    return decorated


def registers(*, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command all options of a registration but some; see `takes`."""
    return takes(*(name for name in _TABLE if name not in without))


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `Options` takes, from the words of a command line.

    Raises:
        UsageError: for a fill that is no number.
    """
    given = dict(options)
    if "fill" in given:
        given["fill"] = fill_value(given["fill"])
    if "channel_weights" in given:
        given["channel_weights"] = tuple(given["channel_weights"] or ())
    return given


def _parameter(option: Field[Any]) -> inspect.Parameter:
    """The command line's parameter of an option."""
    kind, told = get_type_hints(Options)[option.name], dict(option.metadata)
    default: Any = option.default
    words: tuple[str, ...] = (word_of(option.name),) if kind is bool else ()
    if kind == Fill:
        kind, told["metavar"] = str, _FILL
    if kind == tuple[float, ...]:
        kind, default, words, told["metavar"] = list[float] | None, None, (word_of(option.name),), "<x>"
    annotated: Any = Annotated
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=annotated[kind, typer.Option(*words, **told)],
    )
