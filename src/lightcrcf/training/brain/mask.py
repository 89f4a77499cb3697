"""Training of the network that finds the brain in a head.

lightcrcf train recipes/brain-mask.toml
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lightcrcf.network.brain import BrainNet
from lightcrcf.network.brain_config import MULTIPLE
from lightcrcf.training.brain.data import Example, Head, bare_brain, example, labelled_head, made_up, no_brain
from lightcrcf.training.config import Fraction, Positive, Section, Template, read_section
from lightcrcf.weights.brain import read_brain_weights, write_brain_weights

__all__ = ["BrainCohort", "BrainConfig", "is_brain_mask", "load_brain_config", "loss", "train_brain_mask"]

_WARMUP, _LOGGED, _PICTURED = 100, 20, 4


class BrainCohort(Section):
    """Images of one folder.

    Args:
        folder: relative to the data root.
        image: file name with {id} in the subject's place.
        labels: the same for label maps of whole heads; without them the images are skull-stripped brains.
        brain: false for images that show none.
        train: identifiers to train on.
        monitor: identifiers to measure on while training.
        weight: how often it is drawn, relative to others.
    """

    folder: Path
    image: Template
    labels: Template | None = None
    brain: bool = True
    train: list[str] = Field(min_length=1)
    monitor: list[str] = Field(default=[])
    weight: Positive = 1.0

    def heads(self, root: Path, ids: list[str]) -> list[Head]:
        """Read the images of `ids`."""
        folder, labels = root / self.folder, self.labels
        if labels is None:
            read = bare_brain if self.brain else no_brain
            return [read(folder / self.image.format(id=i)) for i in ids]
        return [labelled_head(folder / self.image.format(id=i), folder / labels.format(id=i)) for i in ids]


class BrainConfig(Section):
    """All of a run. Paths are relative to the file that names them.

    Args:
        task: tells this configuration from one of a registration network.
        name: of the model.
        root: folder of the cohorts' folders.
        cohorts: what to learn from.
        made_up: how often an example is blobs, boxes or noise, and no image.
        start: weights to go on from; random ones by default.
        shape: voxels of 3 mm of an example, multiples of 16.
        steps, batch: examples are batch times steps.
        learning_rate: of Adam; a cosine brings it to a hundredth.
        folder: for the log and the weights.
        seed: of everything random.
        precision: of the convolutions.
        checkpoint_steps: after so many the weights are written.
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
    precision: Literal["f32", "bf16"] = "bf16"
    checkpoint_steps: Annotated[int, Field(ge=1)] = 250

    @field_validator("shape")
    @classmethod
    def _fits(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(n < MULTIPLE or n % MULTIPLE for n in shape):
            raise ValueError(f"shape {shape} must be multiples of {MULTIPLE}")
        return shape


def is_brain_mask(path: Path) -> bool:
    """Whether a TOML file says that it is for this task; False where it cannot be read."""
    with suppress(OSError, ValueError):
        return bool(re.search(r'^task = "brain-mask"$', Path(path).read_text(encoding="utf-8"), re.MULTILINE))
    return False


def load_brain_config(path: Path) -> BrainConfig:
    """Read and check a TOML file; relative paths become relative to the file's folder.

    Raises:
        InputError: if it is missing, no TOML, or a value is wrong.
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
    """Cross-entropy with shares of brain, and one minus the Dice of each image, where it has data."""
    entropy = binary_cross_entropy_with_logits(logits, mask, known, reduction="sum") / known.sum()
    share, mask = torch.sigmoid(logits) * known, mask * known
    axes = (1, 2, 3, 4)
    overlap = (2 * (share * mask).sum(axes) + 100) / (share.sum(axes) + mask.sum(axes) + 100)
    return entropy + (1 - overlap).mean()


def train_brain_mask(config: BrainConfig, say: Callable[[str], None] = print) -> Path:
    """Train, log, and write the weights; returns their file."""
    torch.manual_seed(config.seed)
    model = BrainNet() if config.start is None else BrainNet.from_plain_arrays(read_brain_weights(config.start))
    model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate)
    config.folder.mkdir(parents=True, exist_ok=True)
    watched = [h for c in config.cohorts for h in c.heads(config.root, c.monitor)]
    path, log = config.folder / f"{config.name}.safetensors", _Log(config, say)
    for step, batch in enumerate(_batches(config), 1):
        log.learned(step, _learn(model, optimiser, batch, config, step))
        if step % config.checkpoint_steps == 0 or step == config.steps:
            write_brain_weights(path, model.plain_arrays(), name=config.name)
            if watched:
                log.write({"step": step, "dice": _watched(model, watched, config)})
    say(f"trained; weights: {path}")
    return path


class _Log:
    """`log.jsonl`, and the same for people."""

    def __init__(self, config: BrainConfig, say: Callable[[str], None]) -> None:
        self._path, self._steps, self._say = config.folder / "log.jsonl", config.steps, say
        self._begun, self._losses = time.monotonic(), list[float]()
        say(f"training {config.name}, {config.steps} steps; log: {self._path}")

    def learned(self, step: int, value: float) -> None:
        self._losses.append(value)
        if step % _LOGGED == 0:
            seconds = round(time.monotonic() - self._begun, 1)
            self.write({"step": step, "loss": round(float(np.mean(self._losses)), 5), "seconds": seconds})
            self._losses.clear()

    def write(self, entry: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        told = ", ".join(f"{name} {value}" for name, value in entry.items() if name != "step")
        self._say(f"step {entry['step']} of {self._steps}: {told}")


def _learn(
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
    return config.learning_rate * min(1.0, (step + 1) / _WARMUP) * (0.01 + 0.99 * cosine)


def _batches(config: BrainConfig) -> Iterator[list[Example]]:
    """One after the other, each made while the one before is learned from."""
    cohorts = [cohort.heads(config.root, cohort.train) for cohort in config.cohorts]
    weights = np.array([cohort.weight for cohort in config.cohorts])

    def head(rng: np.random.Generator) -> Head:
        if rng.random() < config.made_up:
            return made_up(rng)
        heads = cohorts[int(rng.choice(len(cohorts), p=weights / weights.sum()))]
        return heads[int(rng.integers(len(heads)))]

    def made(step: int) -> list[Example]:
        rng = np.random.default_rng([config.seed, step])
        return [example(head(rng), config.shape, rng) for _ in range(config.batch)]

    with ThreadPoolExecutor(1) as background:
        coming = background.submit(made, 0)
        for step in range(config.steps):
            batch = coming.result()
            coming = background.submit(made, step + 1)
            yield batch


def _logits(model: BrainNet, batch: list[Example], precision: str) -> Tensor:
    both = torch.from_numpy(np.stack([np.stack([e.image, e.known]) for e in batch]))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = model(both.to(memory_format=torch.channels_last_3d))
    return logits.float()


def _targets(batch: list[Example]) -> tuple[Tensor, Tensor]:
    mask, known = (torch.from_numpy(np.stack([getattr(e, n)[None] for e in batch])) for n in ("mask", "known"))
    return mask, known


def _watched(model: BrainNet, heads: list[Head], config: BrainConfig) -> list[float]:
    """Dice of fixed examples of each head that is watched."""
    found = []
    for number, head in enumerate(heads):
        rng = np.random.default_rng([config.seed, 1 << 20, number])
        batch = [example(head, config.shape, rng) for _ in range(_PICTURED)]
        with torch.no_grad():
            told = _logits(model, batch, config.precision) > 0
        mask, known = _targets(batch)
        truth, told = (mask > 0.5) & (known > 0), told & (known > 0)
        found.append(round(float(2 * (truth & told).sum() / (truth.sum() + told.sum()).clamp(min=1)), 4))
    return found
