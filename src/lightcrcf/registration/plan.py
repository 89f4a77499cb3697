"""The plan of a registration, made before anything is computed: model, refinement, initial affine, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightcrcf.affine.pyramid import count_finest_samples
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import UsageError
from lightcrcf.geometry.grid import Grid
from lightcrcf.memory import MemoryEstimate
from lightcrcf.network.config import NetworkConfig
from lightcrcf.options import Options
from lightcrcf.preprocessing.foreground import HEAD_AND_BRAIN, ImageType
from lightcrcf.preprocessing.normalization import working_order
from lightcrcf.quality.thresholds import is_head
from lightcrcf.refinement.deformation import field_grid
from lightcrcf.refinement.schedule import Metric, Plan, effective_preset, plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.contrast import select_across_contrasts
from lightcrcf.registration.inputs import ImagePair, Inputs
from lightcrcf.registration.models import ModelSelection, mismatches, select_model
from lightcrcf.weights.store import Weights

__all__ = ["RegistrationPlan", "plan_registration"]

Types = tuple[ImageType, ImageType]


@dataclass(frozen=True, eq=False)
class RegistrationPlan:
    """Decisions that are made before a registration begins.

    Args:
        image_types: of the fixed and the moving image of each pair.
        selection: the model, or none, and the reason.
        refinement: schedule of the refinement.
        init: "auto" to align, "none" to trust the headers, or an ITK affine file.
        transform: "rigid", "similarity" or "affine": the transform that the alignment estimates.
        memory: estimate of the memory.
        across: for each pair, whether its images are registered as ones of two contrasts.
        known: for each pair, whether the model, if there is one, was trained on such images.
    """

    image_types: tuple[Types, ...]
    selection: ModelSelection
    refinement: Plan
    init: str
    transform: str
    memory: MemoryEstimate
    across: tuple[bool, ...]
    known: tuple[bool, ...]

    @property
    def contents(self) -> Types:
        """Image types of the first pair."""
        return self.image_types[0]

    @property
    def comparable(self) -> tuple[bool, ...]:
        """For each pair, whether both images show the same anatomy, and not a whole head and a bare brain."""
        return tuple(_comparable(types) for types in self.image_types)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Similarity measure of each pair."""
        weights = self.selection.weights
        same: Metric = "mse" if weights and weights.preparation.metric == "mse" and all(self.known) else "lncc"
        return tuple("explained" if each else same for each in self.across)

    @property
    def network(self) -> Weights | None:
        """The network that will run, if any."""
        return self.selection.weights if self.refinement.network else None


def plan_registration(
    inputs: Inputs,
    options: Options,
    cache: RegistrationCache,
    *,
    retain_engine: bool,
    across: tuple[bool, ...] | None = None,
) -> RegistrationPlan:
    """Plan a registration from the types of its images; of several pairs the first one selects the model.

    Args:
        inputs: of the registration.
        options: of the registration.
        cache: results of earlier registrations.
        retain_engine: whether the network stays in memory for further registrations.
        across: for each pair, whether its images are of two contrasts; by default as the options say.

    Raises:
        UsageError: for an unknown model, or a smoothness where the model's field is not refined.
        InputError: for damaged weights.
    """
    image_types = tuple((cache.image_type(pair.fixed), cache.image_type(pair.moving)) for pair in inputs.pairs)
    across = across or (options.similarity == "any",) * len(image_types)
    chosen = select_model(options.model, image_types[0], (inputs.fixed.grid, inputs.moving.grid))
    selection = select_across_contrasts(chosen) if across[0] else chosen
    further = zip(inputs.pairs[1:], image_types[1:], strict=True)
    of_one = replace(selection, mismatch=chosen.mismatch)
    known = (True, *(_knows(of_one, pair, types) for pair, types in further))
    grids = _grids(inputs, selection.weights, options, cache)
    comparable = _comparable(image_types[0])
    refinement = _plan(selection, options, grids, comparable=comparable, across=across[0], all_known=all(known))
    init, transform = _affine_stage(options, selection)
    samples = _count_samples(inputs, image_types) if init == "auto" else 0
    memory = _memory(
        inputs, options, selection, refinement, grids, across, samples,
        itk=any(map(_needs_itk, image_types)), retain_engine=retain_engine,
    )  # fmt: skip
    selection = _explained(selection, refinement, transform)
    return RegistrationPlan(image_types, selection, refinement, init, transform, memory, across, known)


