"""Registration from end to end: two volumes in, a transform and the moved volume out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine, check_engine
from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.threads import use_threads
from lightcrcf.pipeline import quality
from lightcrcf.pipeline import refine as refinement_stage
from lightcrcf.pipeline.affine import Alignment, align
from lightcrcf.pipeline.affine_images import finest_samples
from lightcrcf.pipeline.foreground import Content, content
from lightcrcf.pipeline.inspection import inspect
from lightcrcf.pipeline.label_care import check_fixed_labels, label_record, warnings_of
from lightcrcf.pipeline.memory import Demand, check_demand, share_arenas
from lightcrcf.pipeline.models import Choice, choose_model
from lightcrcf.pipeline.pair import WorkingPair
from lightcrcf.pipeline.provenance import Stopwatch, provenance
from lightcrcf.pipeline.refine import Refined
from lightcrcf.pipeline.schedule import PRESETS, Plan, plan
from lightcrcf.pipeline.shared import Shared
from lightcrcf.pipeline.sources import named_options, named_sources
from lightcrcf.pipeline.unfolding import inverse_metrics, unfolded
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.itk import read_affine
from lightcrcf.volumes import Volume, check_same_grid, check_usable
from lightcrcf.weights.store import Weights

__all__ = ["Registration", "register"]

Progress = Callable[[str, float], None]
PathLike = str | os.PathLike[str]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Registration:
    """What a registration found.

    Args:
        fixed, moving: the volumes as they were read.
        moved: the moving volume on the fixed grid, interpolated once.
        transform: fixed points to moving points; resamples the moving volume.
        inverse: moving points to fixed points, if asked for.
        moved_labels, also: label maps and further images moved along, by source.
        metrics: numbers about the result; see `quality.Evidence`.
        qc: {"verdict": "pass" | "check" | "fail", "reasons": [...]}.
        provenance: everything that `run.json` holds.
    """

    fixed: Volume
    moving: Volume
    moved: Volume
    transform: Chain
    inverse: Chain | None
    moved_labels: dict[str, Volume]
    also: dict[str, Volume]
    metrics: dict[str, Any]
    qc: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Inputs:
    fixed: Volume
    moving: Volume
    fixed_mask: Volume | None
    moving_mask: Volume | None
    labels: list[Volume]
    fixed_labels: Volume | None
    also: list[Volume]


def register(
    fixed: Any,
    moving: Any,
    *,
    model: PathLike = "auto",
    init: PathLike = "auto",
    preset: str = "default",
    refine: int | None = None,
    fixed_mask: Any = None,
    moving_mask: Any = None,
    moving_labels: Sequence[Any] = (),
    fixed_labels: Any = None,
    also: Sequence[Any] = (),
    diffeomorphic: bool = False,
    inverse: bool = False,
    engine: Literal["auto", "openvino", "torch"] = "auto",
    coarsen: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["auto", "f32", "bf16"] = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    shared: Shared | None = None,
) -> Registration:
    """Align `moving` with `fixed`.

    Args:
        fixed, moving: a path, a nibabel or SimpleITK image, (array, affine) or a Volume.
        model: "auto", the name of a shipped model, a .safetensors file, or "none" to refine from coarse to fine
            with no network.
        init: "auto" aligns affinely, "none" trusts the headers, anything else is an ITK affine file.
        preset: "fast", the network alone; "default", some seconds of refinement; "accurate", as long as it helps.
            Each model says from where its refinement starts; see `weights.preparation.Preparation`.
            Without a model "fast" is affine only.
        refine: steps at full resolution, instead of the preset's.
        fixed_mask, moving_mask: 0 where voxels must not count, such as in lesions, on the grid of their image: in the
            affine alignment, the refinement and quality control. The network sees whole images.
        moving_labels: label maps of the moving image, moved by nearest neighbour.
        fixed_labels: labels of the fixed image, on its grid, with which the moved ones are compared in the record;
            they do not steer the registration.
        also: further images of the moving subject; integer label maps by nearest neighbour, others linearly.
        diffeomorphic: change the field, as little as possible, so that it folds nowhere.
        inverse: also invert the transform.
        coarsen: how many times larger than usual the voxels of the working grid are along each axis, where memory or
            time are short.
        engine, device, precision, threads: how to run the network.
        progress: called with the name of each stage and the fraction done.
        shared: what earlier registrations in this thread left for those after them.

    Raises:
        UsageError: for options that do not fit together.
        InputError: for volumes that cannot be used.

    Example:
        >>> import lightcrcf
        >>> lightcrcf.register("fixed.nii.gz", "moving.nii.gz").qc["verdict"]  # doctest: +SKIP
        'pass'
    """
    share_arenas()
    _check_options(preset, refine, coarsen)
    check_engine(engine, device, precision, threads)  # also where this pair will need none
    options = {
        "model": os.fspath(model), "init": os.fspath(init), "preset": preset, "refine": refine,
        "diffeomorphic": diffeomorphic, "inverse": inverse, "coarsen": coarsen, "engine": engine, "device": device,
        "precision": precision, "threads": threads,
    }  # fmt: skip
    watch = Stopwatch(progress or (lambda stage, fraction: None))
    alone, shared = shared is None, shared or Shared()
    with use_threads(threads):
        with watch.stage("read", 0.0):
            inputs = _read(shared, fixed, moving, fixed_mask, moving_mask, moving_labels, fixed_labels, also)
            sources = named_sources(
                [
                    ("fixed", fixed), ("moving", moving), ("fixed_mask", fixed_mask), ("moving_mask", moving_mask),
                    ("fixed_labels", fixed_labels), *(("moving_labels", item) for item in moving_labels),
                    *(("also", item) for item in also),
                ]
            )  # fmt: skip
        with watch.stage("choose model", 0.1):
            contents = _content(shared, inputs.fixed), _content(shared, inputs.moving)
            choice = choose_model(model, contents, (inputs.fixed.grid, inputs.moving.grid))
            alike = contents[0].kind == contents[1].kind
            refinement = _plan(choice, preset, refine, alike)
            choice = _explained(choice, refinement)
            demand = _demand(inputs, choice, refinement, shared, coarsen)
            searched = finest_samples((inputs.fixed, inputs.moving), contents) if _init(init, choice) == "auto" else 0
            demand = replace(demand, inverse=inverse, diffeomorphic=diffeomorphic, kept=not alone, affine=searched)
            check_demand(inputs.fixed.source, demand)
        with ThreadPoolExecutor(1) as background:
            # The network's graphs are built while the affine runs.
            weights = choice.weights if refinement.network else None
            opening = _open(background, shared, weights, engine, device, precision, threads)
            with watch.stage("affine", 0.15):
                affine, alignment = _initial_affine(_init(init, choice), inputs)
                sources += named_sources(named_options(model, init))  # both files were read, so they are there
            with watch.stage("prepare", 0.4):
                masks = inputs.fixed_mask, inputs.moving_mask
                pair = WorkingPair.prepare(inputs.fixed, inputs.moving, masks, affine, choice.weights, shared, coarsen)
            with watch.stage("load network", 0.5):
                network = opening.result() if opening else None
        with watch.stage("network", 0.55):
            displacement = None if network is None else network.displacement(pair.fixed, pair.moving)
            if network is not None and alone:
                network.release()
        with watch.stage("refine", 0.6):
            refined = _refined(pair, displacement, refinement)
            displacement = refined.displacement if refined else displacement
        with watch.stage("field", 0.7):
            field = None if displacement is None else pair.on_fixed(displacement, inputs.fixed.grid)
        with watch.stage("diffeomorphic", 0.72):
            field, unfolding = unfolded(field) if diffeomorphic and field is not None else (field, None)
            chain = Chain(Affine.identity(), field, affine)
        with watch.stage("resample", 0.75):
            moved = _resampled(chain, inputs.moving, inputs.fixed, "linear")
            labels = _named((v.source, _resampled(chain, v, inputs.fixed, "nearest")) for v in inputs.labels)
            others = _named((v.source, _resampled(chain, v, inputs.fixed, "auto")) for v in inputs.also)
        with watch.stage("inverse", 0.85):
            backward = chain.inverse() if inverse else None
        with watch.stage("quality", 0.9):
            overlap = quality.overlap if alike else quality.containment
            evidence = inspect(pair, displacement, overlap, choice.mismatch)
            evidence.shape_of(affine)
            told = [
                label_record(v, labels_moved, affine, inputs.fixed_labels)
                for v, labels_moved in zip(inputs.labels, labels.values(), strict=True)
            ]
            evidence.labels = warnings_of(told)
            if unfolding is not None:
                evidence.folding_percent = unfolding["folded_percent"]
            metrics = {**evidence.figures(), **inverse_metrics(chain, backward)}
            qc = quality.verdict(evidence, choice.weights.name if choice.weights else None)
    record = provenance(
        inputs.fixed, inputs.moving, options, contents, choice, affine, alignment, pair.grid, pair.images, field, watch,
        metrics, qc, engine=None if network is None else _engine(network),
    )  # fmt: skip
    record["refinement"] = None if refined is None else refined.record(refinement)
    record["diffeomorphic"] = unfolding
    record["estimated_memory_mb"] = round(demand.bytes / 2**20, 1)
    record["sources"], record["labels"] = sources, told
    return Registration(inputs.fixed, inputs.moving, moved, chain, backward, labels, others, metrics, qc, record)


def _engine(network: Engine) -> dict[str, str]:
    return {"name": network.name, "device": network.device, "precision": network.precision}


def _demand(inputs: _Inputs, choice: Choice, refinement: Plan, shared: Shared, coarsen: int) -> Demand:
    given = (inputs.fixed, inputs.moving, inputs.fixed_mask, inputs.moving_mask, *inputs.labels, *inputs.also)
    return Demand(
        tuple(volume for volume in given if volume is not None),
        inputs.fixed.grid,
        WorkingPair.grid_of(inputs.fixed, choice.weights, shared, coarsen),
        network=choice.weights is not None and refinement.network,
        refinement=bool(refinement.schedule),
    )


def _check_options(preset: str, refine: int | None, coarsen: int) -> None:
    if preset not in PRESETS:
        raise UsageError("preset", expected=f"one of {', '.join(PRESETS)}", got=str(preset), remedy="correct the name")
    if coarsen < 1:
        raise UsageError("coarsen", expected="1 or more", got=str(coarsen), remedy="correct the number")
    if refine is not None and refine < 0:
        raise UsageError("refine", expected="a number of steps", got=str(refine), remedy="correct the number")


def _plan(choice: Choice, preset: str, steps: int | None, alike: bool) -> Plan:
    weights = choice.weights
    if choice.mismatch and weights is None and not alike:
        return Plan((), False)  # A whole head would be squeezed into the brain that is all of the other image.
    return plan(preset, weights.preparation if weights else None, steps=steps)


def _explained(choice: Choice, refinement: Plan) -> Choice:
    """Without a network, add what is done instead."""
    if choice.weights is not None:
        return choice
    instead = "refined from coarse to fine without a network" if refinement.schedule else "the result is affine only"
    reason = f"{choice.reason}; {instead}"
    return Choice(None, reason, (reason,) if choice.mismatch else ())


def _refined(pair: WorkingPair, displacement: Float32 | None, refinement: Plan) -> Refined | None:
    if not refinement.schedule:
        return None
    masks: dict[str, Any] = {"fixed_mask": pair.fixed_mask, "moving_mask": pair.moving_mask}
    schedule = refinement.schedule
    return refinement_stage.refine(pair.fixed, pair.moving, displacement, schedule=schedule, pool=pair.pool, **masks)


def _read(
    shared: Shared,
    fixed: Any,
    moving: Any,
    fixed_mask: Any,
    moving_mask: Any,
    labels: Any,
    fixed_labels: Any,
    also: Any,
) -> _Inputs:
    """All inputs, at once: gzip and the disk leave the other core idle."""
    wanted = [fixed, moving, fixed_mask, moving_mask, fixed_labels, *labels, *also]
    with ThreadPoolExecutor(2) as readers:
        volumes = list(readers.map(lambda item: None if item is None else shared.volume(item), wanted))
    images = [v for v in volumes[:2] if v is not None]
    if len(images) < 2:
        raise InputError("volume", expected="a fixed and a moving volume", got="None", remedy="give both")
    check_usable(images[0], "fixed")
    check_usable(images[1], "moving")
    for mask, image in zip(volumes[2:4], images, strict=True):
        _check_mask(mask, image)
    check_fixed_labels(volumes[4], images[0])
    rest = [v for v in volumes[5:] if v is not None]
    return _Inputs(images[0], images[1], volumes[2], volumes[3], rest[: len(labels)], volumes[4], rest[len(labels) :])


def _check_mask(mask: Volume | None, image: Volume) -> None:
    if mask is None:
        return
    remedy = "resample the mask onto its image"
    check_same_grid(mask, image, what="a mask on the grid", of=image.source, remedy=remedy)
    if not mask.data.any():
        raise InputError(
            mask.source, expected="a mask with nonzero voxels", got="an empty one", remedy="check the mask"
        )


def _content(shared: Shared, volume: Volume) -> Content:
    return shared.about(volume, "content", lambda: content(volume))


def _open(
    background: ThreadPoolExecutor,
    shared: Shared,
    weights: Weights | None,
    engine: Any,
    device: Any,
    precision: Any,
    threads: Any,
) -> Any:
    if weights is None:
        return None
    options = {"name": engine, "device": device, "precision": precision, "threads": threads}
    return background.submit(shared.engine, weights, **options)


def _init(init: PathLike, choice: Choice) -> PathLike:
    """Images of one person in one frame are not aligned again, if the model says that it expects such."""
    trusts = choice.weights is not None and not choice.weights.preparation.align
    return "none" if trusts and os.fspath(init) == "auto" else init


def _initial_affine(init: PathLike, inputs: _Inputs) -> tuple[Affine, Alignment | None]:
    if os.fspath(init) == "none":
        return Affine.identity(), None
    if os.fspath(init) != "auto":
        return read_affine(init), None
    alignment = align(inputs.fixed, inputs.moving, fixed_mask=inputs.fixed_mask, moving_mask=inputs.moving_mask)
    return alignment.affine, alignment


def _named(volumes: Iterable[tuple[str, Volume]]) -> dict[str, Volume]:
    """By source; arrays in memory all have the same one, so that the second gets a number."""
    named: dict[str, Volume] = {}
    for source, volume in volumes:
        number = sum(key == source or key.startswith(f"{source} #") for key in named) + 1
        named[source if number == 1 else f"{source} #{number}"] = volume
    return named


def _resampled(chain: Chain, volume: Volume, fixed: Volume, interpolation: Any) -> Volume:
    moved = chain.resample(volume, fixed.grid, interpolation)
    return Volume(moved.data, fixed.grid, volume.source, fixed.header)
