"""Stages of a template: the affine mean and the iterations, each stored on disk when complete."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightcrcf.batch.manifest import Manifest
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.pairs import many_to_one
from lightcrcf.batch.progress import BatchProgress
from lightcrcf.batch.run import run_batch
from lightcrcf.errors import InputError, UsageError
from lightcrcf.files import atomic_path, read_json, write_json
from lightcrcf.preprocessing.foreground import volume_litres
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.registration.contrast import ContrastComparison
from lightcrcf.run_record.environment import versions
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.run_record.replay import read_run
from lightcrcf.template.average import Average, Image, average, common_grid, difference, sharpened, sharpness
from lightcrcf.template.figure import draw
from lightcrcf.template.mean import group_mean, mean_displacement, shape_update, update_shape
from lightcrcf.template.recipe import Recipe
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import (
    AFFINE_NAME,
    FIELD_NAME,
    read_field,
    read_transform_folder,
    write_affine,
    write_field,
)
from lightcrcf.volumes import Volume, read, write

__all__ = ["MIN_IMAGES", "Builder", "TemplateStage"]

SCHEMA = "lightcrcf-template-1"
MIN_IMAGES = 2
"""Minimum number of images of a template."""

_TEMPLATE, _RECORD, _SHAPE_UPDATE, _FIGURE, _START = (
    "template.nii.gz", "template.json", "centring.nii.gz", "convergence.svg", "affine_mean.nii.gz",
)  # fmt: skip
_WORK, _TRANSFORMS, _DONE = "work", "transforms", "iteration.json"

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class TemplateStage:
    """A template of one stage, with its record, the content of `iteration.json` in its folder."""

    folder: Path
    record: dict[str, Any]

    @property
    def template(self) -> Path:
        """File of the template image."""
        return self.folder / _TEMPLATE


class Builder:
    """Builder of one template; each stage has a folder below `work`, and its record there is written last."""

    def __init__(self, images: list[Image], out: Path, recipe: Recipe, progress: Progress) -> None:
        self.images, self.out, self.recipe, self.progress = images, out, recipe, progress
        self.work = out / _WORK
        pairs = many_to_one(images[0].path, [image.path for image in images])
        self.ids = [pair.id for pair in pairs]
        self.by_id = dict(zip(self.ids, images, strict=True))
        self.plan = {
            "schema": SCHEMA,
            "recipe": recipe.identity(),
            "images": {name: self.by_id[name].sha256 for name in sorted(self.by_id)},
        }

    def begin(self, *, resume: bool) -> dict[str, Any] | None:
        """Return the record of this template if the folder holds it complete, else None.

        Raises:
            UsageError: if the folder holds another template, or any and `resume` is not set.
            InputError: if the results would replace an input image.
        """
        for image in self.images:
            if image.path in (self.out / _TEMPLATE, self.out / _START):
                raise InputError(
                    str(image.path), expected="a folder that holds none of the images", got="one to be replaced",
                    remedy="choose another folder",
                )  # fmt: skip
        finished, begun = read_json(self.out / _RECORD), read_json(self.work / "plan.json")
        known = finished or begun
        if known is None:
            return None
        if not resume:
            remedy = "add --resume to go on, or choose another folder"
            raise UsageError(str(self.out), expected="a folder without a template", got="one", remedy=remedy)
        for name in self.plan:
            if known.get(name) != self.plan[name]:
                raise UsageError(
                    f"{self.out}: {name}", expected="the same with which this template was begun", got="others",
                    remedy="use the same images and options, or choose another folder",
                )  # fmt: skip
        whole = finished is not None and all((self.out / file).is_file() for file in finished["files_sha256"])
        if whole:
            shutil.rmtree(self.work, ignore_errors=True)  # of a run that was killed during clean-up
        return finished if whole else None

    def write_plan(self) -> None:
        """Write the plan, against which a resumed run is checked."""
        write_json(self.work / "plan.json", self.plan)

    def affine_mean(self) -> TemplateStage:
        """Build the affine mean of all images, independent of the reference image.

        Raises:
            InputError: if fewer than two images can be aligned, or their contrasts differ.
        """
        folder = self.work / "00"
        if (known := self._stage(folder)) is not None:
            return known
        by_size = sorted(self.ids, key=lambda name: (self.by_id[name].litres, self.by_id[name].sha256))
        reference = by_size[len(by_size) // 2]
        options = replace(
            self.recipe.options, model="none", preset="fast", refine=None, diffeomorphic=False, smoothness=1.0
        )
        left_out, _ = self._register(folder, self.by_id[reference].path, options, "affine mean")
        kept = self._usable(left_out, folder)
        self._refuse_mixture(folder, kept, reference)
        affines = [self._chain(folder, name).after for name in kept]
        back = group_mean(affines, kept).inverse()
        affines = [affine.compose(back) for affine in affines]
        images = [self.by_id[name] for name in kept]
        grid = common_grid(images, affines)
        self.progress("affine mean: averaging")
        found = average(images, (Chain(Affine.identity(), None, affine) for affine in affines), grid).trimmed()
        matrices = {name: affine.matrix.tolist() for name, affine in zip(kept, affines, strict=True)}
        figures = _rounded(_average_metrics(found, found.image))
        record = {"number": 0, "reference": reference, "left_out": left_out, "figures": figures, "affines": matrices}
        return self._write_stage(folder, found.image, record)

    def iteration(self, number: int, before: TemplateStage) -> TemplateStage:
        """Register all images to the previous template, average them there, and compute the shape update."""
        folder = self.work / f"{number:02d}"
        if (known := self._stage(folder)) is not None:
            return known
        title = f"iteration {number} of {self.recipe.iterations}"
        left_out, correlations = self._register(folder, before.template, self.recipe.options, title)
        kept = self._usable(left_out, folder)
        self.progress(f"{title}: averaging")
        template = read(before.template)
        grid = template.grid
        shift = mean_displacement((self._chain(folder, name) for name in kept), grid)
        back = shape_update(shift, self.recipe.step)
        chains = (update_shape(self._chain(folder, name), back) for name in kept)
        found = average([self.by_id[name] for name in kept], chains, grid)
        sharp = sharpened(found, self.recipe.sharpen)
        figures = {
            "mean_shift_rms_mm": found.rms(shift.length_mm),
            "change_rms": found.rms(difference(sharp, template)),
            "local_correlation": float(np.mean([correlations[name] for name in kept])),
            **_average_metrics(found, sharp),
        }
        write_field(folder / _SHAPE_UPDATE, back)
        stage = self._write_stage(folder, sharp, {"number": number, "left_out": left_out, "figures": _rounded(figures)})
        shutil.rmtree(before.folder / "pairs", ignore_errors=True)  # as large as all images
        return stage

    def finish(self, stages: Sequence[TemplateStage]) -> dict[str, Any]:
        """Write the final files, and remove intermediate ones."""
        last = stages[-1]
        back = read_field(last.folder / _SHAPE_UPDATE)
        left_out = last.record["left_out"]
        with atomic_path(self.out) as temporary:
            temporary.mkdir()
            shutil.copyfile(last.template, temporary / _TEMPLATE)
            shutil.copyfile(stages[0].template, temporary / _START)
            for name in (name for name in self.ids if name not in left_out):
                self.progress(f"writing transforms/{name}")
                folder = temporary / _TRANSFORMS / name
                folder.mkdir(parents=True)
                _write_chain(folder, update_shape(self._chain(last.folder, name), back))
            draw(temporary / _FIGURE, [stage.record for stage in stages])
            record = self._record(stages, temporary)
            write_json(temporary / _RECORD, record)
        shutil.rmtree(self.work, ignore_errors=True)
        return record

    def _record(self, stages: Sequence[TemplateStage], folder: Path) -> dict[str, Any]:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        grid = read(stages[-1].template).grid
        return {
            **self.plan,
            "versions": versions(),
            "paths": {name: str(self.by_id[name].path) for name in sorted(self.by_id)},
            "grid": {"shape": list(grid.shape), "affine": grid.affine.tolist()},
            "start": stages[0].record,
            "iterations": [stage.record for stage in stages[1:]],
            "left_out": stages[-1].record["left_out"],
            "files_sha256": {path.relative_to(folder).as_posix(): fingerprint(path) for path in files},
        }

    def _register(
        self, folder: Path, fixed: Path, options: BatchOptions, title: str
    ) -> tuple[dict[str, str], dict[str, float]]:
        """Register all images to one; return excluded images with reasons, and the local correlation of the others."""
        pairs = many_to_one(fixed, [image.path for image in self.images])

        def report(state: BatchProgress) -> None:
            self.progress(f"{title}: {state}")

        run_batch(
            pairs, folder, options, workers=self.recipe.workers, scheduler=self.recipe.scheduler, resume=True,
            retry_failed=True, progress=report,
        )  # fmt: skip
        left_out, correlations = {}, {}
        for name, record in ((pair.id, Manifest(folder).record(pair) or {}) for pair in pairs):
            reason = _exclusion_reason(record)
            if reason:
                left_out[name] = reason
                warnings.warn(f"{title}: {name} is left out: {reason}", stacklevel=4)
            else:
                correlations[name] = QualityMetrics.from_json(record["metrics"]).correlation or 0.0
        return left_out, correlations

    def _usable(self, left_out: dict[str, str], folder: Path) -> list[str]:
        kept = [name for name in self.ids if name not in left_out]
        if len(kept) < MIN_IMAGES:
            raise InputError(
                str(self.out), expected="two images or more that can be registered",
                got=f"{len(kept)} of {len(self.ids)}; {next(iter(left_out.values()))}",
                remedy=f"see {folder / 'index.html'}",
            )  # fmt: skip
        return kept

    def _refuse_mixture(self, folder: Path, kept: Sequence[str], reference: str) -> None:
        """Raise an error for images of different contrasts, unless the options declare one contrast."""
        if self.recipe.options.similarity == "same":
            return
        found = {name: read_run(folder / "pairs" / name).similarity for name in kept}
        others = [
            name for name, how in found.items()
            if ContrastComparison(how.correlation, how.correlation_recoloured).two_contrasts
        ]  # fmt: skip
        if others:
            shutil.rmtree(self.work, ignore_errors=True)
            raise InputError(
                str(self.by_id[others[0]].path), expected=f"the contrast of {self.by_id[reference].path.name}",
                got=f"another one, as {len(others)} of {len(kept)} images seem to have",
                remedy="average images of one contrast only, or add --similarity same if they are",
            )  # fmt: skip

    def _chain(self, folder: Path, name: str) -> Chain:
        return read_transform_folder(folder / "pairs" / name)

    def _stage(self, folder: Path) -> TemplateStage | None:
        record = read_json(folder / _DONE)
        return None if record is None else TemplateStage(folder, record)

    def _write_stage(self, folder: Path, image: Volume, record: dict[str, Any]) -> TemplateStage:
        """Write a stage; its record is written last and marks a complete stage."""
        write(folder / _TEMPLATE, image)
        write_json(folder / _DONE, record)
        return TemplateStage(folder, record)


def _write_chain(folder: Path, chain: Chain) -> None:
    write_affine(folder / AFFINE_NAME, chain.after)
    if chain.field is not None:
        write_field(folder / FIELD_NAME, chain.field)


def _average_metrics(found: Average, template: Volume) -> dict[str, float]:
    """Return metrics of an average and of the template computed from it."""
    return {
        "sharpness": sharpness(template, found.tissue),
        "sharpness_of_mean": sharpness(found.image, found.tissue),
        "spread": found.spread,
        "litres": volume_litres(found.tissue, found.image.grid),
    }


def _exclusion_reason(record: dict[str, Any]) -> str | None:
    """Return why an image is excluded; None if it is used."""
    if record.get("status") != "done":
        return str(record.get("error", {}).get("message", "not registered"))
    if record["qc"]["verdict"] == "fail":
        return f"quality control failed: {record['qc']['reasons'][0]}"
    return None


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}