def _memory(
    inputs: Inputs,
    options: Options,
    selection: ModelSelection,
    refinement: Plan,
    grids: Sequence[Grid],
    across: Sequence[bool],
    samples: int,
    *,
    itk: bool,
    retain_engine: bool,
) -> MemoryEstimate:
    """Return the estimate of the memory; `samples` are those of the affine alignment at its finest resolution."""
    return MemoryEstimate(
        inputs.volumes,
        inputs.fixed.grid,
        max(grids if refinement.template else grids[:1], key=lambda grid: grid.size),
        network=selection.weights is not None and refinement.network,
        refinement=bool(refinement.schedule),
        inverse=options.inverse,
        diffeomorphic=options.diffeomorphic,
        retain_engine=retain_engine,
        affine_samples=samples,
        contrast=any(level.image_scale == 1 and level.contrast > 0 for level in refinement.schedule),
        cross_contrast=across[0],
        further=tuple(across[1:]),
        native_bf16=_uses_native_bf16(selection, options),
        forces=selection.weights is not None and selection.weights.config.force,
        multi_start=refinement.multi_start,
        field=_field_grid(inputs.fixed.grid, grids[0], selection.weights, refinement),
        edges=_weights_background(inputs, refinement),
        masks=any(_is_masked(pair) for pair in inputs.pairs),
        examined_bytes=inputs.examined_bytes,
        resampled_bytes=_resampled_bytes(inputs) + 8 * options.jacobian,
        labels=bool(inputs.moving_labels),
        half_field=_finest_scale(refinement) == 2,
        itk=itk,
    )


def _needs_itk(types: Types) -> bool:
    """Return whether a CT's table is looked for, or two heads are compared below the skin."""
    return any(each.ct for each in types) or all(map(is_head, types))


def _is_masked(pair: ImagePair) -> bool:
    """Return whether voxels of the working grid may not count: by masks, missing data, or outside a field of view."""
    ends = any(not extent.closed.all() for extent in pair.extents)
    return ends or any(mask is not None for _, mask in pair.masked)


def _weights_background(inputs: Inputs, refinement: Plan) -> bool:
    """Return whether the finest level gives the background of masked images another weight."""
    bare = any(extent.background_masked for pair in inputs.pairs for extent in pair.extents)
    return bare and any(level.image_scale == 1 and level.background != 1 for level in refinement.schedule)


def _count_samples(inputs: Inputs, image_types: Sequence[Types]) -> int:
    """Return the samples of the affine alignment at its finest resolution."""
    pairs = zip(inputs.pairs, image_types, strict=True)
    return sum(count_finest_samples(pair.images, types) for pair, types in pairs)


def _resampled_bytes(inputs: Inputs) -> int:
    """Return the bytes per voxel of all images resampled onto the fixed grid."""
    images = len(inputs.pairs) + len(inputs.also)
    return 4 * images + sum(labels.data.itemsize for labels in inputs.moving_labels)


def _knows(selection: ModelSelection, pair: ImagePair, types: Types) -> bool:
    """Return whether a model, if there is one, suits a further pair as it does the first one."""
    grids = pair.fixed.grid, pair.moving.grid
    return selection.weights is None or bool(selection.mismatch) or not mismatches(selection.weights, types, grids)


