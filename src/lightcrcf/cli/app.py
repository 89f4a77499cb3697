"""Base class of the subcommands: strict parsing of arguments, with a remedy in every error."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from lightcrcf.errors import InputError, UsageError

__all__ = ["App", "Command", "CommandLineError"]

Function = TypeVar("Function", bound=Callable[..., Any])

# Base class of the usage errors of Click, which typer does not export.
CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]

_EXAMPLES = {"register": "--fixed F --moving M --out DIR"}  # none of them is required, because of --from
# What an option expects, by pydantic's type of error.
_EXPECTED = {
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "finite_number": "a finite number",
}
_INSTEAD_OF_SEVERAL = {
    ("apply", "transform"): "name one: applying one after the other would interpolate twice; register the outer pair "
    "directly, or let ANTs go through both at once: antsApplyTransforms -d 3 -r REFERENCE -i INPUT -o OUTPUT "
    "-t A/warp.nii.gz -t A/affine.tfm -t B/warp.nii.gz -t B/affine.tfm",
    ("points", "transform"): "name one: points lose nothing when they go through several runs one after the other, "
    "so run the command once for each",
}


class App(typer.Typer):
    """A `typer.Typer` whose commands are of class `Command`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"rich_markup_mode": None, **settings})  # boxes would cost every --help the import of rich

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Register a command, as `typer.Typer.command`."""
        return super().command(name, **{"cls": Command, **settings})


class Command(TyperCommand):
    """A command with stricter checks and clearer errors than those of Click."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments, as Click; options with one value may be given once.

        Raises:
            UsageError: for a repeated option, short options, extra arguments, and a value that an option cannot have.
            InputError: for an unreadable file, which typer reports as wrong usage.
        """
        try:
            given, left_over, order = self.make_parser(ctx).parse_args(args=list(args))
        except CommandLineError as error:
            self._explain_unknown_option(ctx, args, error)
            raise
        if not any(parameter.is_eager for parameter in order):  # --help is shown whatever else is wrong
            self._check_repeats(args, order)
            self._check_left_over(ctx, left_over)
        try:
            return super().parse_args(ctx, args)
        except CommandLineError as error:
            _explain_unreadable_file(given, error)
            _explain_refused_value(ctx, error)
            raise

    def _check_repeats(self, words: Sequence[str], order: Sequence[Any]) -> None:
        options = [option for option in order if option.param_type_name == "option"]
        for option, count in Counter(options).items():
            if count > 1 and not (option.multiple or option.is_flag or option.count):
                values = ", ".join(_values(words, option.opts))
                remedy = _INSTEAD_OF_SEVERAL.get((str(self.name), option.name), "give it once")
                raise UsageError(option.opts[0], expected="one value", got=f"{count} ({values})", remedy=remedy)

    def _check_left_over(self, ctx: Any, words: Sequence[str]) -> None:
        if words:
            positional = " ".join(_placeholder(p) for p in self.params if p.param_type_name == "argument")
            expected = f"{positional} and otherwise options" if positional else "each value after its option's name"
            raise UsageError(ctx.command_path, expected=expected, got=" ".join(words), remedy=self._remedy(ctx))

    def _explain_unknown_option(self, ctx: Any, words: Sequence[str], error: Exception) -> None:
        """Raise an error for unknown options with one dash; for long options Click suggests similar ones."""
        unknown = str(getattr(error, "option_name", ""))
        if not unknown.startswith("-") or unknown.startswith("--") or not hasattr(error, "possibilities"):
            return
        word = next((w for w in words if w.startswith(unknown) and not w.startswith("--")), unknown)
        known = {name for parameter in self.params for name in parameter.opts}
        name = "-" + word.partition("=")[0]
        remedy = f"write {name}" if name in known else self._remedy(ctx)
        raise UsageError(ctx.command_path, expected="options with their whole names", got=word, remedy=remedy)

    def _remedy(self, ctx: Any) -> str:
        required = " ".join(_placeholder(p) for p in self.params if p.required)
        return f"write: {ctx.command_path} {_EXAMPLES.get(str(self.name)) or required or '--help'}"


def _placeholder(parameter: Any) -> str:
    """Return a required option or argument as typed on the command line."""
    value = f" {str(parameter.name).upper()}" if parameter.param_type_name == "option" else ""
    return f"{_name(parameter)}{value}"


def _name(parameter: Any) -> str:
    """Return an option, or the placeholder of an argument."""
    is_option = parameter.param_type_name == "option"
    return str(parameter.opts[0] if is_option else parameter.metavar or str(parameter.name).upper())


def _explain_unreadable_file(given: Mapping[str, Any], error: Exception) -> None:
    """Raise an error if the refused value is a file or folder without read permission."""
    value = given.get(getattr(getattr(error, "param", None), "name", ""))
    for path in value if isinstance(value, list | tuple) else [value]:
        if isinstance(path, str) and Path(path).exists() and not os.access(path, os.R_OK):
            remedy = "change its permissions, or ask its owner"
            raise InputError(path, expected="a readable file or folder", got="permission denied", remedy=remedy)


def _explain_refused_value(ctx: Any, error: Exception) -> None:
    """Raise an error with what the option expects, if its type refused the value."""
    refused: list[Any] = getattr(error.__cause__, "errors", list)()
    if refused:
        template = _EXPECTED.get(refused[0]["type"])
        wanted = template.format(**refused[0].get("ctx", {})) if template else str(error).rstrip(".")
        choices = re.search(r".* is not one of (.*)", wanted, re.DOTALL)
        names = choices[1].replace("'", "") if choices else ""
        expected = (f"one of {names}" if "," in names else names) or wanted
        remedy = f"see '{ctx.command_path} --help'"
        name = _name(error.param)  # type: ignore[attr-defined]
        raise UsageError(name, expected=expected, got=str(refused[0]["input"]), remedy=remedy)


def _values(words: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Yield the values of an option in the arguments."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in names:
            yield after
        elif word.partition("=")[0] in names:
            yield word.partition("=")[2]
