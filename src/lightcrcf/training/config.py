"""The training configuration: one TOML file, validated before any data are read."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lightcrcf.errors import InputError
from lightcrcf.network.config import LEVELS, VARIANTS, NetworkConfig
from lightcrcf.training.datasets.layouts import LAYOUTS, LayoutName
from lightcrcf.training.datasets.listing import Listing, from_templates
from lightcrcf.weights.preparation import Preparation, RefinementInit, View

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Augment", "Cohort", "Data", "Fraction", "Loss", "Positive", "Run", "Section", "Stage", "Template",
    "TrainingConfig", "load_config", "read_section",
]  # fmt: skip

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _odd(window: int) -> int:
    if window % 2 == 0:
        raise ValueError(f"window {window} must be odd, to have a middle")
    return window


def _template(name: str) -> str:
    try:
        if name.format(id="a") != name.format(id="b"):
            return name
    except (LookupError, ValueError):
        pass
    raise ValueError(f"{name!r} must contain {{id}}, and no other braces")


Window = Annotated[int, Field(ge=3, le=15), AfterValidator(_odd)]
Template = Annotated[str, AfterValidator(_template)]


class Section(BaseModel):
    """A section of the configuration. Unknown names are errors, so that no misspelt option is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnySection = TypeVar("AnySection", bound=Section)


class Cohort(Section):
    """A folder of images.

    Args:
        folder: relative to the data root.
        layout: "files" for the files named here, or a public data set in the layout of its publisher, which defines
            files and splits (see `lightcrcf.training.datasets.layouts`).
        image: file name with {id} for the subject; several, if each subject has several images. Pairs are then formed
            within a subject, whose images share a frame: there is no affine alignment.
        labels: the same for label maps; used by validation, and by training if `loss.dice` is above zero.
        train: subjects to train on; by default those of the layout.
        monitor: subjects to validate on during training, not in train; by default those of the layout.
        skull_strip_with_labels: set voxels without a label to zero (whole heads for a model of brains).
    """

    folder: Path
    layout: LayoutName | Literal["files"] = "files"
    image: Template | list[Template] = []
    labels: Template | list[Template] | None = None
    train: list[str] = []
    monitor: list[str] = []
    skull_strip_with_labels: bool = False

    @property
    def images(self) -> list[str]:
        """File names of the images of one subject."""
        return self.image if isinstance(self.image, list) else [self.image]

    @property
    def label_maps(self) -> list[str]:
        """File names of the label maps of one subject, one for each image; empty without label maps."""
        return self.labels if isinstance(self.labels, list) else [] if self.labels is None else [self.labels]

    @property
    def within(self) -> bool:
        """True if pairs are formed within a subject."""
        return len(self.images) > 1 if self.layout == "files" else LAYOUTS[self.layout].within

    @property
    def labelled(self) -> bool:
        """True if there are label maps."""
        return self.layout != "files" or self.labels is not None

    def listing(self, root: Path) -> Listing:
        """Return the images below the data root by split.

        Raises:
            InputError: for subjects that the layout lacks.
        """
        folder = root / self.folder
        if self.layout == "files":
            return from_templates(folder, self.images, self.label_maps, self.train, self.monitor)
        return LAYOUTS[self.layout].listing(folder).restricted(self.train, self.monitor)

    @model_validator(mode="after")
    def _check_layout(self) -> Cohort:
        if self.layout != "files" and (self.image or self.labels):
            raise ValueError(f"layout {self.layout} knows its files: leave out image and labels")
        if self.layout == "files" and not self.image:
            raise ValueError("image is missing, or layout")
        if self.layout == "files" and not self.train:
            raise ValueError("train is missing, or layout")
        return self

    @model_validator(mode="after")
    def _check_subjects(self) -> Cohort:
        if self.label_maps and len(self.label_maps) != len(self.images):
            raise ValueError(f"{len(self.images)} images have {len(self.label_maps)} label maps")
        if self.layout == "files" and not self.within and len(self.train) < 2:
            raise ValueError("one training subject with one image has no partner")
        both = set(self.train) & set(self.monitor)
        if both:
            raise ValueError(f"subjects {sorted(both)} are in both train and monitor")
        if self.monitor and not self.labelled:
            raise ValueError("monitor subjects need labels")
        if self.layout == "files" and len(self.monitor) == 1 and not self.within:
            raise ValueError("one monitor subject has no partner: name two or more, or none")
        if self.skull_strip_with_labels and not self.labelled:
            raise ValueError("skull_strip_with_labels needs labels")
        for names in (self.train, self.monitor):
            if len(set(names)) < len(names):
                raise ValueError("a subject is named twice")
        return self


