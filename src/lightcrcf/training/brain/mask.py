"""Training of the network for brain extraction.

lightcrcf train recipes/brain-mask.toml
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lightcrcf.engines.bfloat16 import bfloat16_is_native
from lightcrcf.network.brain import BrainNet
from lightcrcf.network.brain_config import MULTIPLE
from lightcrcf.training.brain.data import (
    Example,
    Head,
    head_without_brain,
    labelled_head,
    sample_example,
    skull_stripped_head,
    synthetic_head,
)
from lightcrcf.training.data import Ahead
from lightcrcf.training.recipe.mistakes import read_section
from lightcrcf.training.recipe.section import Contradiction, Fraction, Positive, Section, Template
from lightcrcf.training.recipe.words import toml
from lightcrcf.weights.brain import read_brain_weights, write_brain_weights

__all__ = ["BrainCohort", "BrainConfig", "is_brain_mask", "load_brain_config", "loss", "train_brain_mask"]

_WARMUP_STEPS, _LOG_STEPS, _EXAMPLES_PER_HEAD = 100, 20, 4


class BrainCohort(Section):
    """A folder of images.

    Args:
        folder: relative to the data root.
        image: file name with {id} for the subject.
        labels: the same for label maps of whole heads; without them the images are skull-stripped brains.
        brain: false for images without a brain.
        train: subjects to train on.
        monitor: subjects to validate on during training.
        weight: sampling probability relative to other cohorts.
    """

    folder: Path
    image: Template
    labels: Template | None = None
    brain: bool = True
    train: list[str] = Field(min_length=1)
    monitor: list[str] = Field(default=[])
    weight: Positive = 1.0

    def heads(self, root: Path, ids: list[str]) -> list[Head]:
        """Return the images of the subjects `ids`."""
        folder, labels = root / self.folder, self.labels
        if labels is None:
            read = skull_stripped_head if self.brain else head_without_brain
            return [read(folder / self.image.format(id=i)) for i in ids]
        return [labelled_head(folder / self.image.format(id=i), folder / labels.format(id=i)) for i in ids]


class BrainConfig(Section):
    """The configuration of a run. Paths are relative to the configuration file.

    Args:
        task: distinguishes this configuration from that of a registration network.
        name: of the model.
        root: folder of the cohorts' folders.
        cohorts: the training images.
        made_up: probability of examples that are synthetic blobs, boxes or noise.
        start: initial weights; random by default.
        shape: size of an example in voxels of 3 mm, multiples of 16.
        steps: number of optimiser steps.
        batch: examples per step.
        learning_rate: of Adam, annealed by a cosine to a hundredth.
        folder: for the log and the weights.
        seed: of all randomness.
        precision: of the convolutions; "auto" is bf16 where the processor has it (AVX512-BF16).
        checkpoint_steps: interval between exports of the weights.
    """

    task: Literal["brain-mask"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    root: Path
    cohorts: list[BrainCohort] = Field(min_length=1)
    made_up: Fraction = 0.0
    start: Path | None = None
    shape: tuple[int, int, int] = (64, 80, 80)
    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] = 2
    learning_rate: Positive = 2e-3
    folder: Path
    seed: int = 0
    precision: Literal["auto", "f32", "bf16"] = "auto"
    checkpoint_steps: Annotated[int, Field(ge=1)] = 250

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield a shape that the network cannot take."""
        if any(n < MULTIPLE or n % MULTIPLE for n in self.shape):
            yield Contradiction("shape", f"multiples of {MULTIPLE}", toml(self.shape), ("shape",))


def is_brain_mask(path: Path) -> bool:
    """Return whether a TOML file is for this task; False if it cannot be read."""
    with suppress(OSError, ValueError):
        return bool(re.search(r'^task = "brain-mask"$', Path(path).read_text(encoding="utf-8"), re.MULTILINE))
    return False


def load_brain_config(path: Path) -> BrainConfig:
    """Read and check a TOML file; relative paths become relative to the file's folder.

    Raises:
        InputError: if the file is missing, no TOML, or a value is invalid.
    """
    config, here = read_section(Path(path), BrainConfig), Path(path).parent
    return config.model_copy(
        update={
            "root": here / config.root,
            "folder": here / config.folder,
            "start": config.start and here / config.start,
        }
    )


