"""`lightcrcf points`: transform a table of points with an existing transform."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["points"]


class Space(str, Enum):
    """Space of the resulting points."""

    moving = "moving"
    fixed = "fixed"


def points(
    input: Annotated[Path, typer.Option(help="CSV with columns x, y, z in RAS mm; others are kept as they are.")],
    transform: Annotated[Path, typer.Option(help="Folder that `lightcrcf register` left.")],
    to: Annotated[Space, typer.Option(help="moving: fixed points in, moving points out; fixed: the other way.")],
    output: Annotated[Path, typer.Option(help="CSV to write.")],
    lps: Annotated[bool, typer.Option("--lps", help="The columns are LPS mm, as ITK and ANTs write them.")] = False,
) -> None:
    """Move points with the transform of an earlier run."""
    from lightcrcf.files import check_distinct
    from lightcrcf.transforms.point_tables import move_points

    check_distinct({"--output": output}, {"--input": input})
    move_points(input, transform, output, to=to.value, lps=lps)
