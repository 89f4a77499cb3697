"""The training loop: draw a pair, run the network, step; checkpoint, monitor, export."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from lightcrcf.errors import InputError, UsageError
from lightcrcf.network import sampling
from lightcrcf.network.config import LEVELS, Shape, variant
from lightcrcf.network.model import LightCRCF
from lightcrcf.training import compiled, losses
from lightcrcf.training.checkpoint import restore, save
from lightcrcf.training.config import Loss, Stage, TrainingConfig, load_config
from lightcrcf.training.data import Subject, choose_pair, draw, load_cohort, profile, render, render_labels, val_pairs
from lightcrcf.training.monitor import monitor
from lightcrcf.weights.preparation import Profile
from lightcrcf.weights.store import load, write_weights

__all__ = ["Trainer", "train"]


def train(config_path: Path, *, resume: bool = False) -> Path:
    """Run a configuration to its end; returns the exported weights.

    Everything goes to the configuration's run folder: `log.jsonl`, `checkpoint.safetensors`, `NAME.safetensors`.

    Raises:
        InputError: for a bad configuration, bad data, or a checkpoint of another configuration.
        UsageError: if the folder holds a run and `resume` is False.
    """
    config = load_config(Path(config_path))
    folder = config.run.folder
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise UsageError(
            str(folder),
            expected="an empty run folder",
            got="a checkpoint",
            remedy="add --resume or name another folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config)
    if resume and checkpoint.exists():
        trainer.step = restore(checkpoint, config, trainer.model, trainer.optimiser)
    torch.set_flush_denormal(True)
    try:
        return trainer.run()
    finally:
        torch.set_flush_denormal(False)  # it is a setting of the whole process, which may go on with other work


@dataclass(frozen=True)
class Position:
    """Where a step lies in the schedule."""

    stage: Stage
    learning_rate: float


def position(stages: list[Stage], step: int) -> Position:
    """The stage of `step` and its cosine-annealed learning rate, warmed up at its start."""
    for stage in stages:
        if step < stage.steps:
            warm = min(1.0, (step + 1) / stage.warmup_steps) if stage.warmup_steps else 1.0
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / stage.steps))
            rate = stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * cosine
            return Position(stage, rate * warm)
        step -= stage.steps
    return Position(stages[-1], stages[-1].final_learning_rate)


@dataclass(frozen=True)
class Operations:
    """Warp and window mean of one device."""

    warp: Callable[[Tensor, Tensor], Tensor]
    window_mean: Callable[[Tensor, int], Tensor]

    @classmethod
    def on(cls, device: torch.device) -> Operations:
        """Compiled kernels on the CPU, PyTorch's elsewhere."""
        if device.type == "cpu":
            return cls(compiled.warp, compiled.window_mean)
        return cls(sampling.warp, losses.window_mean)


