"""Options of several commands: those of `lightcrcf.options.Options`, and some of the command line only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from lightcrcf.options import Fill, Options, fill_value, help_of, word_of

__all__ = ["FillOption", "Scheduler", "Workers", "parse_options", "with_all_options", "with_options"]

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


def with_options(*names: str) -> Callable[[Command], Command]:
    """Decorate a command with options of `lightcrcf.options.Options`, passed as `**options`.

    Args:
        names: of the options, in the order of --help.
    """

    def decorated(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        every = [*own, *(_parameter(_TABLE[name]) for name in names)]
        command.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in every}
        return command

    return decorated


def with_all_options(*, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Decorate a command with all options of a registration except some; see `with_options`."""
    return with_options(*(name for name in _TABLE if name not in without))


def parse_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values of the command line to arguments of `Options`.

    Raises:
        UsageError: for an invalid fill value.
    """
    given = dict(options)
    if "fill" in given:
        given["fill"] = fill_value(given["fill"])
    if "channel_weights" in given:
        given["channel_weights"] = tuple(given["channel_weights"] or ())
    return given


def _parameter(option: Field[Any]) -> inspect.Parameter:
    """Return the parameter of a command for an option."""
    kind, settings = get_type_hints(Options)[option.name], dict(option.metadata)
    default: Any = option.default
    words: tuple[str, ...] = (word_of(option.name),) if kind is bool else ()
    if kind == Fill:
        kind, settings["metavar"] = str, _FILL
    if kind == tuple[float, ...]:
        kind, default, words, settings["metavar"] = list[float] | None, None, (word_of(option.name),), "<x>"
    annotated: Any = Annotated
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=annotated[kind, typer.Option(*words, **settings)],
    )
