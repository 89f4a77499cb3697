"""`lightcrcf bench`: the benchmarks, where their package is installed."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec

import typer

from lightcrcf.cli.app import App
from lightcrcf.errors import UsageError

__all__ = ["bench_app"]

_PACKAGE = "lightcrcf_bench"


def bench_app() -> App:
    """Return the commands of the package `lightcrcf-bench`, or one that explains its installation."""
    if find_spec(_PACKAGE) is not None:
        with suppress(ImportError):  # of another version: other commands must work
            app: App = import_module(f"{_PACKAGE}.cli.bench").app
            return app
    app = App(help="Measure LightCRCF and other tools (the package lightcrcf-bench, not installed).")
    app.callback(invoke_without_command=True, context_settings=_ANYTHING)(_missing)
    return app


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def _missing(context: typer.Context) -> None:
    raise UsageError(
        "lightcrcf bench",
        expected="the package lightcrcf-bench",
        got="not installed",
        remedy="run `pip install ./benchmarks` in a clone of the repository",
    )
