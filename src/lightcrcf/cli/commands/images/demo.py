"""`lightcrcf demo`: a registration whose true transform is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.console import print_json, print_table, show_progress

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for volumes and the report.")] = Path("demo-output"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Register a brain with a deformed copy of itself and measure the error in mm."""
    from lightcrcf.demo.run import run_demo

    with show_progress("registering a brain with a deformed copy of itself") as progress:
        outcome = run_demo(out, progress=progress)
    if json:
        print_json(outcome.as_dict())
        return
    typer.echo(f"{outcome.subject} against a deformed, turned, noisy copy of itself, in {outcome.seconds:.1f} s\n")
    rows = [
        (stage.name, f"{stage.mean_mm:.2f}", f"{stage.p95_mm:.2f}", f"{stage.max_mm:.2f}", f"{stage.dice:.3f}")
        for stage in outcome.stages
    ]
    print_table(("stage", "error: mean, mm", "95 %", "max", "Dice"), rows)
    typer.echo(f"\nquality control: {outcome.verdict}\nreport: {out / 'report.html'}")
