"""The training loop: sample a pair, run the network, take a step; checkpoint, validate, export."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from lightcrcf.errors import InputError, UsageError, how_to_install
from lightcrcf.network.model import LightCRCF
from lightcrcf.run_record.environment import usable_cores
from lightcrcf.training.augmentation.pair import (
    AugmentationParams,
    Labels,
    RenderedPair,
    known_displacement,
    render,
    render_labels,
    sample_augmentation,
    seen,
)
from lightcrcf.training.checkpoint import restore, save
from lightcrcf.training.config import Cohort, Run, Stage, TrainingConfig, load_config, starting_weights
from lightcrcf.training.data import (
    Ahead,
    Subject,
    choose_pair,
    load_cohort,
    profile,
    val_pairs,
)
from lightcrcf.training.journal import Journal
from lightcrcf.training.monitor import monitor
from lightcrcf.training.narrator import Narrator
from lightcrcf.training.objective import Operations, objective
from lightcrcf.training.origin import Origin
from lightcrcf.training.processes import Processes, process_group
from lightcrcf.training.report.page import REPORT, Group, State, write_report
from lightcrcf.training.report.watched import TRAINED, watched_groups
from lightcrcf.weights.preparation import Profile
from lightcrcf.weights.store import write_weights

__all__ = ["Trainer", "train"]


def train(
    recipe: Path | TrainingConfig,
    *,
    resume: bool = False,
    start: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train a configuration to its end, and return the path of the exported weights.

    All output goes to the run folder of the configuration: `log.jsonl`, `report.html`, `training.json`,
    `checkpoint.safetensors`, `NAME.safetensors`, and events of TensorBoard. The processes that `torchrun` starts divide
    each batch.

    Args:
        recipe: the configuration, or its TOML file.
        resume: whether to continue from the last checkpoint.
        start: initial weights, a shipped model or a .safetensors file, in place of those of the TOML file.
        log: receives progress messages, from the first process.

    Raises:
        InputError: for a bad configuration, bad data, or a checkpoint of another configuration.
        UsageError: if the folder holds a run and `resume` is False, or TensorBoard is wanted and missing.
    """
    config = (
        recipe if isinstance(recipe, TrainingConfig) else load_config(recipe, files=True, start=start, resume=resume)
    )
    _check_run(config.run, resume=resume, start=start)
    folder, checkpoint = config.run.folder, config.run.checkpoint
    with process_group(config.run.device) as processes:
        if processes.first and resume and not checkpoint.exists():
            log(f"no checkpoint in {folder}: the training starts from its beginning")
        origin = Origin.of(config)
        folder.mkdir(parents=True, exist_ok=True)
        if processes.first:
            origin = origin.recorded(folder, resume=resume)
        trainer = Trainer(config, processes, log, origin)
        if resume and checkpoint.exists():
            trainer.step = restore(checkpoint, config, trainer.model, trainer.optimiser)
        torch.set_flush_denormal(True)
        try:
            return trainer.run()
        finally:
            torch.set_flush_denormal(False)  # it applies to the whole process, which may do other work


def _check_run(run: Run, *, resume: bool, start: str | None) -> None:
    """Raise UsageError if the folder holds a run that is not resumed, or TensorBoard is wanted and missing."""
    if run.tensorboard and find_spec("tensorboard") is None:
        raise UsageError(
            "run.tensorboard", expected="the package tensorboard", got="no such package",
            remedy=f"set it to false, or {how_to_install('train')}",
        )  # fmt: skip
    if run.checkpoint.exists() and not resume:
        remedy = "name another folder" + ("" if start else ", or add --resume")
        raise UsageError(str(run.folder), expected="an empty run folder", got="a checkpoint", remedy=remedy)


SINGLE_PROCESS = Processes()
_MOST_RENDER_THREADS = 12
_DIVERGED = 1e3  # losses are a few units; infinity and NaN fail the comparison too


@dataclass(frozen=True)
class Position:
    """The stage and learning rate of a step."""

    stage: Stage
    learning_rate: float


def position(stages: list[Stage], step: int) -> Position:
    """Return the stage of `step` and its learning rate: linear warm-up, cosine annealing."""
    for stage in stages:
        if step < stage.steps:
            warm = min(1.0, (step + 1) / stage.warmup_steps) if stage.warmup_steps else 1.0
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / stage.steps))
            rate = stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * cosine
            return Position(stage, rate * warm)
        step -= stage.steps
    return Position(stages[-1], stages[-1].final_learning_rate)


