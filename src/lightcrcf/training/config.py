"""The training configuration: one TOML file, validated before any data are read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lightcrcf.engines.bfloat16 import bfloat16_is_native
from lightcrcf.errors import InputError, LightCRCFError
from lightcrcf.network.config import LEVELS, VARIANTS, NetworkConfig, tensor_shapes
from lightcrcf.training.cohort import Cohort, Data
from lightcrcf.training.recipe.mistakes import Mistake, Reading, mistakes_error, read_recipe
from lightcrcf.training.recipe.section import Contradiction, Fraction, Positive, Section, Window
from lightcrcf.training.recipe.words import toml
from lightcrcf.weights.store import Weights, load

__all__ = ["Augment", "Cohort", "Data", "Loss", "Run", "Stage", "TrainingConfig", "load_config", "starting_weights"]

_MOST_MISSING = 5  # files of a cohort that are named one by one
# Voxels of the coarsest level: with two, PyTorch's bf16 gradients of kernels on the CPU are now and then about 1e33
# (PyTorch 2.13, oneDNN, AVX-512 BF16: 34 to 55 of 60 trials on grids of 2x2x2 to 2x3x3, none on larger ones).
_LEAST_BF16 = 3


def _known_variant(name: str) -> str:
    if name not in VARIANTS:
        raise ValueError(f"{name!r} is no variant")
    return name


Variant = Annotated[str, Field(json_schema_extra={"enum": list(VARIANTS)}), AfterValidator(_known_variant)]


class Augment(Section):
    """Data augmentation of each pair: standard deviations of normal distributions, and probabilities.

    Args:
        pose_probability: of moving both images alike.
        rotation_deg, scale, shear, shift_mm: of that pose; scale and shear relative.
        misalign_rotation_deg, misalign_scale, misalign_shift_mm: of moving the moving image alone.
        identical_probability: of a pair of one image twice, without misalignment, so that the network learns to leave
            what is aligned; noise and intensities still differ.
        known_probability: of a pair of one image and itself, moved by a smooth random field that the network must find
            (`known` of the loss).
        known_voxels: largest standard deviation of that field; each pair has one between 0 and it.
        contrast_probability: of showing the network one image of a pair as a simulated scan of another contrast,
            mapped to the contrast of the other one as registration does; the loss compares the images as they are.
        flip_probability: of mirroring both images left to right.
        gamma: of the logarithm of the exponent of the intensities.
        noise: added to the foreground, relative to the brightest tissue.
        shading: of the logarithm of a smooth factor of intensities, as of an uneven coil.
    """

    pose_probability: Fraction = 0.5
    rotation_deg: float = 6.0
    scale: float = 0.06
    shear: float = 0.03
    shift_mm: float = 4.0
    misalign_rotation_deg: float = 1.0
    misalign_scale: float = 0.01
    misalign_shift_mm: float = 1.0
    identical_probability: Fraction = 0.0
    known_probability: Fraction = 0.0
    known_voxels: Annotated[float, Field(ge=0)] = 2.0
    contrast_probability: Fraction = 0.0
    flip_probability: Fraction = 0.5
    gamma: float = 0.15
    noise: float = 0.01
    shading: float = 0.0


class Loss(Section):
    """The loss: similarity + regularity * diffusion + folding * folding penalty, weighted and summed over levels.

    Args:
        similarity: local correlation ("lncc"), or mean squared differences ("mse").
        window: edge length in voxels of the cubes of "lncc".
        contrast: weight of the LNCC of local contrast relative to that of the images; with "lncc" only.
        by_deviation: whether windows count by the standard deviation of the fixed image in them, as in the
            refinement; with "lncc" only.
        regularity, bending: weights of the diffusion and the bending energy of the field of each level.
        folding, volume: weights of voxels about to fold and of changes of volume, (J + 1/J) / 2 - 1, in the finest one.
        known: weight of the mean squared distance in voxels from the field that is known, of pairs of one image twice.
        level_weights: of the levels at 1/2, 1/4, 1/8 and 1/16 resolution.
        dice: weight of one minus the mean Dice of label maps warped by the finest field. Above zero, the model is
            weakly supervised and recorded as such.
        structures: number of labels in that mean, sampled for each pair.
    """

    similarity: Literal["lncc", "mse"] = "lncc"
    window: Window = 5
    by_deviation: bool = False
    contrast: Annotated[float, Field(ge=0)] = 0.0
    regularity: Annotated[float, Field(ge=0)] = 1.0
    bending: Annotated[float, Field(ge=0)] = 0.0
    folding: Annotated[float, Field(ge=0)] = 0.0
    volume: Annotated[float, Field(ge=0)] = 0.0
    known: Annotated[float, Field(ge=0)] = 0.0
    level_weights: tuple[float, float, float, float] = (1.0, 0.3, 0.1, 0.0)
    dice: Annotated[float, Field(ge=0)] = 0.0
    structures: Annotated[int, Field(ge=1)] = 16

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield weights without meaning, and what mean squared differences cannot compare."""
        if not self.level_weights[0] > 0 or any(not weight >= 0 for weight in self.level_weights):
            expected = "the first above 0, none below"
            yield Contradiction("level_weights", expected, toml(self.level_weights), ("level_weights",))
        if self.contrast > 0 and self.similarity != "lncc":
            expected = 'similarity "lncc", which alone compares contrast'
            yield Contradiction("contrast", expected, toml(self.similarity), ("similarity",))
        if self.by_deviation and self.similarity != "lncc":
            expected = 'similarity "lncc", whose windows it weighs'
            yield Contradiction("by_deviation", expected, toml(self.similarity), ("similarity",))


