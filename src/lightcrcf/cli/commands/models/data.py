"""`lightcrcf data`: check training data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.app import App
from lightcrcf.cli.console import print_json
from lightcrcf.errors import InputError

if TYPE_CHECKING:
    from lightcrcf.training.datasets.check import CohortCheck

__all__ = ["app"]

app = App(help="Look at training data.", no_args_is_help=True)

_NAMES = 4  # that are shown of each split


@app.callback()
def _group() -> None:
    """Look at training data."""


@app.command()
def check(
    recipe: Annotated[Path, typer.Argument(help="TOML file that names the data.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder of the data, instead of the recipe's data.root.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Read the label maps too: their structures, and whether left is left.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; it holds the files of the test pairs.")] = False,
) -> None:
    """Check the data of a recipe for missing and wrong files; exit with 3 if a training run could not start."""
    from lightcrcf.training.config import load_config
    from lightcrcf.training.datasets.check import check_data

    config = load_config(recipe)
    root = config.data.root if folder is None else folder
    if not root.is_dir():
        remedy = "give the folder as the second argument, or correct data.root"
        raise InputError(str(root), expected="the folder of the data", got="no folder", remedy=remedy)
    config = config.model_copy(update={"data": config.data.model_copy(update={"root": root})})
    checks = check_data(config, labels=labels)
    trainable = all(found.trainable for found in checks)
    if json:
        print_json({"trainable": trainable, "cohorts": [found.as_dict() for found in checks]})
    else:
        for line in (*(line for found in checks for line in _lines(found)), _verdict(checks)):
            typer.echo(line)
    if not trainable:
        raise typer.Exit(InputError.exit_code)


def _verdict(checks: list[CohortCheck]) -> str:
    count = sum(len(found.errors) for found in checks)
    return f"not trainable: {count} error{'s' if count > 1 else ''}" if count else "trainable"


def _lines(found: CohortCheck) -> Iterator[str]:
    from lightcrcf.training.datasets.listing import SPLITS

    listing = found.listing
    yield f"{found.layout} in {listing.folder}"
    if listing.atlases:
        yield f"  atlas    {', '.join(listing.atlases)}"
    for name in SPLITS:
        subjects = listing.split(name)
        here = found.count(subjects)
        count = f"{here} of {len(subjects)}" if here < len(subjects) else f"{here}"
        names = ", ".join(subjects[:_NAMES]) + (", ..." if len(subjects) > _NAMES else "")
        shown = "monitor" if name == "val" else name
        yield f"  {shown:<8} {count} persons, {len(listing.pairs(name))} pairs" + (f": {names}" if names else "")
    if found.shapes is not None and found.spacings_mm is not None:
        sizes, spacings = _span(found.shapes, "d"), _span(found.spacings_mm, ".4g")
        yield f"  images   {sizes} voxels of {spacings} mm; a run holds {found.gibibytes:.2g} GiB of them"
    if found.codes is not None:
        yield f"  labels   {len(found.codes)} structures"
    yield from (f"  error    {text}" for text in found.errors)
    yield from (f"  warning  {text}" for text in found.warnings)


def _span(extremes: Any, form: str) -> str:
    """Format two rows, minima and maxima, as "160-176x192x10"."""
    low, high = ([format(number, form) for number in row] for row in extremes.tolist())
    return "x".join(a if a == b else f"{a}-{b}" for a, b in zip(low, high, strict=True))