class Data(Section):
    """The images to train on, and their preparation.

    Args:
        root: folder of the cohorts' folders.
        cohorts: folders of images; pairs are sampled within a cohort.
        spacing_mm: of the working grid, for all axes or for each; "native" keeps the voxels of each image.
        view: extent of the working grid: the "foreground", or the "whole" image for crops that are all foreground.
        window: intensity range that maps to 0 and 1 (CT); by default it is estimated from each image.
        content: description of the images; recorded in the weights.
        shape: training crop in working voxels, multiples of the downsampling of the network (16 on pooled axes).
        by_content: whether `content` is an image type of `preprocessing.foreground`, which alone decides if the model
            suits an image; otherwise the ranges of the training images decide.
        refinement_init: initial field of the refinement with this model: "network", "identity" or "none".
        contrast: weight of local contrast in that refinement.
    """

    root: Path
    cohorts: list[Cohort] = Field(min_length=1)
    spacing_mm: Positive | tuple[Positive, Positive, Positive] | Literal["native"] = 1.0
    view: View = "foreground"
    window: tuple[float, float] | None = None
    content: str = "skull-stripped brain"
    by_content: bool = False
    refinement_init: RefinementInit = "network"
    contrast: Annotated[float, Field(ge=0)] = 0.0
    shape: tuple[int, int, int] = (160, 192, 144)

    @model_validator(mode="after")
    def _check_within(self) -> Data:
        if len({cohort.within for cohort in self.cohorts}) > 1:
            raise ValueError("cohorts of several images a subject and of one do not go together")
        return self

    @property
    def preparation(self) -> Preparation:
        """The preparation of images, as recorded in the weights file."""
        spacing = self.spacing_mm
        vector = None if spacing == "native" else spacing if isinstance(spacing, tuple) else (spacing,) * 3
        align = not self.cohorts[0].within
        return Preparation(vector, self.view, self.window, align, self.refinement_init, self.contrast)


class Augment(Section):
    """Data augmentation: standard deviations; angles in degrees, shifts in mm, the rest relative."""

    pose_probability: Fraction = 0.5
    rotation_deg: float = 6.0
    scale: float = 0.06
    shear: float = 0.03
    shift_mm: float = 4.0
    misalign_rotation_deg: float = 1.0
    misalign_scale: float = 0.01
    misalign_shift_mm: float = 1.0
    flip_probability: Fraction = 0.5
    gamma: float = 0.15
    noise: float = 0.01


class Loss(Section):
    """The loss: similarity + regularity * diffusion + folding * folding penalty, weighted and summed over levels.

    Args:
        similarity: "lncc" with cubes of `window` voxels, or "mse".
        contrast: weight of the LNCC of local contrast relative to that of the images; with "lncc" only.
        regularity, folding: weights of the penalties on the field.
        level_weights: of the levels at 1/2, 1/4, 1/8 and 1/16 resolution.
        dice: weight of one minus the mean Dice of label maps warped by the finest field. Above zero, the model is
            weakly supervised and recorded as such.
        structures: number of labels in that mean, sampled for each pair.
    """

    similarity: Literal["lncc", "mse"] = "lncc"
    window: Window = 5
    contrast: Annotated[float, Field(ge=0)] = 0.0
    regularity: Annotated[float, Field(ge=0)] = 1.0
    folding: Annotated[float, Field(ge=0)] = 0.0
    level_weights: tuple[float, float, float, float] = (1.0, 0.3, 0.1, 0.0)
    dice: Annotated[float, Field(ge=0)] = 0.0
    structures: Annotated[int, Field(ge=1)] = 16

    @model_validator(mode="after")
    def _check_weights(self) -> Loss:
        if not self.level_weights[0] > 0 or any(not weight >= 0 for weight in self.level_weights):
            raise ValueError(f"level_weights {self.level_weights} must start above zero and never fall below it")
        if self.contrast > 0 and self.similarity != "lncc":
            raise ValueError("contrast is compared by lncc only")
        return self


