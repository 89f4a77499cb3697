"""A template from images: an unbiased average, built by registering all of them to it again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.pairs import refuse_folders
from lightcrcf.errors import InputError
from lightcrcf.geometry.threads import use_threads
from lightcrcf.registration.save import check_output_folder
from lightcrcf.template.average import Image
from lightcrcf.template.recipe import Recipe
from lightcrcf.template.stages import FEWEST, Builder

__all__ = ["build"]


def build(
    images: Sequence[Path], out: Path, recipe: Recipe | None = None, *, resume: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Build a template and write it, with each image's transform, to a folder.

    The affine mean comes first: all images aligned with one of them, then with the group mean of these affines. In each
    iteration all images are registered to the template and averaged there; the mean displacement is undone.

    The order of the images does not matter. An image that cannot be registered, or whose registration fails quality
    control, is left out of that average, with a warning, and named in the record.

    Args:
        images: files.
        out: folder for `template.nii.gz`, `transforms/ID/` for each image, as `lightcrcf apply` reads them,
            `affine_mean.nii.gz` to compare with, `convergence.svg` and `template.json`.
        recipe: how; the defaults if None.
        resume: go on where an earlier call for the same images and recipe stopped.
        progress: gets a line now and then.

    Returns:
        what `template.json` holds.

    Raises:
        UsageError: for options that do not fit, a folder that is in use, or a folder of images for an image.
        InputError: for fewer than two images, one that cannot be read or is there twice, or if fewer than two of them
            can be registered.
    """
    recipe = recipe or Recipe()
    recipe.check()
    out = Path(out).absolute()
    check_output_folder(out)
    builder = Builder(_looked_at(images), out, recipe, progress or (lambda line: None))
    known = builder.begin(resume=resume)
    if known is not None:
        return known
    with Manifest(builder.work).lock(), use_threads(recipe.options.threads):
        builder.keep_plan()
        stages = [builder.start()]
        for number in range(1, recipe.iterations + 1):
            stages.append(builder.iteration(number, stages[-1]))
        return builder.finish(stages)


def _looked_at(paths: Sequence[Path]) -> list[Image]:
    """All images, in an order that does not depend on the order they were given in."""
    refuse_folders(paths)
    if len(paths) < FEWEST:
        raise InputError(
            "template", expected="two images or more", got=str(len(paths)), remedy="name the images to average"
        )
    known: dict[str, Image] = {}
    for path in paths:
        image = Image.of(Path(path).expanduser().absolute())
        other = known.setdefault(image.sha256, image)
        if other is not image:
            raise InputError(
                str(path), expected="each image once", got=f"the same content as {other.path}", remedy="remove one"
            )
    return [known[key] for key in sorted(known)]
