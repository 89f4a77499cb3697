"""`lightcrcf evaluate`: score a registration by labels."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightcrcf.cli.console import print_json, print_table
from lightcrcf.errors import UsageError

if TYPE_CHECKING:
    from lightcrcf.evaluation.protocols import Evaluation
    from lightcrcf.volumes import Volume

__all__ = ["evaluate"]


class ProtocolName(str, Enum):
    """Scoring protocol."""

    default = "default"
    learn2reg = "learn2reg"


def evaluate(
    fixed_labels: Annotated[Path, typer.Option(help="Labels of the fixed subject.")],
    moved_labels: Annotated[
        Path | None, typer.Option(help="Labels of the moving subject, already on the fixed grid.")
    ] = None,
    moving_labels: Annotated[
        Path | None,
        typer.Option(help="Labels of the moving subject on their own grid; with --transform they are moved."),
    ] = None,
    transform: Annotated[
        Path | None, typer.Option(help="Folder that `lightcrcf register` left; also scores the field.")
    ] = None,
    fixed: Annotated[Path | None, typer.Option(help="Fixed image, for the mean squared error.")] = None,
    moved: Annotated[Path | None, typer.Option(help="Moved image, for the mean squared error.")] = None,
    protocol: Annotated[
        ProtocolName, typer.Option(help="learn2reg: as the challenge's code (HD95 in voxels, its SDlogJ).")
    ] = ProtocolName.default,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a registration: Dice and HD95 of each label, folding of the field."""
    _check_options(moved_labels, moving_labels, transform, fixed, moved)
    from lightcrcf.evaluation.protocols import evaluate as score
    from lightcrcf.transforms.itk import read_transform_folder
    from lightcrcf.volumes import read

    scores = score(
        read(fixed_labels),
        moved_labels=_read(moved_labels),
        moving_labels=_read(moving_labels),
        transform=None if transform is None else read_transform_folder(transform),
        fixed=_read(fixed),
        moved=_read(moved),
        protocol=protocol.value,
    )
    if json:
        print_json(scores.as_dict())
    else:
        _print_for_people(scores)


def _read(path: Path | None) -> Volume | None:
    from lightcrcf.volumes import read

    return None if path is None else read(path)


def _check_options(
    moved_labels: Path | None,
    moving_labels: Path | None,
    transform: Path | None,
    fixed: Path | None,
    moved: Path | None,
) -> None:
    if moved_labels is None and (moving_labels is None or transform is None):
        given = "only --transform" if transform else "only --moving-labels" if moving_labels else "none of them"
        raise UsageError(
            "lightcrcf evaluate",
            expected="--moved-labels, or --moving-labels with --transform",
            got=given,
            remedy="add what is missing",
        )
    if (fixed is None) != (moved is None):
        raise UsageError(
            "lightcrcf evaluate",
            expected="--fixed together with --moved",
            got="--fixed alone" if moved is None else "--moved alone",
            remedy="give both images or neither",
        )


def _print_for_people(scores: Evaluation) -> None:
    labels = [(code, f"{value:.4f}", f"{scores.hd95[code]:.3f}") for code, value in scores.dice.items()]
    mean = ("mean", f"{scores.mean_dice:.4f}", f"{scores.mean_hd95:.3f}")
    print_table(("label", "Dice", f"HD95 {scores.hd95_unit}"), (*labels, mean))
    rest = [
        ("folding, %", scores.folding_percent),
        ("folding among labelled voxels, %", scores.folding_percent_labelled),
        ("non-diffeomorphic volume, %", scores.ndv_percent),
        ("SDlogJ" if scores.protocol == "default" else "SDlogJ, Learn2Reg's", scores.sdlogj),
        ("mean squared error", scores.mse),
    ]
    given = [(name, f"{value:.6g}") for name, value in rest if value is not None]
    if given:
        typer.echo()
        print_table(("measure", "value"), given)
    for note in scores.notes:
        typer.echo(f"\nnote: {note}")
