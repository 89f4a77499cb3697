"""`lightcrcf brain`: find the brain in an image of a head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.console import print_json, print_message

__all__ = ["brain"]


def brain(
    image: Annotated[Path, typer.Argument(help="MR of a head, of any contrast: NIfTI, NRRD, MHA or a DICOM folder.")],
    output: Annotated[Path, typer.Option(help="File to write: 1 in the brain, 0 elsewhere, on the image's grid.")],
    stripped: Annotated[
        Path | None, typer.Option(help="Write the image too, with one dark value outside of the brain.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to use [default: all].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found on stdout.")] = False,
) -> None:
    """Write a mask of the brain in an image of a head."""
    from lightcrcf.geometry.threads import use_threads
    from lightcrcf.preprocessing.brain import require_brain
    from lightcrcf.registration.heads import extract_brain
    from lightcrcf.volumes import Volume, read, write

    _check_targets(image, output, stripped)
    volume = read(image)
    with use_threads(threads):
        found, extent = require_brain(volume)
    write(output, Volume(found.mask.astype("uint8"), volume.grid, volume.source), like=volume)
    if stripped is not None:
        write(stripped, extract_brain(volume, found.mask, extent)[0], like=volume)
    if json:
        content = {"output": str(output), "litres": round(found.litres, 4), "certainty": round(found.certainty, 4)}
        print_json(content | {"pieces": found.pieces, "stripped": None if stripped is None else str(stripped)})
    print_message(f"brain of {found.litres:.2f} l: {output}")


def _check_targets(image: Path, output: Path, stripped: Path | None) -> None:
    """Check that outputs can be written, and replace neither the image nor each other."""
    from lightcrcf.files import check_distinct
    from lightcrcf.volumes import check_target

    written = {"--output": output} | ({} if stripped is None else {"--stripped": stripped})
    for path in written.values():
        check_target(path)
    check_distinct(written, {"the image": image})
