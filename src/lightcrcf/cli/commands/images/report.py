"""`lightcrcf report`: reports of earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.console import print_message

__all__ = ["report"]


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of runs, or folders that hold such folders.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page. [default: DIR/report.html of one run; contact-sheet.html of several]"),
    ] = None,
) -> None:
    """Write the report of a run that was made before, or a contact sheet of several."""
    from lightcrcf.report.sheet import card_of_run, counts, runs_in, write_sheet

    runs = runs_in(folders)
    if runs == [folders[0]]:
        page = out or runs[0] / "report.html"
        _one(runs[0], page)
        print_message(f"report: {page}")
        return
    page = out or Path("contact-sheet.html")
    cards = [card_of_run(folder, beside=page) for folder in runs]
    write_sheet(page, f"{len(cards)} registrations", cards)
    found = ", ".join(f"{count} {state}" for state, count in counts(cards).items() if count)
    print_message(f"contact sheet of {len(cards)} runs ({found}): {page}")


def _one(folder: Path, page: Path) -> None:
    from lightcrcf.files import atomic_path
    from lightcrcf.report.html import report_page
    from lightcrcf.report.subject import Subject

    text = report_page(Subject.read(folder), out=str(folder))
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
