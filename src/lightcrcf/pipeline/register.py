"""Registration from end to end: two volumes in, a transform and the moved volume out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine
from lightcrcf.geometry.threads import use_threads
from lightcrcf.pipeline import quality
from lightcrcf.pipeline.acceptance import gains
from lightcrcf.pipeline.affine import Alignment, align
from lightcrcf.pipeline.by_template import way_by_template
from lightcrcf.pipeline.decision import Decision, decide
from lightcrcf.pipeline.heads import brains_cut_out, shown_contents
from lightcrcf.pipeline.inputs import Given, Inputs
from lightcrcf.pipeline.inspection import inspect
from lightcrcf.pipeline.jacobian import JacobianMaps, jacobian_maps
from lightcrcf.pipeline.label_care import label_record, misplaced, warnings_of
from lightcrcf.pipeline.limits import group_of
from lightcrcf.pipeline.memory import check_demand, share_arenas
from lightcrcf.pipeline.move import move, move_labels
from lightcrcf.pipeline.options import Options, Transform, fill_value
from lightcrcf.pipeline.pair import WorkingPair
from lightcrcf.pipeline.provenance import Stopwatch, provenance
from lightcrcf.pipeline.refine import Refined
from lightcrcf.pipeline.refine import refine as refine_field
from lightcrcf.pipeline.shared import Shared
from lightcrcf.pipeline.similarity import Likeness, likeness
from lightcrcf.pipeline.sources import named_options, named_sources
from lightcrcf.pipeline.unfolding import inverse_metrics, unfolded
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import read_affine
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes import Volume

__all__ = ["Registration", "register"]

Progress = Callable[[str, float], None]
PathLike = str | os.PathLike[str]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Registration:
    """What a registration found.

    Args:
        fixed, moving: the volumes, with the value of their background where they have no data.
        moved: the moving volume on the fixed grid, interpolated once.
        transform: fixed points to moving points; resamples the moving volume.
        inverse: moving points to fixed points, if asked for.
        moved_labels, also: label maps and further images moved along, by source.
        metrics: numbers about the result; see `quality.Evidence`.
        qc: {"verdict": "pass" | "check" | "fail", "reasons": [...]}.
        provenance: everything that `run.json` holds.
        masks: of the fixed and the moving image, as they were given.
        brain_masks: of both, (D, H, W) uint8, where they were asked for and found.
        jacobian: maps of local volume change, if asked for.
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
    masks: tuple[Volume | None, Volume | None] = (None, None)
    brain_masks: tuple[Volume | None, Volume | None] = (None, None)
    jacobian: JacobianMaps | None = None


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
    fill: str | float = "auto",
    smoothness: float = 1.0,
    jacobian: bool = False,
    similarity: Literal["auto", "same", "any"] = "auto",
    transform: Transform = "deformable",
    brain_mask: bool = False,
    progress: Progress | None = None,
    shared: Shared | None = None,
) -> Registration:
    """Align `moving` with `fixed`.

    Args:
        fixed, moving: a path, a nibabel or SimpleITK image, (array, affine) or a Volume.
        model: "auto", the name of a shipped model, a .safetensors file, or "none" to refine from coarse to fine
            with no network.
        init: "auto" aligns affinely, "none" trusts the headers, anything else is an ITK affine file.
        preset: "fast", the network alone; "default", at most three seconds of refinement; "accurate", as long as it
            helps, which "default" does as well where few voxels leave the time.
            Each model says from where its refinement starts; see `weights.preparation.Preparation`.
            Without a model "fast" is affine only.
        refine: steps at full resolution, instead of the preset's.
        fixed_mask, moving_mask: 0 where voxels must not count, such as in lesions, on the grid of their image: in the
            affine alignment, the refinement and quality control. There the network sees the other image's values.
        moving_labels: label maps of the moving image, moved by nearest neighbour.
        fixed_labels: labels of the fixed image, on its grid, with which the moved ones are compared in the record;
            they do not steer the registration.
        also: further images of the moving subject; integer label maps by nearest neighbour, others linearly.
        diffeomorphic: change the field, as little as possible, so that it folds nowhere.
        inverse: also invert the transform.
        coarsen: how many times larger than usual the voxels of the working grid are along each axis, where memory or
            time are short.
        engine, device, precision, threads: how to run the network.
        fill: the value of moved images where the image that is moved has no data: outside of it, NaN, infinity,
            padding; "auto" is its own background (air in CT), NaN is possible. Label maps get 0.
        smoothness: of the field the refinement finds, 0.1 to 10: what the Gaussians that smooth it are widened by. 2 is
            smoother, 0.5 rougher. Without a refinement ("fast", `refine=0`) anything but 1 is an error.
        jacobian: also measure local volume change on the fixed grid.
        similarity: "any" for images of different contrasts: they are refined from nothing, without a network, by how
            much of the moving image the fixed one explains; "same" compares intensities; "auto" looks, after the
            affine, which of the two suits them, and takes "same" where a model was named.
        transform: "rigid", "similarity" (and one scale), "affine", or "deformable", an affine and a field. Without
            a field there is neither network nor refinement: with `refine`, `smoothness`, `diffeomorphic` or `init`,
            anything but "deformable" is an error, and `preset` makes no difference.
        brain_mask: also return the brain mask of the fixed image, and of the moving one if it was made: where a head
            meets a skull-stripped brain, the head's brain is found and registered alone, asked for or not. A mask of
            the head that outlines its brain takes the place of what would be found.
        progress: called with the name of each stage and the fraction done.
        shared: what earlier registrations in this thread left for those after them.

    Raises:
        UsageError: for options that do not fit together.
        InputError: for volumes that cannot be used; or if a brain mask is asked for, and the image shows no brain.

    Example:
        >>> import lightcrcf
        >>> lightcrcf.register("fixed.nii.gz", "moving.nii.gz").qc["verdict"]  # doctest: +SKIP
        'pass'
    """
    share_arenas()
    options = Options(
        os.fspath(model), os.fspath(init), preset, refine, diffeomorphic, inverse, coarsen, engine, device, precision,
        threads, fill_value(fill), smoothness, jacobian, similarity, transform, brain_mask,
    )  # fmt: skip
    options.check()
    given = Given(fixed, moving, fixed_mask, moving_mask, fixed_labels, moving_labels, also)
    watch = Stopwatch(progress or (lambda stage, fraction: None))
    with use_threads(threads):
        return _registered(given, options, watch, shared or Shared(), alone=shared is None)