class Trainer:
    """A training run: network, optimiser, data and current step.

    Args:
        config: the configuration; the constructor reads and aligns the data.
        processes: the processes of the run.
        log: see `train`.
        origin: of the run, if it is recorded.

    Raises:
        InputError: if the initial weights do not suit the network.
        UsageError: if the device is missing, or the batch is no multiple of the number of processes.
    """

    def __init__(
        self,
        config: TrainingConfig,
        processes: Processes = SINGLE_PROCESS,
        log: Callable[[str], None] = lambda line: None,
        origin: Origin | None = None,
    ) -> None:
        self.config, self.step, self.processes = config, 0, processes
        self.origin = origin or Origin.of(config)
        self.narrator = Narrator(log if processes.first else lambda line: None, self.total_steps)
        self.inconsistent = False
        self._ahead: Ahead[list[RenderedPair]] | None = None
        if config.run.batch % processes.count:
            raise UsageError(
                "run.batch", expected=f"a multiple of the {processes.count} processes", got=str(config.run.batch),
                remedy="correct the number of pairs of a step",
            )  # fmt: skip
        if config.run.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device", expected="a CUDA device", got="none", remedy='set device = "cpu"')
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)
        self.device = torch.device(config.run.device)
        self.model = _initial_model(config, self.device)
        self.network = processes.wrap(self.model)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        cache = config.run.folder / "cache"
        with processes.first_process_first():  # the first process aligns; the others load the affines from the cache
            loaded = [self._load_cohort(cohort, cache) for cohort in config.data.cohorts]
        self.cohorts: list[list[Subject]] = [subjects for subjects, _ in loaded]
        self.monitored = [
            (subjects, val_pairs(cohort, config.data, subjects))
            for cohort, (_, subjects) in zip(config.data.cohorts, loaded, strict=True)
            if len(subjects) > 1
        ]
        self.profile: Profile | None = None
        if not config.data.by_content:
            training_images = [subject for cohort in self.cohorts for subject in cohort]
            self.profile = profile(training_images)

    def _load_cohort(self, cohort: Cohort, cache: Path) -> tuple[list[Subject], list[Subject]]:
        data, network, loss, progress = self.config.data, self.config.network, self.config.loss, self.narrator.prepared
        return load_cohort(cohort, data, cache, pool=network.pool, train_labels=loss.dice > 0, progress=progress)

    @property
    def total_steps(self) -> int:
        """Number of steps of all stages."""
        return sum(stage.steps for stage in self.config.stages)

    @property
    def _render_threads(self) -> int:
        """Threads that prepare pairs: a GPU waits for more than one."""
        return 1 if self.device.type == "cpu" else min(_MOST_RENDER_THREADS, max(usable_cores() - 1, 1))

    def run(self) -> Path:
        """Train to the end of the schedule, and return the path of the weights.

        An interruption writes a checkpoint, except during an optimiser step, whose weights are inconsistent.
        """
        run = self.config.run
        started, window = time.monotonic(), []
        journal = self._journal()
        images, monitored = (sum(map(len, cohorts)) for cohorts in (self.cohorts, [s for s, _ in self.monitored]))
        source = self.origin.start.source if self.origin.start else None
        self.narrator.begins(self.config.name, self.step, images, monitored, run.folder, source)
        self._ahead = Ahead(self._pairs, self.total_steps, self._render_threads)
        try:
            if self.step == 0 and source:
                self._monitor(journal)  # what the weights do before they are trained further
            while self.step < self.total_steps:
                window.append(self.train_step())
                self.step += 1
                self.inconsistent = False
                if self.step % run.log_steps == 0:
                    pace = {"seconds_per_step": (time.monotonic() - started) / run.log_steps}
                    values = {**_mean(window), **pace}
                    self._write(journal, "train", values)
                    self.narrator.trained(self.step, values)
                    started, window = time.monotonic(), []
                if self.step % run.checkpoint_steps == 0:
                    self._checkpoint()
                if self.step % run.validate_steps == 0 or self.step == self.total_steps:
                    self._monitor(journal)
        finally:
            self._ahead.close()
            if not self.inconsistent:
                self._checkpoint()
            if journal is not None:
                journal.close()
        self.processes.wait()
        weights = self.export()
        self.narrator.ends(weights, self.origin.command(weights), run.folder / REPORT)
        return weights

    def train_step(self) -> dict[str, float]:
        """Take one optimiser step. The batch depends only on seed and step, so that resuming changes nothing."""
        current = position(self.config.stages, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = current.learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        pairs = self._pairs(self.step) if self._ahead is None else self._ahead.take(self.step)
        parts = [self._backward(pair, current.stage, 1.0 / len(pairs), last=pair is pairs[-1]) for pair in pairs]
        norm = float(clip_grad_norm_(self.model.parameters(), current.stage.gradient_norm))
        if not math.isfinite(norm):
            raise InputError(
                f"step {self.step}", expected="finite gradients", got=str(norm),
                remedy="go on with --resume; if it fails again, lower the learning rate" + self._more_precise,
            )  # fmt: skip
        self.inconsistent = True
        self.optimiser.step()
        return {**_mean(parts), "gradient_norm": norm, "learning_rate": current.learning_rate}

    def _pairs(self, step: int) -> list[RenderedPair]:
        """Return the pairs of this process for a step."""
        run, compare = self.config.run, position(self.config.stages, step).stage.compare
        numbers = self.processes.own_indices(run.batch)
        return [self.batch(np.random.default_rng([run.seed, step, number]), compare) for number in numbers]

    @property
    def _more_precise(self) -> str:
        return ' or set precision = "f32"' if self.config.precision == "bf16" else ""

    def _backward(self, pair: RenderedPair, stage: Stage, fraction: float, *, last: bool) -> dict[str, float]:
        """Add the gradient of one pair; the backward pass of the last pair averages over all processes."""
        accumulate = isinstance(self.network, DistributedDataParallel) and not last
        with self.network.no_sync() if accumulate else nullcontext():  # type: ignore[operator]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                fields = [u.float() for u in self.network(*pair.seen, stage.finest)]
            loss, operations = stage.loss(self.config.loss), Operations.on(self.device)
            parts = objective(
                fields, pair.fixed, pair.moving, loss, stage.compare, operations, self.model.config.pool, pair.labels,
                pair.truth,
            )  # fmt: skip
            if not float(parts["loss"].detach()) < _DIVERGED:
                self.inconsistent = True  # no checkpoint of diverged weights
                raise InputError(
                    f"step {self.step}", expected="a loss that stays small", got=str(float(parts["loss"].detach())),
                    remedy="lower the learning rate, limit gradient_norm, or check the images",
                )  # fmt: skip
            (parts["loss"] * fraction).backward()  # type: ignore[no-untyped-call]
        return {name: float(value.detach()) for name, value in parts.items()}

    def batch(self, rng: np.random.Generator, compare: str = "full") -> RenderedPair:
        """Return a pair, with its label maps at the resolution of `compare` if `loss.dice` is above zero.

        A cohort is sampled with probability proportional to its number of images.
        """
        sizes = np.array([len(cohort) for cohort in self.cohorts], dtype=float)
        cohort = self.cohorts[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
        config = self.config
        pair = choose_pair(cohort, config.data.cohorts[0].within, rng)
        params = sample_augmentation(rng, config.augment)
        if params.known is not None:
            pair = (pair[0], pair[0])
        truth = known_displacement(params, config.data.shape)
        images = render(*pair, params, config.data, config.augment, truth)
        all_images = *images, *seen(images, params, config.network.pool)
        fixed, moving, *shown = (i[None, None].to(self.device) for i in all_images)
        return RenderedPair(
            fixed, moving, (shown[0], shown[1]), None if truth is None else truth[None].to(self.device),
            self._labels(pair, params, compare) if config.loss.dice > 0 else None,
        )  # fmt: skip

    def _labels(self, pair: tuple[Subject, Subject], params: AugmentationParams, compare: str) -> Labels:
        """Return the label maps of a pair, (1, K, d, h, w) each."""
        config = self.config
        blocks = config.network.pool if compare == "half" else (1, 1, 1)
        maps = render_labels(*pair, params, config.data, config.loss.structures, blocks)
        return maps[0][None].to(self.device), maps[1][None].to(self.device)

    def export(self) -> Path:
        """Write the fused weights to `NAME.safetensors` in the first process, and return the path."""
        path = self.config.run.folder / f"{self.config.name}.safetensors"
        if not self.processes.first:
            return path
        plain = self.model.fuse()
        write_weights(
            path, plain.plain_arrays(), name=self.config.name, config=plain.config,
            preparation=self.config.data.preparation, content=self.config.data.content, profile=self.profile,
            supervision="labels" if self.config.loss.dice > 0 else "none",
        )  # fmt: skip
        return path

    def _checkpoint(self) -> None:
        if self.processes.first:
            path = self.config.run.checkpoint
            save(path, self.config, self.model, self.optimiser, self.step)
            self.narrator.saved(self.step, path)

    def _journal(self) -> Journal | None:
        run = self.config.run
        return Journal(run.folder, tensorboard=run.tensorboard, step=self.step) if self.processes.first else None

    def _write(self, journal: Journal | None, group: str, values: dict[str, float]) -> None:
        if journal is not None:
            journal.write(self.step, group, values)

    def _monitor(self, journal: Journal | None) -> None:
        """Validate in the first process; the others continue until the gradients of the next step."""
        if journal is None:
            return
        weights = self.export()
        stage, groups = position(self.config.stages, self.step - 1).stage, list[Group]()
        finest = stage.finest if self.step else 0  # all levels of given weights are trained
        for name, subjects, pairs in watched_groups(self.cohorts, self.monitored, self.config.data):
            scores, pair = monitor(self.model, subjects, self.config.data, finest, pairs)
            self._write(journal, name, scores)
            self.narrator.monitored(self.step, scores, trained=name == TRAINED)
            journal.picture(self.step, f"fixed, moving, moved {len(groups)}", pair.picture)
            groups.append(Group.of(name, pairs, pair))
        images = sum(map(len, self.cohorts))
        state = State(self.config, self.origin, self.step, images, weights)
        write_report(state, groups, self.narrator.warn)


def _initial_model(config: TrainingConfig, device: torch.device) -> LightCRCF:
    model = LightCRCF(config.network).to(device)
    weights = starting_weights(config)
    if weights is not None:
        model.load_fused(weights.arrays)
    operations = Operations.on(device)
    model.warp, model.force = operations.warp, operations.force
    laid_out: LightCRCF = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return laid_out


def _mean(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([p[name] for p in parts])) for name in parts[0]}
