"""What a deformation starts from: the affine, and all pairs of images on the working grid."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lightcrcf.affine.align import Alignment, align
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.engines.base import Engine
from lightcrcf.memory import check_memory_estimate
from lightcrcf.options import Options
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.contrast import Likeness, likeness
from lightcrcf.registration.inputs import ImagePair, Inputs
from lightcrcf.registration.plan import Decision, decide
from lightcrcf.registration.provenance import Stopwatch
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import read_affine

__all__ = ["Start", "prepared"]


@dataclass(frozen=True, eq=False)
class Start:
    """What the deformation starts from.

    Args:
        affine: fixed to moving points.
        alignment: how it was found; None if it was given.
        pairs: of images, on the working grid.
        network: None where none runs.
        decision: how the pairs are registered, once their contrasts are known.
        likeness: of each pair.
    """

    affine: Affine
    alignment: Alignment | None
    pairs: tuple[WorkingPair, ...]
    network: Engine | None
    decision: Decision
    likeness: tuple[Likeness, ...]

    @property
    def pair(self) -> WorkingPair:
        """The first one, which leads."""
        return self.pairs[0]


def prepared(
    inputs: Inputs, decision: Decision, options: Options, watch: Stopwatch, shared: RegistrationCache, *, alone: bool
) -> Start:
    """Align without a deformation and prepare both images; the network's graphs are built meanwhile.

    Images of the first pair that turn out to be of different contrasts are prepared anew as such, and no network runs.

    Args:
        inputs: all images.
        decision: how they are registered.
        options: as the user has them.
        watch: times the stages.
        shared: what earlier registrations left.
        alone: whether none follow.

    Raises:
        InputError: for images that have nothing in common.
        MemoryEstimateError: if the memory does not suffice for images of two contrasts.
    """
    with ThreadPoolExecutor(1) as background:
        weights, how = decision.network, options
        opening = weights and background.submit(
            shared.engine, weights, name=how.engine, device=how.device, precision=how.precision, threads=how.threads
        )
        with watch.stage("affine", 0.15):
            affine, alignment = _initial_affine(decision.init, decision.transform, inputs)
        with watch.stage("prepare", 0.4):
            pairs = _prepared(inputs, decision, options, affine, shared)
            alike = tuple(likeness(pair) for pair in pairs)
            across = _across(alike, options, decision)
            if across != decision.across:
                again = across[0] != decision.across[0]
                decision = decide(inputs, options, shared, kept=not alone, across=across)
                check_memory_estimate(inputs.fixed.source, decision.demand)
                if again:
                    del pairs  # before others take their place
                    pairs = _prepared(inputs, decision, options, affine, shared)
        with watch.stage("load network", 0.5):
            network = opening.result() if opening else None
    if network is not None and decision.network is None:
        if alone:
            network.release()
        network = None
    return Start(affine, alignment, pairs, network, decision, alike)


def _across(alike: Sequence[Likeness], options: Options, decision: Decision) -> tuple[bool, ...]:
    """Of each pair, whether its images have two contrasts; of the first one it is not asked where a model was named."""
    if options.similarity != "auto":
        return decision.across
    two = [
        each.two_contrasts or fixed.ct != moving.ct for each, (fixed, moving) in zip(alike, decision.seen, strict=True)
    ]
    return (options.model in ("auto", "none") and two[0], *two[1:])


def _prepared(
    inputs: Inputs, decision: Decision, options: Options, affine: Affine, shared: RegistrationCache
) -> tuple[WorkingPair, ...]:
    """All pairs, on the working grid of the first one."""
    model, grid, prepared = decision.choice.weights, None, list[WorkingPair]()
    for pair, known in zip(inputs.pairs, decision.known, strict=True):
        made = WorkingPair.prepare(
            *pair.images, pair.masks, affine, model, shared, options.coarsen, pair.extents, grid=grid, windowed=known,
            share=pair.share,
        )  # fmt: skip
        grid = made.grid
        prepared.append(made)
    return tuple(prepared)


def _initial_affine(init: str, transform: str, inputs: Inputs) -> tuple[Affine, Alignment | None]:
    if init == "none":
        return Affine.identity(), None
    if init != "auto":
        return read_affine(init), None
    first, *further = inputs.pairs
    sources = [_sources(pair) for pair in further]
    alignment = align(
        *first.images, fixed_mask=first.fixed_mask, moving_mask=first.moving_mask, extents=first.extents,
        transform=transform, further=sources, shares=[pair.share for pair in inputs.pairs],
    )  # fmt: skip
    return alignment.affine, alignment


def _sources(pair: ImagePair) -> tuple[AlignmentImage, AlignmentImage]:
    fixed, moving = (AlignmentImage.prepare(*each) for each in zip(pair.images, pair.masks, pair.extents, strict=True))
    return fixed, moving
