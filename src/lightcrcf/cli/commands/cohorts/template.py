"""`lightcrcf template`: an unbiased average of many images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lightcrcf.cli.console import print_json, print_message
from lightcrcf.cli.options import Scheduler, Workers, parse_options, with_options

__all__ = ["template"]


@with_options("model", "preset", "smoothness", "similarity", "coarsen")
def template(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="What to average.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the template, the transforms and the record.")],
    iterations: Annotated[int, typer.Option(min=1, help="How often all images are registered to the template.")] = 4,
    step: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Fraction of the mean displacement that is undone each time.")
    ] = 1.0,
    sharpen: Annotated[
        float, typer.Option(min=0.0, max=5.0, help="Strength of the unsharp mask after each averaging; 0 for none.")
    ] = 0.5,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each image [default: the cores, shared among the workers].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run for the same images and options stopped.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print template.json on stdout.")] = False,
    **options: Any,
) -> None:
    """Build a template: the average of all images in the middle of their shapes, biased towards none of them."""
    from lightcrcf.batch.options import BatchOptions
    from lightcrcf.template.build import build
    from lightcrcf.template.recipe import Recipe

    every = BatchOptions(**parse_options(options), threads=threads)
    recipe = Recipe(iterations, step, sharpen, every, workers, scheduler)
    with _follow_template(f"building a template of {len(images)} images; results go to {out}") as progress:
        record = build(images, out, recipe, resume=resume, progress=progress)
    if json:
        print_json(record)
    print_message(_summary_text(record, out))


def _summary_text(record: dict[str, Any], out: Path) -> str:
    start, stages = record["start"]["figures"], [stage["figures"] for stage in record["iterations"]]
    first, last = stages[0], stages[-1]
    return (
        f"average of {len(record['images']) - len(record['left_out'])} images\n"
        f"sharpness {start['sharpness']:.4f} 1/mm as affine mean, {last['sharpness']:.4f} 1/mm now\n"
        f"mean displacement {first['mean_shift_rms_mm']:.2f} mm at first, {last['mean_shift_rms_mm']:.2f} mm at last\n"
        f"results: {out / 'template.nii.gz'}, {out / 'convergence.svg'}"
    )


@contextmanager
def _follow_template(title: str) -> Iterator[Callable[[str], None]]:
    """Show progress on stderr: a status line on a terminal, else the title and a line for each step."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Log(title)
        return
    with console.status("looking at the images ...") as status:
        yield status.update


class _Log:
    """Log of steps, each printed once."""

    def __init__(self, title: str) -> None:
        self._title, self._step = title, ""

    def __call__(self, line: str) -> None:
        step = line.partition(":")[0].partition("/")[0]
        if not self._step:
            print_message(self._title)
        if step != self._step:
            self._step = step
            print_message(f"{step} ...")
