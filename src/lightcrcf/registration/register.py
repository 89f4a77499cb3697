"""Registration from end to end: two volumes in, a transform and the moved volume out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.engines.base import Engine
from lightcrcf.evaluation.jacobian import JacobianMaps, jacobian_maps
from lightcrcf.geometry.threads import use_threads
from lightcrcf.memory import check_memory_estimate, limit_malloc_arenas
from lightcrcf.options import Fill, Options, Preset, Similarity, Transform, fill_value
from lightcrcf.quality.label_check import label_record, misplaced, warnings_of
from lightcrcf.refinement.acceptance import gains
from lightcrcf.refinement.air import faded_in_air
from lightcrcf.refinement.refine import RefinementResult, refine_together
from lightcrcf.refinement.unfolding import inverse_metrics, unfolded
from lightcrcf.registration.heads import brains_cut_out, shown_contents
from lightcrcf.registration.inputs import Given, Inputs, channels_of
from lightcrcf.registration.plan import Decision, decide
from lightcrcf.registration.provenance import Stopwatch, input_record, provenance
from lightcrcf.registration.resample import move, move_labels
from lightcrcf.registration.start import Start, prepared
from lightcrcf.registration.template_path import way_by_template
from lightcrcf.registration.verdicts import Judgement, judge_pairs
from lightcrcf.run_record.input_files import named_options, named_sources
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
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
        fixed, moving: the volumes, with the value of their background where they have no data; of the first pair, where
            there are several.
        moved: the moving volume on the fixed grid, interpolated once.
        transform: fixed points to moving points; resamples the moving volume.
        inverse: moving points to fixed points, if asked for.
        moved_labels, also: label maps and further images moved along, by source; the moving images of further pairs are
            the first ones of `also`.
        metrics: numbers about the result; see `quality.Evidence`.
        qc: {"verdict": "pass" | "check" | "fail", "reasons": [...]}.
        provenance: everything that `run.json` holds.
        masks: of the fixed and the moving image, as they were given.
        brain_masks: of both, (D, H, W) uint8, where they were asked for and found.
        jacobian: maps of local volume change, if asked for.
        further: the fixed and the moving volume of each further pair.
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
    further: tuple[tuple[Volume, Volume], ...] = ()


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
    similarity: Similarity = "auto",
    transform: Transform = "deformable",
    channel_weights: Sequence[float] = (),
    brain_mask: bool = False,
    progress: Progress | None = None,
    shared: RegistrationCache | None = None,
) -> Registration:
    """Align `moving` with `fixed`.

    Args:
        fixed, moving: a path, a nibabel or SimpleITK image, (array, affine) or a Volume; or as many of each in lists:
            other contrasts of the same two persons, in the same two spaces, on any grids. Pair by pair they are
            compared by what suits them, and one transform aligns all. The first pair leads: it chooses the model, whose
            network sees it alone, and results lie on its fixed grid.
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
        channel_weights: how much each pair tells, in any units; all alike by default.
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
    limit_malloc_arenas()
    options = Options(
        model=os.fspath(model), init=os.fspath(init), preset=cast(Preset, preset), refine=refine,
        diffeomorphic=diffeomorphic, inverse=inverse, coarsen=coarsen, engine=engine, device=device,
        precision=precision, threads=threads, fill=fill_value(fill), smoothness=smoothness, jacobian=jacobian,
        similarity=similarity, transform=transform, channel_weights=tuple(channel_weights), brain_mask=brain_mask,
    )  # fmt: skip
    options.check()
    images = channels_of(fixed), channels_of(moving)
    given = Given(*images, fixed_mask, moving_mask, fixed_labels, moving_labels, also)
    watch = Stopwatch(progress or (lambda stage, fraction: None))
    with use_threads(threads):
        return _registered(given, options, watch, shared or RegistrationCache(), alone=shared is None)


@dataclass(frozen=True, eq=False)
class _Deformation:
    """On the working grid, on the fixed grid, and how it came about; None for what there is not."""

    displacement: Float32 | None
    refined: RefinementResult | None
    field: DisplacementField | None
    unfolding: dict[str, Any] | None


def _registered(
    given: Given, options: Options, watch: Stopwatch, shared: RegistrationCache, *, alone: bool
) -> Registration:
    with watch.stage("read", 0.0):
        inputs = Inputs.read(given, shared, options.channel_weights)
        sources, given_masks = named_sources(given.roles), inputs.first.masks
    with watch.stage("brain", 0.05):
        inputs = brains_cut_out(inputs, shared, wanted=options.brain_mask)
    with watch.stage("choose model", 0.1):
        decision = decide(inputs, options, shared, kept=not alone)
        check_memory_estimate(inputs.fixed.source, decision.demand)
    start = prepared(inputs, decision, options, watch, shared, alone=alone)
    decision = start.decision
    sources += named_sources(named_options(options.model, options.init))  # both files were read, so they are there
    deformation = _deformed(start, inputs, decision, options, watch, shared, alone=alone)
    chain = Chain(Affine.identity(), deformation.field, start.affine)
    with watch.stage("resample", 0.75):
        moved, others = _moved(chain, inputs, options.fill)
        labels = _named((v.source, move_labels(chain, v, inputs.fixed)) for v in inputs.moving_labels)
    with watch.stage("inverse", 0.85):
        backward = chain.inverse() if options.inverse else None
    with watch.stage("jacobian", 0.88):
        maps = jacobian_maps(chain, inputs.fixed) if options.jacobian else None
    with watch.stage("quality", 0.9):
        told = [
            label_record(v, labels_moved, start.affine, inputs.fixed_labels)
            for v, labels_moved in zip(inputs.moving_labels, labels.values(), strict=True)
        ]
        odd = _odd_labels(inputs)
        judged = judge_pairs(
            start.pairs, inputs.pairs, decision, deformation.displacement, start.affine, [*odd, *warnings_of(told)],
            None if deformation.unfolding is None else deformation.unfolding["folded_percent"],
        )  # fmt: skip
        metrics, qc = judged.metrics | inverse_metrics(chain, backward), judged.qc
    record = provenance(
        *inputs.first.shown, options.record(), shown_contents(inputs.first, shared), decision.choice, start.affine,
        start.alignment, start.pair.grid, start.pair.images, deformation.field, watch, metrics, qc,
        engine=None if start.network is None else _engine(start.network),
    )  # fmt: skip
    record |= _of_pairs(start, inputs, judged) | _of_deformation(deformation, decision, maps)
    record["inputs"] |= _of_inputs(start, inputs, record["inputs"])
    record["coverage"] = metrics["covered"]
    record["estimated_memory_mb"] = round(decision.demand.bytes / 2**20, 1)
    record["sources"], record["labels"] = sources, told
    return Registration(
        *inputs.first.shown, moved, chain, backward, labels, others, metrics, qc, record, given_masks,
        inputs.first.brain_masks if options.brain_mask else (None, None), maps, inputs.further_shown,
    )  # fmt: skip


