"""`lightcrcf bids`: register the images of a BIDS data set to a template, as a BIDS app does."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightcrcf.cli.commands.cohorts.batch import follow_batch, raise_for
from lightcrcf.cli.console import print_json, print_message, resumable
from lightcrcf.cli.options import Scheduler, Workers, parse_options, with_options
from lightcrcf.errors import InputError, how_to_install

if TYPE_CHECKING:
    from lightcrcf.bids.publish import BidsTemplate

__all__ = ["bids"]


class AnalysisLevel(str, Enum):
    """Analysis level of a BIDS app; there is no group level."""

    participant = "participant"


@with_options(
    "model", "transform", "preset", "smoothness", "similarity", "diffeomorphic", "inverse", "jacobian", "engine",
    "precision", "coarsen",
)  # fmt: skip
def bids(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="A BIDS data set.")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the derivatives.")],
    level: Annotated[
        AnalysisLevel,
        typer.Argument(metavar="participant", help="Analysis level of a BIDS app; there is no group level."),
    ],
    participant_label: Annotated[
        list[str] | None, typer.Option(metavar="<label>", help="A participant to register; repeatable [default: all].")
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="What to register to [default: the MNI152 template that nilearn brings].")
    ] = None,
    template_label: Annotated[
        str | None, typer.Option(metavar="<label>", help="Its name in file names [default: by its file name].")
    ] = None,
    suffix: Annotated[
        str, typer.Option(metavar="<suffix>", help="Which anatomical images to register to the template.")
    ] = "T1w",
    contrasts: Annotated[
        str,
        typer.Option(
            metavar="all|none|<suffixes>",
            help="Which others to align with them and to carry along, such as T2w,FLAIR,bold.",
        ),
    ] = "all",
    workers: Workers = 1,
    scheduler: Scheduler = None,
    report: Annotated[bool, typer.Option("--report", help="Write a page of pictures for each image.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each image [default: the cores, shared among the workers].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the state of all images on stdout.")] = False,
    fail_on_qc: Annotated[
        bool, typer.Option("--fail-on-qc", help="Exit with code 4 if quality control says fail for any image.")
    ] = False,
    **options: Any,
) -> None:
    """Register the images of a BIDS data set to a template, all contrasts; what is finished is not done again."""
    from lightcrcf.batch.options import BatchOptions
    from lightcrcf.bids.dataset import DataSet, parse_contrasts
    from lightcrcf.bids.names import parse_label
    from lightcrcf.bids.register import register_participants

    every = BatchOptions(**parse_options(options), threads=threads, report=report)
    with resumable("the same command"), follow_batch(out_dir) as follower:
        summary = register_participants(
            DataSet.open(bids_dir),
            out_dir,
            _template(template, template_label),
            every,
            suffix=suffix,
            contrasts=parse_contrasts(contrasts, suffix),
            participants=[parse_label(text, "--participant-label") for text in participant_label or ()],
            workers=workers,
            scheduler=scheduler,
            begun=follower.begun,
            progress=follower.progress,
        )
    if json:
        print_json(summary.as_dict())
    print_message(f"{summary}\nresults: {out_dir}, pictures: {out_dir / 'lightcrcf' / 'index.html'}")
    raise_for(summary, out_dir / "lightcrcf", fail_on_qc=fail_on_qc)


def _template(path: Path | None, name: str | None) -> BidsTemplate:
    from lightcrcf.bids.names import parse_label, template_label
    from lightcrcf.bids.publish import BidsTemplate
    from lightcrcf.demo.phantom import template

    if path is not None:
        if not path.is_file():
            raise InputError(str(path), expected="a template", got="no such file", remedy="check the name")
        return BidsTemplate(path, parse_label(name, "--template-label") if name else template_label(path))
    found = template()
    if found is None:
        raise InputError(
            "--template",
            expected="a template, or nilearn to be installed, which brings MNI152",
            got="neither",
            remedy=f"name a file, or {how_to_install('demo')}",
        )
    return BidsTemplate(Path(found[0].source), parse_label(name, "--template-label") if name else "MNI152NLin2009aSym")