@dataclass(frozen=True, eq=False)
class _Start:
    """What the deformation starts from; the network is None where none runs."""

    affine: Affine
    alignment: Alignment | None
    pair: WorkingPair
    network: Engine | None
    decision: Decision
    likeness: Likeness


@dataclass(frozen=True, eq=False)
class _Deformation:
    """On the working grid, on the fixed grid, and how it came about; None for what there is not."""

    displacement: Float32 | None
    refined: Refined | None
    field: DisplacementField | None
    unfolding: dict[str, Any] | None


def _registered(given: Given, options: Options, watch: Stopwatch, shared: Shared, *, alone: bool) -> Registration:
    with watch.stage("read", 0.0):
        inputs = Inputs.read(given, shared)
        sources, given_masks = named_sources(given.roles), (inputs.fixed_mask, inputs.moving_mask)
    with watch.stage("brain", 0.05):
        inputs = brains_cut_out(inputs, shared, wanted=options.brain_mask)
    with watch.stage("choose model", 0.1):
        decision = decide(inputs, options, shared, kept=not alone)
        check_demand(inputs.fixed.source, decision.demand)
    start = _start(inputs, decision, options, watch, shared, alone=alone)
    decision = start.decision
    sources += named_sources(named_options(options.model, options.init))  # both files were read, so they are there
    deformation = _deformed(start, inputs, decision, options, watch, shared, alone=alone)
    chain = Chain(Affine.identity(), deformation.field, start.affine)
    with watch.stage("resample", 0.75):
        onto, fill = inputs.fixed, options.fill
        moved = move(chain, inputs.shown[1], onto, "linear", fill, inputs.shown_extents[1])
        labels = _named((v.source, move_labels(chain, v, onto)) for v in inputs.moving_labels)
        fills = ["auto" if is_label_map(v.data) else fill for v in inputs.also]  # labels get 0
        others = _named((v.source, move(chain, v, onto, "auto", f)) for v, f in zip(inputs.also, fills, strict=True))
    with watch.stage("inverse", 0.85):
        backward = chain.inverse() if options.inverse else None
    with watch.stage("jacobian", 0.88):
        maps = jacobian_maps(chain, inputs.fixed) if options.jacobian else None
    with watch.stage("quality", 0.9):
        told = [
            label_record(v, labels_moved, start.affine, inputs.fixed_labels)
            for v, labels_moved in zip(inputs.moving_labels, labels.values(), strict=True)
        ]
        odd = [found for v in inputs.moving_labels if (found := misplaced(v, inputs.shown[1])) is not None]
        metrics, qc = _judged(start, decision, deformation, [*odd, *warnings_of(told)], cut_out=inputs.cut_out)
        metrics |= inverse_metrics(chain, backward)
    record = provenance(
        *inputs.shown, asdict(options), shown_contents(inputs, shared), decision.choice, start.affine,
        start.alignment, start.pair.grid, start.pair.images, deformation.field, watch, metrics, qc,
        engine=None if start.network is None else _engine(start.network),
    )  # fmt: skip
    record["similarity"] = start.likeness.record(across=decision.across)
    record["refinement"] = deformation.refined and deformation.refined.record(decision.refinement)
    record["diffeomorphic"] = deformation.unfolding
    record["jacobian"] = None if maps is None else maps.record
    record["coverage"] = metrics["covered"]
    record["deformed"] = deformation.field is not None and bool(deformation.field.displacement.any())
    inputs.tell(record["inputs"])
    record["estimated_memory_mb"] = round(decision.demand.bytes / 2**20, 1)
    record["sources"], record["labels"] = sources, told
    return Registration(
        *inputs.shown, moved, chain, backward, labels, others, metrics, qc, record, given_masks,
        inputs.brain_masks if options.brain_mask else (None, None), maps,
    )  # fmt: skip


