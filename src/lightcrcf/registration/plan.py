"""What is decided about a pair before anything is computed: model, refinement, affine start, and memory."""

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
from lightcrcf.refinement.deformation import field_grid
from lightcrcf.refinement.schedule import Metric, Plan, effective_preset, plan
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.contrast import across_contrasts
from lightcrcf.registration.inputs import ImagePair, Inputs
from lightcrcf.registration.models import Choice, choose_model, mismatches
from lightcrcf.weights.store import Weights

__all__ = ["Decision", "decide"]


@dataclass(frozen=True, eq=False)
class Decision:
    """How one pair is registered.

    Args:
        seen: of each pair, what the fixed and the moving image show.
        choice: the model, or none, and why.
        refinement: what the second stage does.
        init: "auto" to align, "none" to trust the headers, or an ITK affine file.
        transform: "rigid", "similarity" or "affine", which is what an alignment looks for.
        demand: what it holds in memory.
        across: of each pair, whether its images are registered as ones of different contrasts.
        known: of each pair, whether the model, if there is one, knows such images.
    """

    seen: tuple[tuple[ImageType, ImageType], ...]
    choice: Choice
    refinement: Plan
    init: str
    transform: str
    demand: MemoryEstimate
    across: tuple[bool, ...]
    known: tuple[bool, ...]

    @property
    def contents(self) -> tuple[ImageType, ImageType]:
        """What the images of the first pair show."""
        return self.seen[0]

    @property
    def kinds_alike(self) -> tuple[bool, ...]:
        """Of each pair, whether both images show the same kind of thing, and not a whole head and a bare brain."""
        return tuple(_alike(contents) for contents in self.seen)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """By what the images of each pair are compared."""
        weights = self.choice.weights
        same: Metric = "mse" if weights and weights.preparation.metric == "mse" and all(self.known) else "lncc"
        return tuple("explained" if each else same for each in self.across)

    @property
    def network(self) -> Weights | None:
        """The network that will run, if any."""
        return self.choice.weights if self.refinement.network else None


def decide(
    inputs: Inputs, options: Options, shared: RegistrationCache, *, kept: bool, across: tuple[bool, ...] | None = None
) -> Decision:
    """Look at both images, and decide. Where there are several pairs, the first one chooses the model.

    Args:
        inputs: of the registration.
        options: of the registration.
        shared: what is known of the images from earlier registrations.
        kept: whether the network stays for further registrations.
        across: of each pair, whether its images have two contrasts; as the options say by default.

    Raises:
        UsageError: for an unknown model, or a smoothness where the model's field is not refined.
        InputError: for damaged weights.
    """
    every = [(shared.image_type(pair.fixed), shared.image_type(pair.moving)) for pair in inputs.pairs]
    contents = every[0]
    across = across or (options.similarity == "any",) * len(every)
    choice = choose_model(options.model, contents, (inputs.fixed.grid, inputs.moving.grid))
    choice = across_contrasts(choice) if across[0] else choice
    known = (True, *(_knows(choice, pair, seen) for pair, seen in zip(inputs.pairs[1:], every[1:], strict=True)))
    grids = _grids(inputs, choice.weights, options, shared)
    refinement = _plan(choice, options, grids, alike=_alike(contents), across=across[0], together=all(known))
    deformable = options.transform == "deformable"
    init = _init(options.init, choice) if deformable else options.init
    transform = "affine" if deformable else options.transform
    demand = MemoryEstimate(
        inputs.volumes,
        inputs.fixed.grid,
        max(grids if refinement.template else grids[:1], key=lambda grid: grid.size),
        network=choice.weights is not None and refinement.network,
        refinement=bool(refinement.schedule),
        inverse=options.inverse,
        diffeomorphic=options.diffeomorphic,
        retain_engine=kept,
        affine_samples=_samples(inputs, every) if init == "auto" else 0,
        contrast=any(level.scale == 1 and level.contrast > 0 for level in refinement.schedule),
        across=across[0],
        further=across[1:],
        native_bf16=_in_pairs(choice, options),
        multi_start=refinement.multi_start,
        field=_field_grid(inputs.fixed.grid, grids[0], choice.weights, refinement),
        edges=_weighs_edges(inputs, refinement),
        masks=any(counted is not None for pair in inputs.pairs for _, counted in pair.masked),
        examined_bytes=inputs.examined_bytes,
        resampled_bytes=_moved(inputs) + 8 * options.jacobian,
        labels=bool(inputs.moving_labels),
    )
    choice = _explained(choice, refinement, transform)
    return Decision(tuple(every), choice, refinement, init, transform, demand, across, known)