def _comparable(types: Types) -> bool:
    """Return whether one image may show the anatomy of the other, or part of it: a cropped head has no type of its own.

    A masked image is not comparable with an unmasked one: a body must not be squeezed into an organ.
    """
    kinds = {each.kind for each in types}
    if len(kinds) == 1:
        return True
    return kinds != HEAD_AND_BRAIN and "small crop" not in kinds and types[0].masked == types[1].masked


def _field_grid(fixed: Grid, working: Grid, weights: Weights | None, refinement: Plan) -> Grid:
    """Return the grid of the field that will be written."""
    pool = NetworkConfig().pool if weights is None else weights.config.pool
    lattice = working if _finest_scale(refinement) == 1 else working.half(pool)
    return field_grid(working_order(fixed, pool).grid(fixed), lattice, pool)


def _finest_scale(refinement: Plan) -> int:
    """Return the scale of the displacement: the network's own without a refinement."""
    return refinement.schedule[-1].scale if refinement.schedule else 2


def _uses_native_bf16(selection: ModelSelection, options: Options) -> bool:
    """Return whether the model would run in bfloat16 in our own kernels."""
    return selection.weights is not None and options.precision == "bf16" and options.engine != "torch"


def _grids(inputs: Inputs, weights: Weights | None, options: Options, cache: RegistrationCache) -> list[Grid]:
    """Return the working grids of the fixed image and, where the model has a template, of the moving one."""
    images = (inputs.fixed, inputs.moving) if _has_template(weights) else (inputs.fixed,)
    return [WorkingPair.grid_of(image, weights, cache, options.coarsen) for image in images]


def _has_template(weights: Weights | None) -> bool:
    return weights is not None and weights.template is not None


def _plan(
    selection: ModelSelection,
    options: Options,
    grids: Sequence[Grid],
    *,
    comparable: bool,
    across: bool,
    all_known: bool,
) -> Plan:
    """Return the schedule of the refinement; `all_known`: whether the model's measure suits all pairs."""
    weights = selection.weights
    if options.transform != "deformable":
        return Plan((), False)
    if selection.mismatch and weights is None and not comparable:
        return Plan((), False)  # a whole head would be squeezed into the bare brain of the other image
    preparation, preset = weights.preparation if weights else None, options.preset
    if options.refine is None:  # a number of steps that was asked for is kept, however long it takes
        preset = effective_preset(preset, sum(grid.size for grid in grids))
    planned = plan(
        preset, preparation, steps=options.refine, template=_has_template(weights), smoothness=options.smoothness,
        across=across,
    )  # fmt: skip
    if not all_known:
        planned = replace(planned, schedule=tuple(level.comparing_locally() for level in planned.schedule))
    if weights is not None and not planned.schedule:
        _check_smoothness(options, weights)
    return planned


def _check_smoothness(options: Options, weights: Weights) -> None:
    """Refuse a smoothness for a model whose field is not refined."""
    if options.smoothness != 1:
        raise UsageError(
            "smoothness",
            expected="a model whose field is refined",
            got=f"{weights.name}, which is not refined",
            remedy="name a number of steps (--refine 4), choose --model none, or leave it out",
        )


def _affine_stage(options: Options, selection: ModelSelection) -> tuple[str, str]:
    """Return init and transform of the affine stage; a model for images of one subject trusts the headers."""
    if options.transform != "deformable":
        return options.init, options.transform
    trusts = selection.weights is not None and not selection.weights.preparation.align
    return "none" if trusts and options.init == "auto" else options.init, "affine"


def _explained(selection: ModelSelection, refinement: Plan, transform: str) -> ModelSelection:
    """Return the selection with a reason that says what is done without a network."""
    if selection.weights is not None:
        return selection
    instead = (
        "refined from coarse to fine without a network" if refinement.schedule else f"the result is {transform} only"
    )
    reason = f"{selection.reason}; {instead}"
    mismatch = (reason,) if selection.mismatch == (selection.reason,) else selection.mismatch
    return ModelSelection(None, reason, mismatch)
