"""The page of a training run: curves, scores, pictures of a watched pair, and how to use the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lightcrcf.files import atomic_path
from lightcrcf.progress import format_duration
from lightcrcf.report.boxes import Row, Symbol
from lightcrcf.report.charts import Chart, Series
from lightcrcf.report.images import LARGEST_RATIO, RATIO_COLOURS
from lightcrcf.report.panels import KEYS, Deformation, Pictures
from lightcrcf.report.render import render
from lightcrcf.training.config import TrainingConfig
from lightcrcf.training.monitor import Watched
from lightcrcf.training.origin import Origin, Persons
from lightcrcf.training.report.log import TRAIN, Log
from lightcrcf.training.report.watched import TRAINED, Pair

__all__ = ["REPORT", "Group", "State", "write_report"]

REPORT = "report.html"

_RECENT = 20  # records of the log
_MOST_NAMES = 8
_NAMES = tuple(f"{key}1" for key in KEYS)
_SCORES = {
    "dice": ("Dice", "overlap of the labels, mean", max),
    "correlation": ("Local correlation", "squared, in windows of 7 voxels", max),
    "sdlogj": ("SDlogJ", "of the field: less is smoother", None),
    "folding_percent": ("Folding", "% of the voxels of the field", None),
}
_LOSSES = {
    "loss": ("Loss", "that is minimised: the parts below, weighted"),
    "similarity": ("Dissimilarity", "of fixed and moved image, summed over levels"),
    "regularity": ("Roughness", "of the field: mean squared differences of neighbours"),
    "folding": ("Folding penalty", "on negative volume ratios"),
    "dice": ("Label loss", "one minus mean Dice"),
    "gradient_norm": ("Norm of the gradient", "before it is limited"),
    "learning_rate": ("Learning rate", "of Adam"),
    "seconds_per_step": ("Seconds a step", "with all that lies between two records"),
}


@dataclass(frozen=True, eq=False)
class Group:
    """A group of pairs that validations score.

    Args:
        name: of the group in the log.
        who: sentence about its persons.
        pair: one of the pairs, registered by the present weights.
    """

    name: str
    who: str
    pair: Watched

    @classmethod
    def of(cls, name: str, pairs: Sequence[Pair], pair: Watched) -> Group:
        """Describe the persons of a group.

        Args:
            name: of the group in the log.
            pairs: (fixed, moving) that were registered.
            pair: the first one.
        """
        persons = sorted({subject.name for both in pairs for subject in both})
        shown = ", ".join(persons[:_MOST_NAMES]) + (", ..." if len(persons) > _MOST_NAMES else "")
        if name == TRAINED:
            return cls(name, f"Nobody is monitored. The scores are of {shown}, whom the network trains on.", pair)
        count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
        return cls(name, f"{count} of {len(persons)} persons whom the network does not train on: {shown}.", pair)


@dataclass(frozen=True, eq=False)
class State:
    """The present state of a run.

    Args:
        config: of the run.
        origin: its initial weights and persons.
        step: number of steps taken.
        images: number of training images.
        weights: file of the present weights.
    """

    config: TrainingConfig
    origin: Origin
    step: int
    images: int
    weights: Path

    @property
    def total(self) -> int:
        """Number of steps of all stages."""
        return sum(stage.steps for stage in self.config.stages)

    @property
    def stage_ends(self) -> list[int]:
        """Steps at which a stage ends and another one begins."""
        return [int(end) for end in np.cumsum([stage.steps for stage in self.config.stages])[:-1]]


def write_report(state: State, groups: Sequence[Group], warn: Callable[[str], None]) -> None:
    """Write the page of a run, whole or not at all; a failure is a warning, since the run must go on.

    Args:
        state: of the run.
        groups: what is monitored; the pair of the first one is shown.
        warn: prints a line.
    """
    path = state.config.run.folder / REPORT
    try:
        text = _page(path, state, groups)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except Exception as error:  # days of training are worth more than a page
        warn(f"warning: {path} was not written: {type(error).__name__}: {error}")


def _page(path: Path, state: State, groups: Sequence[Group]) -> str:
    log = Log.read(path.parent / "log.jsonl", state.step)
    pace = log.series(TRAIN, "seconds_per_step")[1][-_RECENT:]
    left = format_duration((state.total - state.step) * float(np.median(pace))) if len(pace) else ""
    pair = _PairPictures.of(groups[0])
    return render(
        "training.html",
        name=state.config.name,
        step=state.step,
        total=state.total,
        state="done" if state.step >= state.total else "running",
        left=left if state.step < state.total else "",
        facts=_facts(state, pace.tolist()),
        command=state.origin.command(state.weights),
        watched=[
            {
                "who": g.who,
                "rows": _rows(log, g.name),
                "notes": _notes(log, g.name, state),
                "charts": _score_charts(log, g.name, state),
            }
            for g in groups
        ],
        curves=_loss_charts(log, state),
        pair=pair,
        images=pair.images,
        symbols=pair.symbols,
        scale=RATIO_COLOURS,
        largest_ratio=f"{LARGEST_RATIO:g}",
        provenance=_provenance(state),
        cohorts=[{**vars(cohort), "names": _names(cohort)} for cohort in state.origin.cohorts],
        recipe=state.config.model_dump_json(indent=2, exclude_defaults=True),
    )


@dataclass(frozen=True, eq=False)
class _PairPictures:
    """Pictures of a watched pair."""

    who: str
    images: dict[str, str]
    symbols: list[Symbol]
    rows: list[Row]
    deformation: Deformation

    @classmethod
    def of(cls, group: Group) -> _PairPictures:
        """Draw the pair of a group on three planes."""
        pictures, field = Pictures(group.pair, 3), group.pair.chain.field
        if field is None:
            raise ValueError("a watched pair without a field")
        deformation, planes = Deformation.of(field, pictures), pictures.middles
        shown = {f"{name}-{kind}" for name in _NAMES for kind in ("fixed", "affine", "moved")}
        aligned = not np.array_equal(group.pair.chain.after.matrix, np.eye(4))
        before = "after affine alignment" if aligned else "as given"
        rows = [
            Row.of(_NAMES, planes, "fixed", outlines=_NAMES, caption="fixed"),
            Row.of(_NAMES, planes, "affine", outlines=_NAMES, caption=f"moving, {before}"),
            Row.of(_NAMES, planes, "moved", outlines=_NAMES, caption="moved by the network"),
            Row.of(_NAMES, planes, "fixed", "affine difference", caption=f"difference, {before}"),
            Row.of(_NAMES, planes, "fixed", "moved difference", caption="difference, after the network"),
        ]
        images = {name: uri for name, uri in pictures.images.items() if name in shown} | deformation.images
        symbols = [symbol for symbol in pictures.symbols if symbol.name in _NAMES] + deformation.symbols
        fixed, moving = group.pair.names
        who = f"{moving} onto {fixed}." if fixed != moving else f"Two images of {fixed}."
        return cls(who, images, symbols, rows, deformation)


def _facts(state: State, pace: list[float]) -> list[tuple[str, str]]:
    persons = sum(len(cohort.train) for cohort in state.origin.cohorts)
    network = state.config.variant
    rows = [
        ("starts from", str(state.origin.start or "random weights")),
        ("trains on", f"{persons} persons, {state.images} images"),
        ("network", f"{network}, working grid {_spacing(state.config)}"),
        ("supervision", "labels" if state.config.loss.dice > 0 else "none; labels, if any, are used to monitor only"),
    ]
    return rows + (
        [("speed", f"{float(np.median(pace)):.3g} s a step, median of the last {len(pace)} records")] if pace else []
    )


def _spacing(config: TrainingConfig) -> str:
    spacing = config.data.preparation.spacing_mm
    return "of the images' voxels" if spacing is None else "x".join(f"{s:g}" for s in spacing) + " mm"


def _rows(log: Log, group: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, (title, _, best) in _SCORES.items():
        values = log.series(group, name)[1]
        if len(values):
            affine = log.series(group, f"{name}_affine")[1]
            cells = [affine[-1] if len(affine) else None, values[0], best and best(values), values[-1]]
            rows.append({"name": title, "cells": ["" if cell is None else f"{cell:.4f}" for cell in cells]})
    return rows


def _notes(log: Log, group: str, state: State) -> list[str]:
    """Return a sentence for each comparison that speaks against the present weights."""
    name = next((name for name in ("dice", "correlation") if len(log.series(group, name)[1])), None)
    if name is None:
        return []
    values, affine, title = log.series(group, name)[1], log.series(group, f"{name}_affine")[1], _SCORES[name][0]
    notes = [f"{title} is lower than before the network."] if len(affine) and values[-1] < affine[-1] else []
    started = state.origin.start is not None and values[-1] < values[0]
    return notes + ([f"{title} is lower than that of the initial weights."] if started else [])


def _score_charts(log: Log, group: str, state: State) -> list[Chart]:
    charts = []
    for name, (title, meaning, _) in _SCORES.items():
        series = [Series("before", *log.series(group, f"{name}_affine"), kind="dashed")]
        series.append(Series(title, *log.series(group, name), dotted=True))
        if len(series[1].steps):
            dashed = "; dashed: before the network" if len(series[0].steps) else ""
            charts.append(
                _chart(title, meaning + dashed, series, state, from_zero=name in ("sdlogj", "folding_percent"))
            )
    return charts


def _loss_charts(log: Log, state: State) -> list[Chart]:
    charts = []
    for name, (title, meaning) in _LOSSES.items():
        steps, values = log.series(TRAIN, name)
        if not len(values) or not np.any(values):
            continue
        raw, from_zero = Series(title, steps, values, kind="faint"), name in ("learning_rate", "seconds_per_step")
        series = [Series(title, steps, values)] if name == "learning_rate" else [raw, raw.averaged(f"{title}, mean")]
        charts.append(_chart(title, meaning, series, state, from_zero=from_zero))
    return charts


def _chart(title: str, meaning: str, series: list[Series], state: State, *, from_zero: bool) -> Chart:
    marks = [end for end in state.stage_ends if end <= state.step]
    return Chart(title, meaning, series, state.step, marks, from_zero)


def _provenance(state: State) -> list[tuple[str, str]]:
    run, start = state.config.run, state.origin.start
    rows = [
        ("written", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
        ("LightCRCF", version("lightcrcf")),
        ("PyTorch", version("torch")),
        ("device, precision", f"{run.device}, {state.config.precision}"),
        ("seed", str(run.seed)),
        ("folder", str(run.folder)),
    ]
    return rows + ([("SHA-256 of the initial weights", start.sha256)] if start else [])


def _names(cohort: Persons) -> list[tuple[str, str]]:
    parts = {"atlases": cohort.atlases, "train": cohort.train, "monitor": cohort.monitor, "test": cohort.test}
    return [(name, ", ".join(persons)) for name, persons in parts.items() if persons]
