"""`lightcrcf bench ablation`: one recipe trained with variants of the network and several seeds.

Every run is one training of the recipe's schedule, shortened, and is judged as training judges itself: by the mean
Dice of the recipe's watched persons, with the network alone. Held-out persons are not looked at. Runs that `work`
already holds are not repeated, so that a long comparison can be made in parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightcrcf.errors import InputError, UsageError
from lightcrcf.network.config import VARIANTS, NetworkConfig, multiply_adds, tensor_shapes
from lightcrcf_bench.measure import circumstances
from lightcrcf_bench.records.ablation import AblationRecord, AblationRun

if TYPE_CHECKING:
    from lightcrcf.training.config import Stage, TrainingConfig

__all__ = ["measure_ablation", "shortened", "variants_like"]

PROTOCOL = (
    "Each run trains the recipe's schedule, shortened evenly; seeds change weights, pairs and augmentation. Mean Dice "
    "over labels, then over the recipe's watched pairs, which are not trained on, of the network alone."
)


def measure_ablation(
    recipe: Path,
    work: Path,
    *,
    variants: Sequence[str] = (),
    seeds: int = 3,
    steps: int | None = None,
    note: str = "",
    log: Callable[[str], None] = print,
) -> AblationRecord:
    """Train every variant with every seed.

    Args:
        recipe: TOML training configuration, with validation subjects.
        work: folder of the runs; finished ones are reused, interrupted ones resumed.
        variants: as in `variants_like` of the recipe's; all by default.
        seeds: of each variant: 0, 1, ...
        steps: of each run; the recipe's by default.
        note: what else the machine did.
        log: called with a line for each run.

    Raises:
        InputError: for a bad recipe, one without watched persons or one that starts from a model, or bad data.
        UsageError: for a variant that does not suit the recipe.
    """
    from lightcrcf.training.config import load_config

    config = load_config(recipe)
    known = variants_like(config.variant)
    _check(recipe, config, variants, known)
    total = sum(stage.steps for stage in config.stages)
    stages = shortened(config.stages, steps or total)
    runs = []
    for seed in range(seeds):
        for name in variants or known:
            run = _run(config, known[name], name, seed, stages, work)
            runs.append(run)
            scores = f"Dice {run.dice:.4f}, SDlogJ {run.sdlogj:.3f}, folding {run.folding_percent:.4f} %"
            log(f"{name}, seed {seed}: {scores}")
    chosen = f" --variants {','.join(variants)}" if variants else ""
    return AblationRecord(
        name=f"{config.name}-ablation",
        **circumstances(),
        protocol=PROTOCOL,
        commands=(
            f"lightcrcf bench ablation --recipe recipes/{recipe.name} --steps {steps or total} --seeds {seeds}{chosen} "
            f"--out benchmarks/history/DATE-{config.name}-ablation.json",
        ),
        note=note,
        steps=sum(stage.steps for stage in stages),
        recipe_steps=total,
        runs=tuple(sorted(runs, key=lambda run: (list(known).index(run.variant), run.seed))),
    )


def _check(recipe: Path, config: TrainingConfig, variants: Sequence[str], known: Mapping[str, str]) -> None:
    """Check that the variants are known, and that the recipe compares networks fairly."""
    for name in variants:
        if name not in known:
            raise UsageError("--variants", expected=f"some of {', '.join(known)}", got=name, remedy="correct the name")
    if config.start is not None or not any(cohort.monitor for cohort in config.data.cohorts):
        raise InputError(
            str(recipe), expected="a recipe that starts from nothing and has monitor subjects", got="another",
            remedy="use one that compares networks fairly",
        )  # fmt: skip


def variants_like(variant: str) -> dict[str, str]:
    """Return the variants with the downsampling factors of `variant`: short names, and those in `VARIANTS`.

    Example:
        >>> variants_like("thick-slices")["no-tarep"]
        'thick-slices-no-tarep'
    """
    pool = VARIANTS[variant].pool
    alike = [name for name, network in VARIANTS.items() if network.pool == pool]
    short = {name: name.removeprefix("thick-slices").removeprefix("-") or "default" for name in alike}
    return {short[name]: name for name in sorted(alike, key=lambda name: short[name] != "default")}


def shortened(stages: Sequence[Stage], steps: int) -> list[Stage]:
    """Return the stages with `steps` in all, shared out as before; warming up is shortened too.

    Raises:
        UsageError: if some stage would be left without a step.
    """
    total, ends, done = sum(stage.steps for stage in stages), [], 0
    for stage in stages:
        done += stage.steps
        ends.append(round(done * steps / total))
    counts = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    if min(counts) < 1:
        raise UsageError("--steps", expected=f"enough for {len(stages)} stages", got=str(steps), remedy="raise it")
    return [
        stage.model_copy(update={"steps": count, "warmup_steps": round(stage.warmup_steps * count / stage.steps)})
        for stage, count in zip(stages, counts, strict=True)
    ]


def _run(
    config: TrainingConfig, variant: str, short: str, seed: int, stages: Sequence[Stage], work: Path
) -> AblationRun:
    from lightcrcf.network.model import LightCRCF
    from lightcrcf.training.loop import train

    steps = sum(stage.steps for stage in stages)
    folder = work / f"{config.name}-{short}-{seed}-{steps}"
    run = config.run.model_copy(update={"folder": folder, "seed": seed, "tensorboard": False, "validate_steps": steps})
    mine = config.model_copy(update={"variant": variant, "stages": list(stages), "run": run})
    log = folder / "log.jsonl"
    if not (log.exists() and "monitor" in _last(log)):
        _share_affines(work / "cache", folder / "cache")
        train(mine, resume=True)
    network: NetworkConfig = VARIANTS[variant]
    scores = _last(log)["monitor"]
    paces = [entry["seconds_per_step"] for entry in _entries(log) if "seconds_per_step" in entry]
    return AblationRun(
        variant=short,
        seed=seed,
        dice=round(scores["dice"], 5),
        dice_affine=round(scores["dice_affine"], 5),
        folding_percent=round(scores["folding_percent"], 6),
        sdlogj=round(scores["sdlogj"], 5),
        parameters=sum(prod(shape) for shape in tensor_shapes(network).values()),
        parameters_training=sum(parameter.numel() for parameter in LightCRCF(network).parameters()),
        gmac=round(multiply_adds(network, config.data.shape) / 1e9, 3),
        seconds_per_step=round(sorted(paces)[len(paces) // 2], 4) if paces else None,
    )


def _share_affines(common: Path, own: Path) -> None:
    """Keep the affines of all runs in one place, since they align the same images."""
    common.mkdir(parents=True, exist_ok=True)
    own.parent.mkdir(exist_ok=True)
    if not own.exists():
        own.symlink_to(common.resolve(), target_is_directory=True)


def _entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def _last(log: Path) -> dict[str, Any]:
    return (_entries(log) or [{}])[-1]