def _weighs_edges(inputs: Inputs, refinement: Plan) -> bool:
    """Whether the finest level weighs less what lies outside of masked images."""
    bare = any(extent.background_masked for pair in inputs.pairs for extent in pair.extents)
    return bare and any(level.scale == 1 and level.background != 1 for level in refinement.schedule)


def _samples(inputs: Inputs, shown: Sequence[tuple[ImageType, ImageType]]) -> int:
    """That the affine alignment compares at its finest resolution."""
    return sum(count_finest_samples(pair.images, seen) for pair, seen in zip(inputs.pairs, shown, strict=True))


def _moved(inputs: Inputs) -> int:
    """Bytes to a voxel of all that is moved onto the fixed grid."""
    images = len(inputs.pairs) + len(inputs.also)
    return 4 * images + sum(labels.data.itemsize for labels in inputs.moving_labels)


def _knows(choice: Choice, pair: ImagePair, contents: tuple[ImageType, ImageType]) -> bool:
    """Whether a model, if there is one, suits a further pair as it does the first one."""
    grids = pair.fixed.grid, pair.moving.grid
    return choice.weights is None or bool(choice.mismatch) or not mismatches(choice.weights, contents, grids)


def _alike(contents: tuple[ImageType, ImageType]) -> bool:
    """Whether one image may show a part of what the other shows, or all of it: a cut head has no kind of its own.

    What was masked is told from what was not: an organ lies in a body, and a body must not be squeezed into it.
    """
    kinds = {content.kind for content in contents}
    if len(kinds) == 1:
        return True
    return kinds != HEAD_AND_BRAIN and "small crop" not in kinds and contents[0].masked == contents[1].masked


def _field_grid(fixed: Grid, working: Grid, weights: Weights | None, refinement: Plan) -> Grid:
    """The grid of the field that will be written."""
    pool = NetworkConfig().pool if weights is None else weights.config.pool
    finest = refinement.schedule[-1].scale if refinement.schedule else 2
    return field_grid(working_order(fixed, pool).grid(fixed), working if finest == 1 else working.half(pool), pool)


def _in_pairs(choice: Choice, options: Options) -> bool:
    """Whether a network of this choice would run in bfloat16 in our own kernels."""
    if choice.weights is None or options.precision != "bf16" or options.engine == "torch":
        return False
    from lightcrcf.engines.bfloat16_network import runs_in_bfloat16

    return runs_in_bfloat16(choice.weights.config)


def _grids(inputs: Inputs, weights: Weights | None, options: Options, shared: RegistrationCache) -> list[Grid]:
    """The working grids: of the fixed image, and of the moving one too where the model has a template."""
    images = (inputs.fixed, inputs.moving) if _has_template(weights) else (inputs.fixed,)
    return [WorkingPair.grid_of(image, weights, shared, options.coarsen) for image in images]


def _has_template(weights: Weights | None) -> bool:
    return weights is not None and weights.template is not None


def _plan(
    choice: Choice, options: Options, grids: Sequence[Grid], *, alike: bool, across: bool, together: bool
) -> Plan:
    """together: whether all pairs are such as the model knows, and may be compared by its measure."""
    weights = choice.weights
    if options.transform != "deformable":
        return Plan((), False)
    if choice.mismatch and weights is None and not alike:
        return Plan((), False)  # A whole head would be squeezed into the brain that is all of the other image.
    preparation, preset = weights.preparation if weights else None, options.preset
    if options.refine is None:  # who names a number of steps knows how long it shall take
        preset = effective_preset(preset, sum(grid.size for grid in grids))
    made = plan(
        preset, preparation, steps=options.refine, template=_has_template(weights), smoothness=options.smoothness,
        across=across,
    )  # fmt: skip
    if not together:
        made = replace(made, schedule=tuple(level.comparing_locally() for level in made.schedule))
    if options.smoothness != 1 and weights is not None and not made.schedule:
        raise UsageError(
            "smoothness",
            expected="a model whose field is refined",
            got=f"{weights.name}, which is not refined",
            remedy="name a number of steps (--refine 4), choose --model none, or leave it out",
        )
    return made


def _init(init: str, choice: Choice) -> str:
    """Images of one person in one frame are not aligned again, if the model says that it expects such."""
    trusts = choice.weights is not None and not choice.weights.preparation.align
    return "none" if trusts and init == "auto" else init


def _explained(choice: Choice, refinement: Plan, transform: str) -> Choice:
    """Without a network, add what is done instead."""
    if choice.weights is not None:
        return choice
    instead = (
        "refined from coarse to fine without a network" if refinement.schedule else f"the result is {transform} only"
    )
    reason = f"{choice.reason}; {instead}"
    return Choice(None, reason, (reason,) if choice.mismatch == (choice.reason,) else choice.mismatch)
