"""`lightcrcf label`: label an image by atlases."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.console import print_json, print_message, show_progress
from lightcrcf.cli.options import Workers, parse_options, with_options

if TYPE_CHECKING:
    from lightcrcf.labels.labelling import Labelling

__all__ = ["label"]


class FusionName(str, Enum):
    """Method of label fusion."""

    vote = "vote"
    weighted = "weighted"
    joint = "joint"


@with_options(
    "model", "init", "transform", "preset", "refine", "smoothness", "similarity", "coarsen", "engine", "device",
    "precision",
)  # fmt: skip
def label(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image to label.", show_default=False)],
    atlases: Annotated[
        Path,
        typer.Option(help="Folder of labelled images (BIDS names, or atlases.csv), or a CSV file: image,labels."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    atlas_images: Annotated[str, typer.Option(help="BIDS suffix of the atlases' images.")] = "T1w",
    atlas_labels: Annotated[str, typer.Option(help="BIDS suffix of the atlases' label maps.")] = "dseg",
    fusion: Annotated[
        FusionName,
        typer.Option(help="vote: the majority; weighted: by local similarity; joint: and by how alike atlases err."),
    ] = FusionName.joint,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Write confidence.nii.gz too: the fraction of the vote at each voxel.")
    ] = False,
    workers: Workers = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each atlas [default: the cores, shared among the workers].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print label.json on stdout.")] = False,
    **options: Any,
) -> None:
    """Label an image: register labelled atlases to it and fuse their labels."""
    from lightcrcf.batch.options import BatchOptions
    from lightcrcf.labels.atlases import find_atlases
    from lightcrcf.labels.labelling import label as run
    from lightcrcf.labels.save import save_labelling
    from lightcrcf.registration.save import check_output_folder

    check_output_folder(out)
    every = BatchOptions(**parse_options(options), threads=threads)
    found_atlases = find_atlases(atlases, atlas_images, atlas_labels)
    with show_progress(f"labelling {image} by {len(found_atlases)} atlases") as progress:
        found = run(image, found_atlases, fusion=fusion.value, options=every, workers=workers, progress=progress)
        save_labelling(found, out, confidence=confidence)
    if json:
        print_json(found.record)
    print_message(_summary_text(found, out))


def _summary_text(found: Labelling, out: Path) -> str:
    structures = found.record["structures"]
    total = sum(s["voxels"] for s in structures)
    trust = sum(s["voxels"] * s["confidence"] for s in structures) / total if total else 0.0
    used, given = found.record["fusion"]["atlases"], len(found.record["atlases"])
    return (
        f"{len(structures)} structures from {used} of {given} atlases, mean confidence {trust:.2f}\n"
        f"results: {out / 'labels.nii.gz'}, {out / 'volumes.csv'}"
    )
