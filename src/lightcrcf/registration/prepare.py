"""Affine alignment, and all pairs of images on the working grid: the start of the deformable registration."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lightcrcf.affine.align import Alignment, align
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.engines.base import Engine
from lightcrcf.memory import check_memory_estimate
from lightcrcf.options import Options
from lightcrcf.quality.thresholds import is_head
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.context import RunContext
from lightcrcf.registration.contrast import ContrastComparison, compare_contrasts
from lightcrcf.registration.inputs import ImagePair, Inputs
from lightcrcf.registration.plan import RegistrationPlan, plan_registration
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.itk import read_affine

__all__ = ["PreparedInputs", "prepare"]


@dataclass(frozen=True, eq=False)
class PreparedInputs:
    """Affinely aligned images on the working grid.

    Args:
        affine: fixed to moving points.
        alignment: diagnostics of the affine; None if it was given or not wanted.
        pairs: on the working grid.
        network: engine that runs the model; None where none runs.
        plan: of the registration, revised once the contrasts are known.
        contrasts: comparison of the contrasts of each pair.
    """

    affine: Affine
    alignment: Alignment | None
    pairs: tuple[WorkingPair, ...]
    network: Engine | None
    plan: RegistrationPlan
    contrasts: tuple[ContrastComparison, ...]

    @property
    def pair(self) -> WorkingPair:
        """The first pair, which the network sees."""
        return self.pairs[0]


def prepare(inputs: Inputs, plan: RegistrationPlan, context: RunContext) -> PreparedInputs:
    """Align the images affinely and resample them onto the working grid; compile the network in the background.

    If the contrasts of the first pair turn out to differ, and the model is not for such pairs, prepare the images anew.

    Raises:
        InputError: for images that have nothing in common.
        MemoryEstimateError: if the memory does not suffice for images of two contrasts.
    """
    watch = context.stopwatch
    with ThreadPoolExecutor(1) as background:
        compiling = plan.network and background.submit(context.engine, plan.network)
        with watch.stage("affine", 0.15):
            affine, alignment = _initial_affine(plan.init, plan.transform, inputs)
        with watch.stage("prepare", 0.4):
            pairs = _working_pairs(inputs, plan, affine, context)
            contrasts = tuple(
                compare_contrasts(pair, heads=all(map(is_head, types)))
                for pair, types in zip(pairs, plan.image_types, strict=True)
            )
            revised = _revised(plan, inputs, contrasts, context)
            if _prepares_anew(plan, revised):
                del pairs  # before others take their place
                pairs = _working_pairs(inputs, revised, affine, context)
        with watch.stage("load network", 0.5):
            network = compiling.result() if compiling else None
            if network is None and revised.network is not None:
                network = context.engine(revised.network)
    if network is not None and revised.network is None:
        context.release(network)
        network = None
    return PreparedInputs(affine, alignment, pairs, network, revised, contrasts)


def _prepares_anew(plan: RegistrationPlan, revised: RegistrationPlan) -> bool:
    """Return whether the working images of a revised plan are others: those of another model, or of none."""
    models = [each.selection.weights.sha256 if each.selection.weights else None for each in (plan, revised)]
    return models[0] != models[1] or plan.known != revised.known


def _revised(
    plan: RegistrationPlan, inputs: Inputs, contrasts: Sequence[ContrastComparison], context: RunContext
) -> RegistrationPlan:
    """Return the plan for the contrasts that the aligned images show."""
    across = _across(contrasts, context.options, plan)
    if across == plan.across:
        return plan
    revised = plan_registration(
        inputs, context.options, context.cache, retain_engine=context.retain_engine, across=across
    )
    check_memory_estimate(inputs.fixed.source, revised.memory)
    return revised


def _across(contrasts: Sequence[ContrastComparison], options: Options, plan: RegistrationPlan) -> tuple[bool, ...]:
    """Return for each pair whether its contrasts differ; a model that was asked for decides it for the first pair."""
    if options.similarity != "auto":
        return plan.across
    differ = [
        each.two_contrasts or fixed.ct != moving.ct
        for each, (fixed, moving) in zip(contrasts, plan.image_types, strict=True)
    ]
    return (options.model in ("auto", "none") and differ[0], *differ[1:])


def _working_pairs(
    inputs: Inputs, plan: RegistrationPlan, affine: Affine, context: RunContext
) -> tuple[WorkingPair, ...]:
    """Return all pairs on the working grid of the first one."""
    model, coarsen, grid, prepared = plan.selection.weights, context.options.coarsen, None, list[WorkingPair]()
    for pair, known in zip(inputs.pairs, plan.known, strict=True):
        working = WorkingPair.prepare(
            *pair.images, pair.masks, affine, model, context.cache, coarsen, pair.extents, grid=grid, windowed=known,
            share=pair.weight,
        )  # fmt: skip
        grid = working.grid
        prepared.append(working)
    return tuple(prepared)


def _initial_affine(init: str, transform: str, inputs: Inputs) -> tuple[Affine, Alignment | None]:
    if init == "none":
        return Affine.identity(), None
    if init != "auto":
        return read_affine(init), None
    first, *further = inputs.pairs
    alignment = align(
        *first.images, fixed_mask=first.fixed_mask, moving_mask=first.moving_mask, extents=first.extents,
        transform=transform, further=[_alignment_images(pair) for pair in further],
        weights=[pair.weight for pair in inputs.pairs],
    )  # fmt: skip
    return alignment.affine, alignment


def _alignment_images(pair: ImagePair) -> tuple[AlignmentImage, AlignmentImage]:
    fixed, moving = (AlignmentImage.prepare(*each) for each in zip(pair.images, pair.masks, pair.extents, strict=True))
    return fixed, moving