def loss(logits: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """Return cross-entropy plus one minus soft Dice, inside the field of view.

    Args:
        logits, mask, known: (N, 1, D, H, W); `mask` holds fractions of brain, `known` is 1 inside the field of view.
    """
    entropy = binary_cross_entropy_with_logits(logits, mask, known, reduction="sum") / known.sum()
    probability, mask = torch.sigmoid(logits) * known, mask * known
    axes = (1, 2, 3, 4)
    overlap = (2 * (probability * mask).sum(axes) + 100) / (probability.sum(axes) + mask.sum(axes) + 100)
    return entropy + (1 - overlap).mean()


def train_brain_mask(config: BrainConfig, log: Callable[[str], None] = print) -> Path:
    """Train, write log and weights, and return the path of the weights."""
    torch.manual_seed(config.seed)
    model = BrainNet() if config.start is None else BrainNet.from_plain_arrays(read_brain_weights(config.start))
    model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate)
    config.folder.mkdir(parents=True, exist_ok=True)
    monitored = [h for c in config.cohorts for h in c.heads(config.root, c.monitor)]
    path, journal = config.folder / f"{config.name}.safetensors", _Log(config, log)
    for step, batch in enumerate(_batches(config), 1):
        journal.add_loss(step, _train_step(model, optimiser, batch, config, step))
        if step % config.checkpoint_steps == 0 or step == config.steps:
            write_brain_weights(path, model.plain_arrays(), name=config.name)
            if monitored:
                journal.write({"step": step, "dice": _validate(model, monitored, config)})
    log(f"trained; weights: {path}")
    return path


class _Log:
    """The log of a run: `log.jsonl`, and the same values as messages."""

    def __init__(self, config: BrainConfig, log: Callable[[str], None]) -> None:
        self._path, self._steps, self._log = config.folder / "log.jsonl", config.steps, log
        self._start, self._losses = time.monotonic(), list[float]()
        log(f"training {config.name}, {config.steps} steps; log: {self._path}")

    def add_loss(self, step: int, value: float) -> None:
        self._losses.append(value)
        if step % _LOG_STEPS == 0:
            seconds = round(time.monotonic() - self._start, 1)
            self.write({"step": step, "loss": round(float(np.mean(self._losses)), 5), "seconds": seconds})
            self._losses.clear()

    def write(self, entry: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        text = ", ".join(f"{name} {value}" for name, value in entry.items() if name != "step")
        self._log(f"step {entry['step']} of {self._steps}: {text}")


def _train_step(
    model: BrainNet, optimiser: torch.optim.Optimizer, batch: list[Example], config: BrainConfig, step: int
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = _rate(config, step - 1)
    value = loss(_logits(model, batch, config.precision), *_targets(batch))
    optimiser.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(value.detach())


def _rate(config: BrainConfig, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * min(1.0, (step + 1) / _WARMUP_STEPS) * (0.01 + 0.99 * cosine)


def _batches(config: BrainConfig) -> Iterator[list[Example]]:
    """Yield the batches in order; a background thread prepares the next one."""
    cohorts = [cohort.heads(config.root, cohort.train) for cohort in config.cohorts]
    weights = np.array([cohort.weight for cohort in config.cohorts])

    def head(rng: np.random.Generator) -> Head:
        if rng.random() < config.made_up:
            return synthetic_head(rng)
        heads = cohorts[int(rng.choice(len(cohorts), p=weights / weights.sum()))]
        return heads[int(rng.integers(len(heads)))]

    def sample_batch(step: int) -> list[Example]:
        rng = np.random.default_rng([config.seed, step])
        return [sample_example(head(rng), config.shape, rng) for _ in range(config.batch)]

    with closing(Ahead(sample_batch, config.steps)) as batches:
        for step in range(config.steps):
            yield batches.take(step)


def _logits(model: BrainNet, batch: list[Example], precision: str) -> Tensor:
    both = torch.from_numpy(np.stack([np.stack([e.image, e.known]) for e in batch]))
    bf16 = precision == "bf16" or (precision == "auto" and bfloat16_is_native())
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits: Tensor = model(both.to(memory_format=torch.channels_last_3d))
    return logits.float()


def _targets(batch: list[Example]) -> tuple[Tensor, Tensor]:
    mask, known = (torch.from_numpy(np.stack([getattr(e, n)[None] for e in batch])) for n in ("mask", "known"))
    return mask, known


def _validate(model: BrainNet, heads: list[Head], config: BrainConfig) -> list[float]:
    """Return the Dice overlap of fixed examples of each validation head."""
    scores = []
    for number, head in enumerate(heads):
        rng = np.random.default_rng([config.seed, 1 << 20, number])
        batch = [sample_example(head, config.shape, rng) for _ in range(_EXAMPLES_PER_HEAD)]
        with torch.no_grad():
            predicted = _logits(model, batch, config.precision) > 0
        mask, known = _targets(batch)
        target, predicted = (mask > 0.5) & (known > 0), predicted & (known > 0)
        scores.append(round(float(2 * (target & predicted).sum() / (target.sum() + predicted.sum()).clamp(min=1)), 4))
    return scores