def objective(
    fields: list[Tensor],
    fixed: Tensor,
    moving: Tensor,
    loss: Loss,
    compare: str,
    operations: Operations,
    pool: Shape = (2, 2, 2),
    labels: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The loss of one batch and its parts.

    Each supervised level is compared at its own resolution; the finest at half or full resolution, whichever level
    that is.

    Args:
        fields: displacements from 1/16 on, coarse to fine (`LightCRCF.forward`).
        fixed, moving: (N, 1, D, H, W) at working resolution.
        loss: what to weigh how.
        compare: "half" or "full", for the finest field.
        operations: of the tensors' device.
        pool: the network's factors between the levels.
        labels: (N, K, D, H, W) label maps of both at working resolution, for the Dice loss.
    """
    pyramid = [(fixed, moving)]
    for _ in range(LEVELS):
        pyramid.append((avg_pool3d(pyramid[-1][0], pool), avg_pool3d(pyramid[-1][1], pool)))
    target = 0 if compare == "full" else 1
    parts = {name: fixed.new_zeros(()) for name in ("similarity", "regularity", "folding", "dice")}
    for offset, field in enumerate(reversed(fields)):
        # The field of level l lies on the image that was halved l + 1 times.
        weight, halvings, u = loss.level_weights[offset], LEVELS - len(fields) + offset + 1, field
        if weight == 0.0:
            continue
        parts["regularity"] = parts["regularity"] + weight * losses.diffusion(u)
        if offset == 0 and loss.folding > 0:
            parts["folding"] = losses.folding(u)
        while offset == 0 and halvings > target:
            u, halvings = sampling.upsample(u, pool), halvings - 1
        if offset == 0 and labels is not None:
            fixed_map, moving_map = labels if halvings == 0 else (avg_pool3d(x, pool) for x in labels)
            parts["dice"] = losses.dice(fixed_map, operations.warp(moving_map, u))
        similarity = _similarity(*pyramid[halvings], u, loss, operations)
        parts["similarity"] = parts["similarity"] + weight * similarity
    penalties = loss.regularity * parts["regularity"] + loss.folding * parts["folding"] + loss.dice * parts["dice"]
    parts["loss"] = parts["similarity"] + penalties
    return parts


def _similarity(fixed: Tensor, moving: Tensor, displacement: Tensor, loss: Loss, operations: Operations) -> Tensor:
    moved, tissue = operations.warp(moving, displacement), (fixed > 0).float()
    if loss.similarity == "lncc":
        return losses.lncc(fixed, moved, window=loss.window, weight=tissue, mean=operations.window_mean)
    return losses.mean_squared_error(fixed, moved, weight=tissue)


class Trainer:
    """A run: the network, its optimiser, the data, and the step reached.

    Args:
        config: checked configuration; data are read and aligned here.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config, self.step = config, 0
        self.changing = False
        if config.run.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device", expected="a CUDA device", got="none", remedy='set device = "cpu"')
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)
        self.device = torch.device(config.run.device)
        model = LightCRCF(variant(config.variant)).to(self.device)
        if config.start is not None:
            model.adopt(load(config.start).arrays)
        self.model: LightCRCF = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.model.warp = Operations.on(self.device).warp
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        cache = config.run.folder / "cache"
        loaded = [
            load_cohort(cohort, config.data, cache, pool=config.network.pool, train_labels=config.loss.dice > 0)
            for cohort in config.data.cohorts
        ]
        self.cohorts: list[list[Subject]] = [subjects for subjects, _ in loaded]
        self.monitored = [
            (subjects, val_pairs(cohort, config.data, subjects))
            for cohort, (_, subjects) in zip(config.data.cohorts, loaded, strict=True)
            if len(subjects) > 1
        ]
        self.profile: Profile | None = None
        if not config.data.by_content:
            everyone = [subject for cohort in self.cohorts for subject in cohort]
            self.profile = profile(everyone)
        self.log_file = config.run.folder / "log.jsonl"

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return sum(stage.steps for stage in self.config.stages)

    def run(self) -> Path:
        """Train to the end of the schedule; a checkpoint is left when interrupted.

        Except within the optimiser's step: weights between two steps are no state to go on from.
        """
        run = self.config.run
        started, window = time.monotonic(), []
        try:
            while self.step < self.total_steps:
                window.append(self.train_step())
                self.step += 1
                self.changing = False
                if self.step % run.log_steps == 0:
                    self._log(_mean(window), time.monotonic() - started)
                    started, window = time.monotonic(), []
                if self.step % run.checkpoint_steps == 0:
                    self._checkpoint()
                if self.step % run.validate_steps == 0 or self.step == self.total_steps:
                    self._monitor()
        finally:
            if not self.changing:
                self._checkpoint()
        return self.export()

    def train_step(self) -> dict[str, float]:
        """One pair, one step. Depends on the seed and the step's number only, so that resuming changes nothing."""
        where = position(self.config.stages, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = where.learning_rate
        fixed, moving, labels = self.batch(np.random.default_rng([self.config.run.seed, self.step]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.run.precision == "bf16"):
            fields = self.model(fixed, moving, where.stage.finest)
        loss, operations = where.stage.loss(self.config.loss), Operations.on(self.device)
        fields = [u.float() for u in fields]
        pool = self.model.config.pool
        parts = objective(fields, fixed, moving, loss, where.stage.compare, operations, pool, labels)
        if not torch.isfinite(parts["loss"]):
            raise InputError(
                f"step {self.step}", expected="a finite loss", got=str(float(parts["loss"].detach())),
                remedy="lower the learning rate, or check the images",
            )  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()  # type: ignore[no-untyped-call]
        self.changing = True
        self.optimiser.step()
        return {**{name: float(value.detach()) for name, value in parts.items()}, "learning_rate": where.learning_rate}

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """A pair of one cohort as (1, 1, D, H, W) each, and label maps (1, K, D, H, W) if the loss weighs Dice.

        Cohorts are drawn by their number of images.
        """
        sizes = np.array([len(cohort) for cohort in self.cohorts], dtype=float)
        cohort = self.cohorts[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
        config = self.config
        pair = choose_pair(cohort, config.data.cohorts[0].within, rng)
        change = draw(rng, config.augment)
        fixed, moving = (
            image[None, None].to(self.device) for image in render(*pair, change, config.data, config.augment)
        )
        if config.loss.dice == 0:
            return fixed, moving, None
        maps = render_labels(*pair, change, config.data, config.loss.structures)
        return fixed, moving, (maps[0][None].to(self.device), maps[1][None].to(self.device))

    def export(self) -> Path:
        """Write the fused weights to `NAME.safetensors`; returns the path."""
        path = self.config.run.folder / f"{self.config.name}.safetensors"
        plain = self.model.fuse()
        write_weights(
            path, plain.plain_arrays(), name=self.config.name, config=plain.config,
            preparation=self.config.data.preparation, content=self.config.data.content, profile=self.profile,
            supervision="labels" if self.config.loss.dice > 0 else "none",
        )  # fmt: skip
        return path

    def _checkpoint(self) -> None:
        save(self.config.run.folder / "checkpoint.safetensors", self.config, self.model, self.optimiser, self.step)

    def _monitor(self) -> None:
        self.export()
        finest = position(self.config.stages, self.step - 1).stage.finest
        for subjects, pairs in self.monitored:
            scores = monitor(self.model, subjects, self.config.data, finest, pairs)
            self._write({"step": self.step, "monitor": scores})

    def _log(self, parts: dict[str, float], seconds: float) -> None:
        self._write({"step": self.step, **parts, "seconds_per_step": seconds / self.config.run.log_steps})

    def _write(self, record: dict[str, Any]) -> None:
        with self.log_file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        if sys.stderr.isatty():
            text = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in record.items())
            print(f"\r\x1b[K{self.step}/{self.total_steps}  {text}"[:160], end="", file=sys.stderr, flush=True)


def _mean(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([p[name] for p in parts])) for name in parts[0]}
