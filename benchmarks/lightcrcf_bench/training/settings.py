r"""Ablation of the refinement: one setting changed at a time, on the validation subjects of a recipe.

    python -m lightcrcf_bench.training.settings --recipe recipes/brain-t1.toml \
        --out benchmarks/history/DATE-brain-t1-settings.json

Watched persons are of the training split, but the network was not trained on them. Held-out ones are not looked at, so
that settings may be chosen by these tables.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.align import align
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.engines.base import open_engine
from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import label_codes
from lightcrcf.evaluation.metrics import dice, folding_percent
from lightcrcf.files import write_json
from lightcrcf.geometry.threads import use_threads
from lightcrcf.refinement.refine import refine
from lightcrcf.refinement.schedule import Level, Plan, plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.template_path import register_via_template
from lightcrcf.run_record.environment import usable_cores
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, read
from lightcrcf.weights.preparation import Preparation
from lightcrcf.weights.store import Weights, load
from lightcrcf_bench.measure import plain_header
from lightcrcf_bench.publish.markdown import table

if TYPE_CHECKING:
    from lightcrcf.training.datasets.listing import Pair

__all__ = ["FORMAT", "SETTINGS", "Ready", "main", "measure_settings", "plans_of", "settings_text"]

FORMAT, SETTINGS = "lightcrcf-settings", "-settings"
PROTOCOL = (
    "Each watched person is fixed once, the next one moving, or both frames of one. Each pair is aligned affinely "
    "once, or not if it shares a frame; every row then refines it anew, changing the row named default in the way that "
    "is named; that is the short refinement, on grids of every size. Mean Dice over the structures that both have, "
    "then over pairs; labels are moved by nearest neighbour. A way by the model's template is found once too, and its "
    "seconds count in no row."
)
Float32 = NDArray[np.float32]
_BASE = "default"


@dataclass(frozen=True, eq=False)
class Ready:
    """A pair that every setting refines.

    Args:
        pair: on the working grid.
        network: displacement of the network, (3, d, h, w).
        fixed_labels, moving_labels: manual.
        via_template: displacement via the model's template, (3, d, h, w), if it has one.
    """

    pair: WorkingPair
    network: Float32
    fixed_labels: Volume
    moving_labels: Volume
    via_template: Float32 | None = None


def plans_of(preparation: Preparation, *, template: bool = False) -> dict[str, Plan]:
    """Return the compared plans by name: presets, other initial fields, and single changes of the default.

    The default is the short refinement here, on grids of every size, so that both are measured. A model that is not
    refined is compared with what refining it would be.

    Args:
        preparation: of the model.
        template: whether the model has one.

    Example:
        >>> plans = plans_of(Preparation((1.0, 1.0, 1.0)))
        >>> plans["window 7 instead of 5 voxels"].schedule[-1].radius
        3
    """
    refined = replace(preparation, refinement_init="network") if preparation.refinement_init == "none" else preparation
    base, long = plan("default", refined), plan("accurate", refined, template=template)
    full = base.schedule[-1]
    plans = {
        "affine alone": Plan((), False),
        "network alone": Plan((), True),
        _BASE: base,
        "accurate": long,
        "accurate, not by the template": replace(long, template=False),
        "accurate, one candidate": _at_all_levels(long, bidirectional=False, alternative_sigmas=None),
        "accurate, forward only": _at_all_levels(long, bidirectional=False),
        "accurate, no alternative smoothing": _at_all_levels(long, alternative_sigmas=None),
        "from the identity": replace(base, network=False),
        "from the identity, accurate": replace(long, network=False),
        "from the network's field": replace(base, network=True),
        "from the network's field, accurate": replace(long, network=True),
        "the network's own field, full resolution only": Plan((full,), True),
        "up to half resolution only": replace(base, schedule=base.schedule[:-1]),
    }
    for name, change in _changes(full).items():
        plans[name] = replace(base, schedule=(*base.schedule[:-1], replace(full, **change)))
    everywhere: dict[str, dict[str, Any]] = {"no momentum": {"momentum": 0.0}}
    if full.metric == "lncc":
        everywhere |= {"intensities alone": {"contrast": 0.0}, "local contrast everywhere": {"contrast": 1.0}}
    for name, change in everywhere.items():
        plans[name] = _at_all_levels(base, **change)
    same = [name for name, each in plans.items() if name not in (_BASE, "accurate") and each in (base, long)]
    return {name: each for name, each in plans.items() if name not in same}


def _at_all_levels(each: Plan, **change: Any) -> Plan:
    return replace(each, schedule=tuple(replace(level, **change) for level in each.schedule))


def _changes(full: Level) -> dict[str, dict[str, Any]]:
    """Return single changes of the last level, at full resolution."""
    width = 2 * full.radius + 1
    changes: dict[str, dict[str, Any]] = {}
    if full.metric == "lncc":
        windows = (full.radius - 1, full.radius + 1)
        changes = {f"window {2 * n + 1} instead of {width} voxels": {"radius": n} for n in windows}
    for name, field, values in (
        ("forces smoothed by", "force_sigma", (0.8, 1.2, 1.8, 3.0)),
        ("field smoothed by", "field_sigma", (0.3, 0.5, 0.9)),
        ("steps in voxels of", "step", (0.25, 0.5, 1.0)),
        ("full steps from forces of", "force", (0.0, 0.075, 0.3)),
        ("volumes evened out by", "volume", (0.0, 0.3, 1.2)),
    ):
        now = getattr(full, field)
        changes |= {f"{name} {value} instead of {now}": {field: value} for value in values if value != now}
    return changes


def measure_settings(
    pairs: Sequence[Pair], weights: Weights, threads: int, log: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Return a row for each setting: Dice, folding and seconds of each pair.

    Args:
        pairs: with labels, fixed and moving.
        weights: of the model.
        threads: of everything.
        log: called with a line for each pair.

    Raises:
        InputError: if a file cannot be used.
    """
    plans = plans_of(weights.preparation, template=weights.template is not None)
    rows: dict[str, dict[str, Any]] = {
        name: {"setting": name, "dice": [], "folding_percent": [], "seconds": []} for name in plans
    }
    with use_threads(threads):
        for fixed, moving in pairs:
            ready = _ready((fixed, moving), weights, threads)
            for name, each in plans.items():
                began = time.perf_counter()
                field = _refined(ready, each)
                rows[name]["seconds"].append(round(time.perf_counter() - began, 3))
                rows[name]["dice"].append(round(_dice(ready, field), 5))
                rows[name]["folding_percent"].append(0.0 if field is None else round(folding_percent(field), 6))
            log(f"{_name(fixed)} <- {_name(moving)}: {rows['affine alone']['dice'][-1]}, {rows[_BASE]['dice'][-1]}")
    return list(rows.values())