class Stage(Section):
    """A stage of the schedule.

    Args:
        steps: optimiser steps of this stage.
        learning_rate: of Adam at the start of the stage.
        final_learning_rate: at its end; a cosine leads there.
        warmup_steps: steps over which the learning rate grows linearly from zero.
        finest: finest trained level: 0 is 1/2 resolution, 3 is 1/16.
        compare: resolution of the similarity of the finest field: full or half the working resolution.
        regularity, bending, volume, window, contrast: in place of those of the loss section.
        gradient_norm: maximum norm of the gradient (clipping).
    """

    steps: Annotated[int, Field(ge=1)]
    learning_rate: Positive = 1e-3
    final_learning_rate: Positive = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    finest: Annotated[int, Field(ge=0, lt=LEVELS)] = 0
    compare: Literal["full", "half"] = "half"
    regularity: Annotated[float, Field(ge=0)] | None = None
    bending: Annotated[float, Field(ge=0)] | None = None
    volume: Annotated[float, Field(ge=0)] | None = None
    window: Window | None = None
    contrast: Annotated[float, Field(ge=0)] | None = None
    gradient_norm: Positive = math.inf

    def loss(self, common: Loss) -> Loss:
        """Return the loss section with the values of this stage."""
        own = {key: getattr(self, key) for key in ("regularity", "bending", "volume", "window", "contrast")}
        return common.model_copy(update={key: value for key, value in own.items() if value is not None})

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield schedules that warm up for too long, or whose learning rate would rise."""
        if self.warmup_steps > self.steps:
            expected = f"at most the stage's {self.steps} steps"
            yield Contradiction("warmup_steps", expected, str(self.warmup_steps), ("steps",))
        if self.final_learning_rate > self.learning_rate:
            expected = f"at most learning_rate, {self.learning_rate:g}"
            yield Contradiction("final_learning_rate", expected, f"{self.final_learning_rate:g}", ("learning_rate",))


class Run(Section):
    """Folder, device and intervals of a run. It can be resumed from the last of the checkpoints in `folder`.

    Args:
        folder: of all that the run leaves.
        seed: of weights, pairs and augmentation.
        batch: pairs per step, divided among the processes of the run.
        tensorboard: whether to write scalars and images for TensorBoard.
        precision: of the network; losses are always f32. "auto" is bf16 on a GPU and on CPUs with AVX512-BF16, where
            it needs 48 voxels on each axis that is pooled; other CPUs are faster in f32.
        device: of the network.
        threads: of PyTorch; as many as there are cores by default.
        checkpoint_steps: interval between checkpoints.
        validate_steps: interval between validations, and reports.
        log_steps: interval between records of the log.
    """

    folder: Path
    seed: int = 0
    batch: Annotated[int, Field(ge=1)] = 1
    tensorboard: bool = True
    precision: Literal["auto", "f32", "bf16"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None
    checkpoint_steps: Annotated[int, Field(ge=1)] = 200
    validate_steps: Annotated[int, Field(ge=1)] = 500
    log_steps: Annotated[int, Field(ge=1)] = 10

    @property
    def checkpoint(self) -> Path:
        """Return the path of the checkpoint, the last of the run."""
        return self.folder / "checkpoint.safetensors"


class TrainingConfig(Section):
    """The configuration of a run. Paths are relative to the configuration file.

    Args:
        name: of the model.
        variant: of the network; "thick-slices" for images of few thick slices.
        start: initial weights: a shipped model or a .safetensors file that a training left; random by default.
            `lightcrcf train --init-from` goes before it.
        data: the images.
        stages: one after the other.
        loss: what is minimised.
        augment: random changes of each pair.
        run: where and how.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    variant: Variant = "default"
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

    @property
    def precision(self) -> Literal["f32", "bf16"]:
        """The precision of the network on this machine."""
        if self.run.precision != "auto":
            return self.run.precision
        fast = self.run.device == "cuda" or (bfloat16_is_native() and self._least_coarse >= _LEAST_BF16)
        return "bf16" if fast else "f32"

    @property
    def _least_coarse(self) -> int:
        """The fewest voxels of an axis of the coarsest level, of those that are downsampled."""
        sizes = self.network.coarser(self.data.shape, LEVELS)
        return min(n for n, factor in zip(sizes, self.network.pool, strict=True) if factor > 1)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield values of different sections that do not go together."""
        multiples = self.network.multiples
        if any(n < m or n % m for n, m in zip(self.data.shape, multiples, strict=True)):
            expected = f"multiples of {toml(multiples)} with the variant {self.variant}"
            yield Contradiction("data.shape", expected, toml(self.data.shape), ("variant",))
        if self.run.precision == "bf16" and self.run.device == "cpu" and self._least_coarse < _LEAST_BF16:
            least = _LEAST_BF16 * 2**LEVELS
            expected = f'precision = "f32" under [run], since data.shape is below {least} and bf16 gradients go wrong'
            yield Contradiction("run.precision", expected, toml(self.run.precision), ("data.shape", "run.device"))
        if self.loss.dice > 0 and self.augment.known_probability > 0:  # labels do not move with the known field
            yield Contradiction(
                "augment.known_probability",
                "0 where label maps are compared",
                toml(self.augment.known_probability),
                ("loss.dice",),
            )
        if self.augment.known_probability > 0 and self.loss.known == 0:
            expected = "a weight above 0 with augment.known_probability, whose pairs count nothing otherwise"
            yield Contradiction("loss.known", expected, toml(self.loss.known), ("augment.known_probability",))
        for number, stage in enumerate(self.stages):
            own = [] if stage.contrast is None else stage.loss(self.loss).contradictions()
            key = f"stages.{number}"
            yield from (Contradiction(f"{key}.{c.key}", c.expected, c.got, ("loss.similarity",)) for c in own)
        for number, cohort in enumerate(self.data.cohorts):
            if self.loss.dice > 0 and not cohort.labelled:
                key = f"data.cohorts.{number}"
                yield Contradiction(f"{key}.labels", "label maps, which loss.dice needs", "none", (key, "loss.dice"))


def load_config(path: Path, *, files: bool = False, start: str | None = None, resume: bool = False) -> TrainingConfig:
    """Read and check a TOML file; relative paths become relative to the file's folder.

    Args:
        path: of the file.
        files: whether to check that the images, label maps and initial weights of a run are there.
        start: initial weights in place of those of the file.
        resume: whether a run goes on from its checkpoint, if it has one; then there are no initial weights.

    Raises:
        InputError: if the file is missing or no TOML, or values are invalid; the message names all of them.
    """
    reading = read_recipe(Path(path), TrainingConfig)
    config, mistakes = reading.recipe, list(reading.mistakes)
    if config is not None:
        config = _from_folder(config, Path(path).parent)
        config = config if start is None else config.model_copy(update={"start": start})
        if resume and config.run.checkpoint.exists():
            config = config.model_copy(update={"start": None})
        mistakes += _missing_files(config, reading) if files else []
        mistakes += _unfit_weights(config, reading) if files and start is None else []
    if config is None or mistakes:
        raise mistakes_error(Path(path), reading.in_order(mistakes))
    return config


def starting_weights(config: TrainingConfig) -> Weights | None:
    """Load the initial weights of a configuration; None if they are random.

    Raises:
        UsageError: if no shipped model has this name.
        InputError: if the file is missing or damaged, or of a network of another shape.
    """
    if config.start is None:
        return None
    weights = load(config.start)
    blind = replace(config.network, force=False)  # may start a network that sees forces
    if tensor_shapes(weights.config) not in (tensor_shapes(config.network), tensor_shapes(blind)):
        same = [name for name in VARIANTS if tensor_shapes(VARIANTS[name]) == tensor_shapes(weights.config)]
        same.sort(key=lambda name: replace(VARIANTS[name], branches=(), groups=1) != weights.config)
        remedy = f'set variant = "{same[0]}" in the recipe, or start' if same else "start"
        raise InputError(
            f"initial weights {config.start}",
            expected=f"a network of the variant {config.variant}: {_widths(config.network)}",
            got=_widths(weights.config),
            remedy=f"{remedy} from another model",
        )
    return weights


def _widths(network: NetworkConfig) -> str:
    channels = " and ".join("-".join(map(str, part)) for part in (network.encoder, network.decoder))
    force = ", force" if network.force else ""
    return f"stream {network.stream}, channels {channels}, pooling {'x'.join(map(str, network.pool))}{force}"


def _from_folder(config: TrainingConfig, here: Path) -> TrainingConfig:
    data = config.data.model_copy(update={"root": here / config.data.root})
    run = config.run.model_copy(update={"folder": here / config.run.folder})
    start = config.start
    if start is not None and start.endswith(".safetensors"):
        start = str(here / start)
    return config.model_copy(update={"data": data, "run": run, "start": start})


def _missing_files(config: TrainingConfig, reading: Reading[TrainingConfig]) -> Iterator[Mistake]:
    """Yield what is missing of the cohorts in which nothing else is wrong."""
    if not reading.is_sound("data", "root"):
        return
    if not config.data.root.is_dir():
        yield Mistake(
            ("data", "root"), "the folder of the cohorts' folders", f"no folder {config.data.root}", "correct it"
        )
        return
    for number, cohort in enumerate(config.data.cohorts):
        if reading.is_sound("data", "cohorts", number):
            yield from _missing_in(cohort, config, number)


def _unfit_weights(config: TrainingConfig, reading: Reading[TrainingConfig]) -> Iterator[Mistake]:
    """Yield what is wrong with the initial weights that the recipe names."""
    if reading.is_sound("start") and reading.is_sound("variant"):
        try:
            starting_weights(config)
        except LightCRCFError as error:
            yield Mistake(("start",), error.expected, f"{error.got} in {config.start}", error.remedy)


def _missing_in(cohort: Cohort, config: TrainingConfig, number: int) -> Iterator[Mistake]:
    key = ("data", "cohorts", number)
    try:
        listing = cohort.listing(config.data.root)
    except InputError as error:
        yield Mistake(key, error.expected, f"{error.got} in {error.subject}", error.remedy)
        return
    blocking = listing.blocking(train_labels=config.loss.dice > 0 or cohort.skull_strip_with_labels)
    remedy = "correct the recipe, or the folder; 'lightcrcf data check' lists all files that are missing"
    for problem in blocking[:_MOST_MISSING]:
        yield Mistake(key, f"the images of the recipe in {listing.folder}", problem.text, remedy)
    if len(blocking) > _MOST_MISSING:
        yield Mistake(
            key,
            f"the images of the recipe in {listing.folder}",
            f"{len(blocking) - _MOST_MISSING} more problems",
            remedy,
        )
