"""The command line: all subcommands, and the conversion of errors to exit codes."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn, TextIO

import typer

from lightcrcf.cli import signals
from lightcrcf.cli.app import App, CommandLineError
from lightcrcf.cli.commands.bench import bench_app
from lightcrcf.cli.commands.cohorts import batch, bids, label, template
from lightcrcf.cli.commands.images import apply, brain, demo, evaluate, info, points, register, report
from lightcrcf.cli.commands.models import data, export, models, train
from lightcrcf.cli.console import print_message
from lightcrcf.errors import InputError, InputErrors, LightCRCFError, UsageError

__all__ = ["app", "main", "run"]

_INTERNAL, _USAGE, _BAD_INPUT, _OUT_OF_MEMORY, _INTERRUPTED, _BROKEN_PIPE, _TERMINATED = 1, 2, 3, 5, 130, 141, 143

app = App(
    help="Deformable registration of 3-D medical volumes in seconds on a CPU.",
    epilog="Exit codes: 0 done, 1 internal error, 2 usage, 3 bad input, 4 quality control failed (with --fail-on-qc), "
    "5 not enough memory, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
for _command in (
    register.register,
    batch.batch,
    bids.bids,
    label.label,
    template.template,
    apply.apply,
    points.points,
    brain.brain,
    evaluate.evaluate,
    export.export,
    report.report,
    train.train,
    demo.demo,
    info.info,
):
    app.command()(_command)
app.add_typer(models.app, name="models")
app.add_typer(bench_app(), name="bench")
app.add_typer(data.app, name="data")


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    _speed_up()
    signals.install()
    code = run(sys.argv[1:])
    signals.ignore()
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _report(error, debug=False)
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Exit without the clean-up of Python, which would flush streams again whose readers have left, and take time."""
    atexit._run_exitfuncs()  # clean-up of libraries
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _speed_up() -> None:
    """Set up this process for a faster start, and for a machine under load."""
    # PyTorch reads this when it starts threads: on a machine under load, spinning threads slow each other down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.set_threshold(20_000, 10, 10)  # imported objects are permanent; fewer collections save time


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; any error is one line on stderr, each mistake of a recipe another.

    Example:
        >>> run(["--version"])  # doctest: +ELLIPSIS
        lightcrcf ...
        0
    """
    state: dict[str, Any] = {"debug": False, "arguments": list(arguments)}
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            _check_words(arguments)
            with typer.main.get_command(app).make_context("lightcrcf", list(arguments), obj=state) as context:
                context.command.invoke(context)
        except typer.Exit as done:
            return int(done.exit_code)
        except BaseException as error:  # SystemExit and KeyboardInterrupt end here too
            signals.acknowledge()
            return _report(error, debug=state["debug"])
    return 0


def _check_words(words: Sequence[str]) -> None:
    """Raise an error for empty arguments, usually unset variables of a script; an empty path is the current folder."""
    for before, word in zip(["lightcrcf", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            name = before if not word else word[:-1]
            raise UsageError(name, expected="a value", got="an empty one", remedy="give it, or leave the option out")


def _print_version(wanted: bool) -> None:
    if wanted:
        from lightcrcf import __version__

        typer.echo(f"lightcrcf {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="LIGHTCRCF_DEBUG", help="Print a traceback when something fails.")
    ] = False,
) -> None:
    context.obj["debug"] = debug
    _check_instruction_set()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _check_instruction_set() -> None:
    """Raise UsageError if LIGHTCRCF_ISA names no instruction set; the native core would ignore it."""
    wanted, known = os.environ.get("LIGHTCRCF_ISA"), ("baseline", "avx2", "avx512", "avx512bf16")
    if wanted and wanted not in known:
        raise UsageError("LIGHTCRCF_ISA", expected=f"one of {', '.join(known)}", got=wanted, remedy="correct the name")


def _report(error: BaseException, *, debug: bool) -> int:
    """Print an error in one line, several in one line each, after a traceback with --debug; return the exit code."""
    if isinstance(error, BrokenPipeError):
        return _BROKEN_PIPE
    if debug:
        import traceback

        print_message("".join(traceback.format_exception(error)).rstrip())
    text, code = _explain(error)
    print_message(" ".join(text.split()))
    for mistake in error.each if isinstance(error, InputErrors) else ():
        print_message(f"  {mistake}")
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the message of an error, and the exit code."""
    match error:
        case InputErrors():
            return f"error: {error.summary}:", error.exit_code
        case LightCRCFError():
            return f"error: {error}", error.exit_code
        case CommandLineError():
            return _usage_line(error), _USAGE
        case signals.Terminated():
            return "terminated", _TERMINATED
        case KeyboardInterrupt():
            return "interrupted", _INTERRUPTED
        case MemoryError():
            detail = str(error) or "the system gave none"
            return f"error: not enough memory: {detail}; close other programs or crop the volumes", _OUT_OF_MEMORY
        case OSError(filename=str() | bytes() | os.PathLike()):
            return f"error: {_system_error(error)}", _BAD_INPUT
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG | errno.EIO):
            return f"error: {_system_error(error)}", _BAD_INPUT
    return f"internal error: {type(error).__name__}: {error}; LIGHTCRCF_DEBUG=1 shows the traceback", _INTERNAL


def _system_error(error: OSError) -> InputError:
    """Return an InputError for an error of the operating system."""
    remedies = {
        errno.EACCES: "change its permissions, or those of the folders that hold it",
        errno.ENOENT: "check the name",
        errno.ENOSPC: "free some space",
    }
    remedy = remedies.get(error.errno or 0, "check the file and the folder that holds it")
    got = (error.strerror or str(error)).lower()
    if error.filename is None:
        return InputError("standard output", expected="a place that takes what is printed", got=got, remedy=remedy)
    return InputError(os.fsdecode(error.filename), expected="a file or folder that can be used", got=got, remedy=remedy)


def _usage_line(error: Any) -> str:
    path = error.ctx.command_path if getattr(error, "ctx", None) else "lightcrcf"
    return f"error: {error.format_message().rstrip('.')}; see '{path} --help'"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print_message(f"warning: {' '.join(str(message).split())}")