def _deformed(
    start: Start,
    inputs: Inputs,
    decision: Decision,
    options: Options,
    watch: Stopwatch,
    shared: RegistrationCache,
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
            images = inputs.first.masked
            by_template = way_by_template(pair, images, weights, network, refinement, shared, options.coarsen)
    if network is not None and alone:
        network.release()
    with watch.stage("refine", 0.6):
        if refinement.schedule:
            compared = [p.compared_as(across) for p, across in zip(start.pairs, decision.across, strict=True)]
            refined = refine_together(
                compared, displacement, schedule=refinement.schedule, pool=pair.pool, template_field=by_template
            )
            displacement = refined.displacement
        if displacement is not None and not gains(start.pairs, displacement, decision.metrics):
            displacement = np.zeros_like(displacement)
        if displacement is not None and all(content.ct for content in decision.contents):
            displacement = faded_in_air(displacement, pair)
    with watch.stage("field", 0.7):
        field = None if displacement is None else pair.on_fixed(displacement, inputs.fixed.grid)
    with watch.stage("diffeomorphic", 0.72):
        field, unfolding = unfolded(field) if options.diffeomorphic and field is not None else (field, None)
    return _Deformation(displacement, refined, field, unfolding)


def _odd_labels(inputs: Inputs) -> list[str]:
    """In what way moving labels seem not to belong to the moving image."""
    pair = inputs.first
    brain = pair.moving if pair.alone[1] else None
    return [found for v in inputs.moving_labels if (found := misplaced(v, pair.shown[1], brain)) is not None]


def _moved(chain: Chain, inputs: Inputs, fill: Fill) -> tuple[Volume, dict[str, Volume]]:
    """The first moving image on the fixed grid, and by source those of further pairs and what goes along."""
    onto = inputs.fixed
    first, *more = [
        (p.moving.source, move(chain, p.shown[1], onto, "linear", fill, p.shown_extents[1])) for p in inputs.pairs
    ]
    fills: list[Fill] = ["auto" if is_label_map(v.data) else fill for v in inputs.also]  # labels get 0
    along = [(v.source, move(chain, v, onto, "auto", f)) for v, f in zip(inputs.also, fills, strict=True)]
    return first[1], _named([*more, *along])


def _of_deformation(deformation: _Deformation, decision: Decision, maps: JacobianMaps | None) -> dict[str, Any]:
    """What `run.json` says of the field."""
    return {
        "refinement": deformation.refined and deformation.refined.record(decision.refinement),
        "diffeomorphic": deformation.unfolding,
        "jacobian": None if maps is None else maps.record,
        "deformed": deformation.field is not None and bool(deformation.field.displacement.any()),
    }


def _of_pairs(start: Start, inputs: Inputs, judged: Judgement) -> dict[str, Any]:
    """What `run.json` says of the contrasts of the first pair, and of every pair where there are several."""
    alike = [a.record(across=across) for a, across in zip(start.likeness, start.decision.across, strict=True)]
    channels = [
        {"weight": pair.share, "similarity": told, **channel}
        for pair, told, channel in zip(inputs.pairs, alike, judged.channels, strict=False)
    ]
    return {"similarity": alike[0], "channels": channels}


def _of_inputs(start: Start, inputs: Inputs, first: dict[str, Any]) -> dict[str, Any]:
    """What `run.json` says of all images besides: what is unknown, and the images of further pairs."""
    told = [first]
    for given, pair, shown in list(zip(inputs.pairs, start.pairs, start.decision.seen, strict=True))[1:]:
        records = [input_record(*each) for each in zip(given.shown, shown, pair.images, strict=True)]
        told.append(dict(zip(("fixed", "moving"), records, strict=True)))
    for each, given in zip(told, inputs.pairs, strict=True):
        given.tell(each)
    return {"further": told[1:]}


def _engine(network: Engine) -> dict[str, str]:
    return {"name": network.name, "device": network.device, "precision": network.precision}


def _named(volumes: Iterable[tuple[str, Volume]]) -> dict[str, Volume]:
    """By source; arrays in memory all have the same one, so that the second gets a number."""
    named: dict[str, Volume] = {}
    for source, volume in volumes:
        number = sum(key == source or key.startswith(f"{source} #") for key in named) + 1
        named[source if number == 1 else f"{source} #{number}"] = volume
    return named