def _start(
    inputs: Inputs, decision: Decision, options: Options, watch: Stopwatch, shared: Shared, *, alone: bool
) -> _Start:
    """Align without a deformation and prepare both images; the network's graphs are built meanwhile.

    Images that turn out to be of different contrasts are prepared anew as such, and no network runs.
    """
    with ThreadPoolExecutor(1) as background:
        weights, how = decision.network, options
        opening = weights and background.submit(
            shared.engine, weights, name=how.engine, device=how.device, precision=how.precision, threads=how.threads
        )
        with watch.stage("affine", 0.15):
            affine, alignment = _initial_affine(decision.init, decision.transform, inputs)
        with watch.stage("prepare", 0.4):
            pair = _prepared(inputs, decision, options, affine, shared)
            alike = likeness(pair)
            if options.similarity == "auto" and options.model in ("auto", "none") and alike.two_contrasts:
                decision = decide(inputs, replace(options, similarity="any"), shared, kept=not alone)
                check_demand(inputs.fixed.source, decision.demand)
                pair = _prepared(inputs, decision, options, affine, shared)
        with watch.stage("load network", 0.5):
            network = opening.result() if opening else None
    if network is not None and decision.network is None:
        if alone:
            network.release()
        network = None
    return _Start(affine, alignment, pair, network, decision, alike)


