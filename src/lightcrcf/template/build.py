"""Construction of a template: an unbiased average of images, by iterative registration."""

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
from lightcrcf.template.stages import MIN_IMAGES, Builder

__all__ = ["build"]


def build(
    images: Sequence[Path], out: Path, recipe: Recipe | None = None, *, resume: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Build a template and write it, with the transform of each image, to a folder.

    The first template is the affine mean: all images are aligned with one of them, then with the group mean of these
    affines. Each iteration registers all images to the template, averages them there, and undoes the mean
    displacement (shape update).

    The result does not depend on the order of the images. An image that cannot be registered, or whose registration
    fails quality control, is excluded from that average with a warning, and listed in the record.

    Args:
        images: files.
        out: folder for `template.nii.gz`, `transforms/ID/` of each image for `lightcrcf apply`,
            `affine_mean.nii.gz` for comparison, `convergence.svg` and `template.json`.
        recipe: parameters; the defaults if None.
        resume: whether to continue an earlier call with the same images and recipe.
        progress: called with progress messages.

    Returns:
        The content of `template.json`.

    Raises:
        UsageError: for invalid options, a folder in use, or a folder of images in place of an image.
        InputError: for fewer than two images, an unreadable or repeated one, or if fewer than two can be registered.
    """
    recipe = recipe or Recipe()
    recipe.check()
    out = Path(out).absolute()
    check_output_folder(out)
    builder = Builder(_examine_all(images), out, recipe, progress or (lambda line: None))
    known = builder.begin(resume=resume)
    if known is not None:
        return known
    with Manifest(builder.work).lock(), use_threads(recipe.options.threads):
        builder.write_plan()
        stages = [builder.affine_mean()]
        for number in range(1, recipe.iterations + 1):
            stages.append(builder.iteration(number, stages[-1]))
        return builder.finish(stages)


def _examine_all(paths: Sequence[Path]) -> list[Image]:
    """Return the properties of all images, sorted by checksum, independent of the order of `paths`."""
    refuse_folders(paths)
    if len(paths) < MIN_IMAGES:
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