def _ready(pair: Pair, weights: Weights, threads: int) -> Ready:
    fixed, moving = (read(scan.image) for scan in pair)
    labels = [read(scan.labels) for scan in pair if scan.labels is not None]
    if len(labels) < 2:
        raise InputError(
            _name(pair[0]), expected="labels of both persons", got="none", remedy="name them in the recipe"
        )
    affine = align(fixed, moving).affine if weights.preparation.align else Affine.identity()
    working = WorkingPair.prepare(fixed, moving, (None, None), affine, weights, RegistrationCache())
    engine = open_engine(weights, threads=threads)
    network, chosen = engine.displacement(working.fixed, working.moving), plan("accurate", weights.preparation)
    via_template = None
    if weights.template is not None:
        images = (fixed, None), (moving, None)
        via_template = register_via_template(
            working, images, weights, engine if chosen.network else None, chosen, RegistrationCache()
        )
    return Ready(working, network, labels[0], labels[1], via_template)


def _refined(ready: Ready, chosen: Plan) -> Float32 | None:
    start, pair = ready.network if chosen.network else None, ready.pair
    if not chosen.schedule:
        return start
    template_field = ready.via_template if chosen.template else None
    refined = refine(
        pair.fixed,
        pair.moving,
        start,
        schedule=chosen.schedule,
        pool=pair.pool,
        masked=pair.masked,
        template_field=template_field,
    )
    return refined.displacement


