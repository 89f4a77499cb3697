"""`lightcrcf apply`: resample another volume of the same subject with an existing transform."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lightcrcf.cli.options import FillOption

__all__ = ["apply"]


class Interpolation(str, Enum):
    """Interpolation method."""

    auto = "auto"
    linear = "linear"
    nearest = "nearest"
    cubic = "cubic"


def apply(
    reference: Annotated[Path, typer.Option(help="Volume whose grid the result gets; usually the fixed one.")],
    input: Annotated[Path, typer.Option(help="Volume to move, in the moving volume's space.")],
    transform: Annotated[Path, typer.Option(help="Folder that `lightcrcf register` left.")],
    output: Annotated[Path, typer.Option(help="File to write.")],
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Go the other way: from the fixed volume's space to the moving one's.")
    ] = False,
    interpolation: Annotated[
        Interpolation, typer.Option(help="auto: nearest for integer labels, linear for images.")
    ] = Interpolation.auto,
    fill: FillOption = "auto",
) -> None:
    """Move a volume with the transform of an earlier run."""
    from lightcrcf.files import check_distinct
    from lightcrcf.options import fill_value
    from lightcrcf.registration.resample import move
    from lightcrcf.transforms.itk import read_transform_folder
    from lightcrcf.volumes import check_target, read, write

    check_target(output)
    check_distinct({"--output": output}, {"--input": input, "--reference": reference})
    value = fill_value(fill)
    chain = read_transform_folder(transform)
    onto = read(reference)
    moved = move(chain.inverse() if inverse else chain, read(input), onto, interpolation.value, value)
    write(output, moved, like=onto)