def _prepared(inputs: Inputs, decision: Decision, options: Options, affine: Affine, shared: Shared) -> WorkingPair:
    masks, images = (inputs.fixed_mask, inputs.moving_mask), (inputs.fixed, inputs.moving)
    model, coarsen = decision.choice.weights, options.coarsen
    return WorkingPair.prepare(*images, masks, affine, model, shared, coarsen, inputs.extents)


def _initial_affine(init: str, transform: str, inputs: Inputs) -> tuple[Affine, Alignment | None]:
    if init == "none":
        return Affine.identity(), None
    if init != "auto":
        return read_affine(init), None
    alignment = align(
        inputs.fixed, inputs.moving, fixed_mask=inputs.fixed_mask, moving_mask=inputs.moving_mask,
        extents=inputs.extents, transform=transform,
    )  # fmt: skip
    return alignment.affine, alignment


def _deformed(
    start: _Start,
    inputs: Inputs,
    decision: Decision,
    options: Options,
    watch: Stopwatch,
    shared: Shared,
    *,
    alone: bool,
) -> _Deformation:
    """Network, refinement, and the field that is written."""
    pair, network, refinement, refined = start.pair, start.network, decision.refinement, None
    with watch.stage("network", 0.55):
        displacement = None if network is None else network.displacement(*pair.for_network())
    by_template, weights = None, decision.choice.weights
    if refinement.template and weights is not None:
        with watch.stage("template", 0.57):
            images = inputs.masked
            by_template = way_by_template(pair, images, weights, network, refinement, shared, options.coarsen)
    if network is not None and alone:
        network.release()
    with watch.stage("refine", 0.6):
        if refinement.schedule:
            refined = refine_field(
                pair.fixed, pair.moving, displacement, schedule=refinement.schedule, pool=pair.pool,
                fixed_mask=pair.fixed_mask, moving_mask=pair.moving_mask, noise=pair.noise, masked=pair.masked,
                another=by_template,
            )  # fmt: skip
            displacement = refined.displacement
        metric = "explained" if decision.across else "lncc" if weights is None else weights.preparation.metric
        if displacement is not None and not gains(pair, displacement, metric):
            displacement = np.zeros_like(displacement)
    with watch.stage("field", 0.7):
        field = None if displacement is None else pair.on_fixed(displacement, inputs.fixed.grid)
    with watch.stage("diffeomorphic", 0.72):
        field, unfolding = unfolded(field) if options.diffeomorphic and field is not None else (field, None)
    return _Deformation(displacement, refined, field, unfolding)


def _judged(
    start: _Start, decision: Decision, deformation: _Deformation, label_warnings: list[str], *, cut_out: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers about the result, and the verdict."""
    choice, overlap = decision.choice, quality.overlap if decision.alike else quality.containment
    across = decision.across
    evidence = inspect(start.pair, deformation.displacement, overlap, choice.mismatch, across=across)
    evidence.shape_of(start.affine)
    evidence.labels = label_warnings
    if deformation.unfolding is not None:
        evidence.folding_percent = deformation.unfolding["folded_percent"]
    name = choice.weights.name if choice.weights else None
    deformed = deformation.displacement is not None and not across
    group = group_of(name, decision.contents, deformed=deformed, cut_out=cut_out)
    return evidence.figures(), quality.verdict(evidence, group)


def _engine(network: Engine) -> dict[str, str]:
    return {"name": network.name, "device": network.device, "precision": network.precision}


def _named(volumes: Iterable[tuple[str, Volume]]) -> dict[str, Volume]:
    """By source; arrays in memory all have the same one, so that the second gets a number."""
    named: dict[str, Volume] = {}
    for source, volume in volumes:
        number = sum(key == source or key.startswith(f"{source} #") for key in named) + 1
        named[source if number == 1 else f"{source} #{number}"] = volume
    return named