def _dice(ready: Ready, displacement: Float32 | None) -> float:
    fixed, moving = ready.fixed_labels, ready.moving_labels
    field = None if displacement is None else ready.pair.on_fixed(displacement, fixed.grid)
    moved = Chain(Affine.identity(), field, ready.pair.affine).resample(moving, fixed.grid, "nearest").data
    common = np.intersect1d(label_codes(fixed.data), label_codes(moving.data)).tolist()
    return float(np.nanmean(list(dice(fixed.data, moved, common).values())))


def settings_text(record: Mapping[str, Any]) -> str:
    """Return a row for each setting, against the default pair by pair."""
    rows, base = [], next(row for row in record["rows"] if row["setting"] == _BASE)
    for row in record["rows"]:
        apart = [a - b for a, b in zip(row["dice"], base["dice"], strict=True)]
        rows.append(
            (
                row["setting"],
                f"{mean(row['dice']):.4f}",
                f"{mean(apart):+.4f}" if row is not base else "",
                f"{min(apart):+.4f}, {max(apart):+.4f}" if row is not base else "",
                f"{mean(row['folding_percent']):.4f}",
                f"{median(row['seconds']):.1f}",
            )
        )
    header = ("setting", "Dice", "against default", "lowest and highest difference", "folding, %", "refining, s")
    where = record["machine"]
    note = (
        f"- {record['model']}, {len(base['dice'])} pairs. {record['protocol']} Seconds of the refinement alone, "
        f"median; {where['cpu']}, {record['threads']} threads, {record['measured']}"
    )
    return "\n".join([*table(header, rows), "", f"{note}{'; ' if record['note'] else ''}{record['note']}."])


def _watched(recipe: Path) -> list[Pair]:
    """Return the pairs of persons that a recipe watches."""
    from lightcrcf.training.config import load_config

    data = load_config(recipe).data
    pairs: list[Pair] = []
    for cohort in data.cohorts:
        listing = cohort.listing(data.root)
        scans = listing.of(listing.val)
        pairs += listing.pairs("val") if cohort.within else list(zip(scans, [*scans[1:], *scans[:1]], strict=True))
    return pairs


def _name(scan: Any) -> str:
    return str(scan.image.name.partition(".")[0])


def main(arguments: Sequence[str] | None = None, log: Callable[[str], None] = print) -> int:
    """Measure and write the record; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--recipe", type=Path, required=True, help="training configuration with watched persons")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", help="[default: named as the recipe]")
    parser.add_argument("--pairs", type=int, help="at most so many")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--note", default="", help="what else the machine did")
    options = parser.parse_args(arguments)
    fewer = f"--pairs {options.pairs} " if options.pairs else ""
    weights, pairs = load(options.model or options.recipe.stem), _watched(options.recipe)[: options.pairs]
    record = {
        **plain_header(FORMAT),
        "model": weights.name,
        "protocol": PROTOCOL,
        "commands": [
            f"python -m lightcrcf_bench.training.settings --recipe recipes/{options.recipe.name} {fewer}"
            f"--out benchmarks/history/DATE-{options.recipe.stem}{SETTINGS}.json"
        ],
        "note": options.note,
        "threads": options.threads,
        "pairs": [[_name(fixed), _name(moving)] for fixed, moving in pairs],
        "rows": measure_settings(pairs, weights, options.threads, log),
    }
    write_json(options.out, record)
    log(settings_text(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
