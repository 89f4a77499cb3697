"""The training configuration: one TOML file, checked before anything is read."""

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
    """Unknown names are errors: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnySection = TypeVar("AnySection", bound=Section)


class Cohort(Section):
    """One folder of images.

    Args:
        folder: relative to the data root.
        layout: "files" for those named here, or a public data set in its publisher's own layout, which brings its
            files and its splits along (see `lightcrcf.training.datasets.layouts`).
        image: file name with {id} in the subject's place; several, if each subject has several images. Then the
            pairs are those of one subject, and its images share a frame: nothing is aligned.
        labels: the same for label maps; used by validation, and by training if the loss weighs Dice.
        train: identifiers to train on; by default those of the layout.
        monitor: identifiers to validate on while training, not in train; by default those of the layout.
        skull_strip_with_labels: set voxels without a label to zero (whole heads for a brain model).
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
        """File names of one subject."""
        return self.image if isinstance(self.image, list) else [self.image]

    @property
    def label_maps(self) -> list[str]:
        """File names of its label maps, one for each image, or none."""
        return self.labels if isinstance(self.labels, list) else [] if self.labels is None else [self.labels]

    @property
    def within(self) -> bool:
        """Whether pairs are those of one subject."""
        return len(self.images) > 1 if self.layout == "files" else LAYOUTS[self.layout].within

    @property
    def labelled(self) -> bool:
        """Whether there are label maps."""
        return self.layout != "files" or self.labels is not None

    def listing(self, root: Path) -> Listing:
        """The images below the data root, by split.

        Raises:
            InputError: for subjects that a layout does not have.
        """
        folder = root / self.folder
        if self.layout == "files":
            return from_templates(folder, self.images, self.label_maps, self.train, self.monitor)
        return LAYOUTS[self.layout].listing(folder).restricted(self.train, self.monitor)

    @model_validator(mode="after")
    def _files_or_layout(self) -> Cohort:
        if self.layout != "files" and (self.image or self.labels):
            raise ValueError(f"layout {self.layout} knows its files: leave out image and labels")
        if self.layout == "files" and not self.image:
            raise ValueError("image is missing, or layout")
        if self.layout == "files" and not self.train:
            raise ValueError("train is missing, or layout")
        return self

    @model_validator(mode="after")
    def _disjoint(self) -> Cohort:
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
    """What to train on.

    Args:
        root: folder of the cohorts' folders.
        cohorts: pairs are drawn within a cohort.
        spacing_mm: of the working grid, for all axes or for each; "native" keeps each image's own voxels.
        view: what the working grid shows: "foreground", or "whole" for crops that are all foreground.
        window: the intensities that become 0 and 1 (CT); by default each image's own.
        content: what the images show; recorded in the weights.
        shape: training crop in working voxels, multiples of what the network pools (16 where it does).
        by_content: whether `content` is a kind of `preprocessing.foreground`, which alone says if the model suits an
            image; otherwise the extremes of the training images do.
        refinement_init: where the refinement of the model's registrations starts: "network", "identity" or "none".
        contrast: weight of the images' local contrast in that refinement.
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
    def _of_one_kind(self) -> Data:
        if len({cohort.within for cohort in self.cohorts}) > 1:
            raise ValueError("cohorts of several images a subject and of one do not go together")
        return self

    @property
    def preparation(self) -> Preparation:
        """As the weights file records it."""
        spacing = self.spacing_mm
        vector = None if spacing == "native" else spacing if isinstance(spacing, tuple) else (spacing,) * 3
        align = not self.cohorts[0].within
        return Preparation(vector, self.view, self.window, align, self.refinement_init, self.contrast)


class Augment(Section):
    """Random changes of each pair. Angles in degrees, shifts in mm, the rest relative; all are standard deviations."""

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
    """similarity + regularity * diffusion + folding * folding penalty, summed over levels with their weights.

    Args:
        similarity: "lncc" with cubes of `window` voxels, or "mse".
        contrast: weight of the same similarity of local contrast, beside that of the images; for "lncc" alone.
        regularity, folding: weights of the penalties on the field.
        level_weights: of 1/2, 1/4, 1/8 and 1/16.
        dice: weight of one minus the mean Dice of the label maps, judged with the finest field. Above zero, the model
            is weakly supervised and named so.
        structures: how many labels, drawn anew for each pair, that mean is over.
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
    def _weighs_something(self) -> Loss:
        if not self.level_weights[0] > 0 or any(not weight >= 0 for weight in self.level_weights):
            raise ValueError(f"level_weights {self.level_weights} must start above zero and never fall below it")
        if self.contrast > 0 and self.similarity != "lncc":
            raise ValueError("contrast is compared by lncc only")
        return self


class Stage(Section):
    """A part of the schedule.

    Args:
        steps: pairs of this stage.
        learning_rate, final_learning_rate: of Adam, annealed by a cosine.
        warmup_steps: over which the learning rate grows from zero.
        finest: last level that is trained: 0 is 1/2, 3 is 1/16.
        compare: where the finest field is judged: at full or at half the working resolution.
        regularity, window, contrast: instead of the loss section's.
        gradient_norm: longer gradients are shortened to it.
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
        """The loss section with this stage's own values in place."""
        own = {"regularity": self.regularity, "window": self.window, "contrast": self.contrast}
        return Loss.model_validate({**common.model_dump(), **{k: v for k, v in own.items() if v is not None}})


class Run(Section):
    """Where and how to run. Every `checkpoint_steps` the run can be resumed from `folder`.

    Args:
        batch: pairs of each step, shared by the processes of the run.
        tensorboard: whether to write scalars and pictures for TensorBoard.
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
    """All of a run. Paths are relative to the file that names them.

    Args:
        name: of the model.
        variant: of the network.
        start: a shipped model, or a .safetensors file of fused weights, to go on from; random weights by default.
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
        """Of the variant."""
        return VARIANTS[self.variant]

    @model_validator(mode="after")
    def _known_variant(self) -> TrainingConfig:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is not one of {', '.join(VARIANTS)}")
        multiples = self.network.multiples
        if any(n < m or n % m for n, m in zip(self.data.shape, multiples, strict=True)):
            raise ValueError(f"data.shape {self.data.shape} must be multiples of {multiples}")
        for stage in self.stages:
            stage.loss(self.loss)  # raises for what does not go together
        if self.loss.dice > 0 and not all(cohort.labelled for cohort in self.data.cohorts):
            raise ValueError("loss.dice needs labels in every cohort")
        return self


def load_config(path: Path) -> TrainingConfig:
    """Read and check a TOML file; relative paths become relative to the file's folder.

    Raises:
        InputError: if it is missing, no TOML, or a value is wrong; the first wrong value is named.
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
    """A TOML file as a section, its paths as they are.

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