class Stage(Section):
    """A stage of the schedule.

    Args:
        steps: optimiser steps of this stage.
        learning_rate, final_learning_rate: of Adam, annealed by a cosine.
        warmup_steps: steps over which the learning rate grows linearly from zero.
        finest: finest trained level: 0 is 1/2 resolution, 3 is 1/16.
        compare: resolution of the similarity of the finest field: full or half the working resolution.
        regularity, window, contrast: replace those of the loss section.
        gradient_norm: maximum norm of the gradient (clipping).
    """

    steps: Annotated[int, Field(ge=1)]
    learning_rate: Positive = 1e-3
    final_learning_rate: Positive = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    finest: Annotated[int, Field(ge=0, lt=LEVELS)] = 0
    compare: Literal["full", "half"] = "half"
    regularity: Annotated[float, Field(ge=0)] | None = None
    window: Window | None = None
    contrast: Annotated[float, Field(ge=0)] | None = None
    gradient_norm: Positive = math.inf

    def loss(self, common: Loss) -> Loss:
        """Return the loss section with the values of this stage."""
        own = {"regularity": self.regularity, "window": self.window, "contrast": self.contrast}
        return Loss.model_validate({**common.model_dump(), **{k: v for k, v in own.items() if v is not None}})


class Run(Section):
    """Folder, device and intervals of a run. It can be resumed from the last of the checkpoints in `folder`.

    Args:
        batch: pairs per step, divided among the processes of the run.
        tensorboard: whether to write scalars and images for TensorBoard.
    """

    folder: Path
    seed: int = 0
    batch: Annotated[int, Field(ge=1)] = 1
    tensorboard: bool = True
    precision: Literal["f32", "bf16"] = "bf16"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None
    checkpoint_steps: Annotated[int, Field(ge=1)] = 200
    validate_steps: Annotated[int, Field(ge=1)] = 500
    log_steps: Annotated[int, Field(ge=1)] = 10


class TrainingConfig(Section):
    """The configuration of a run. Paths are relative to the configuration file.

    Args:
        name: of the model.
        variant: of the network.
        start: initial weights: a shipped model or a .safetensors file of fused weights; random by default.
        data, stages, loss, augment, run: the sections.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    variant: str = "default"
    start: str | None = None
    data: Data
    stages: list[Stage] = Field(min_length=1)
    loss: Loss = Loss()
    augment: Augment = Augment()
    run: Run

    @property
    def network(self) -> NetworkConfig:
        """The configuration of the network variant."""
        return VARIANTS[self.variant]

    @model_validator(mode="after")
    def _known_variant(self) -> TrainingConfig:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is not one of {', '.join(VARIANTS)}")
        multiples = self.network.multiples
        if any(n < m or n % m for n, m in zip(self.data.shape, multiples, strict=True)):
            raise ValueError(f"data.shape {self.data.shape} must be multiples of {multiples}")
        for stage in self.stages:
            stage.loss(self.loss)  # raises for inconsistent values
        if self.loss.dice > 0 and not all(cohort.labelled for cohort in self.data.cohorts):
            raise ValueError("loss.dice needs labels in every cohort")
        return self


def load_config(path: Path) -> TrainingConfig:
    """Read and check a TOML file; relative paths become relative to the file's folder.

    Raises:
        InputError: if the file is missing, no TOML, or a value is invalid; the message names the first one.
    """
    path = Path(path)
    config, here = read_section(path, TrainingConfig), path.parent
    data = config.data.model_copy(update={"root": here / config.data.root})
    run = config.run.model_copy(update={"folder": here / config.run.folder})
    start = config.start
    if start is not None and start.endswith(".safetensors"):
        start = str(here / start)
    return config.model_copy(update={"data": data, "run": run, "start": start})


def read_section(path: Path, section: type[AnySection]) -> AnySection:
    """Read and check a TOML file as a section; paths stay unchanged.

    Raises:
        InputError: as `load_config`.
    """
    expected = "a TOML training configuration (recipes/*.toml)"
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return section.model_validate(values)
    except OSError as error:
        raise InputError(str(path), expected=expected, got=str(error.strerror), remedy="check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), expected=expected, got=f"broken TOML: {error}", remedy="mend that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise InputError(
            f"{path} [{where}]", expected=expected, got=first["msg"], remedy="correct this value"
        ) from None
