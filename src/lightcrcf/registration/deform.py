"""The deformable stage: network, template path, refinement, and the field that is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.refinement.acceptance import gains
from lightcrcf.refinement.air import faded_in_air
from lightcrcf.refinement.initial_field import predict
from lightcrcf.refinement.refine import RefinementResult, refine_together
from lightcrcf.refinement.unfolding import UnfoldingSummary, remove_folds, without_few_folds
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.context import RunContext
from lightcrcf.registration.inputs import Inputs
from lightcrcf.registration.prepare import PreparedInputs
from lightcrcf.registration.template_path import register_via_template
from lightcrcf.transforms.diffeomorphic import make_diffeomorphic
from lightcrcf.transforms.field import DisplacementField

__all__ = ["Deformation", "deform"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Deformation:
    """The result of the deformable stage; None for what was not computed.

    Args:
        displacement: (3, d, h, w) on the working grid or its half, in its voxels.
        refinement: result of the refinement.
        field: the displacement on the fixed grid or its half, in millimetres.
        unfolding: what making the field diffeomorphic changed.
    """

    displacement: Float32 | None
    refinement: RefinementResult | None
    field: DisplacementField | None
    unfolding: UnfoldingSummary | None

    @property
    def is_zero(self) -> bool:
        """True if nothing moves beyond the affine."""
        return self.field is None or not self.field.displacement.any()


def deform(prepared: PreparedInputs, inputs: Inputs, context: RunContext) -> Deformation:
    """Find the deformation: predict it by the network, refine it from coarse to fine, keep it if it gains enough."""
    watch, pair, network = context.stopwatch, prepared.pair, prepared.network
    with watch.stage("network", 0.55):
        displacement = None if network is None else predict(network, pair, across=prepared.plan.across[0])
    via_template = _via_template(prepared, inputs, context)
    context.release(network)
    with watch.stage("refine", 0.6):
        refinement = _refined(prepared, displacement, via_template)
        displacement = _accepted(prepared, displacement if refinement is None else _unfolded(pair, refinement))
    with watch.stage("field", 0.7):
        field = None if displacement is None else pair.on_fixed(displacement, inputs.fixed.grid)
    unfolding = None
    with watch.stage("diffeomorphic", 0.72):
        if context.options.diffeomorphic and displacement is not None and field is not None:
            displacement, field, unfolding = _diffeomorphic(pair, displacement, field, inputs.fixed.grid)
    return Deformation(displacement, refinement, field, unfolding)


def _via_template(prepared: PreparedInputs, inputs: Inputs, context: RunContext) -> Float32 | None:
    """Return a further initial field, composed of the registrations of both images with the model's template."""
    plan, weights = prepared.plan, prepared.plan.selection.weights
    if not plan.refinement.template or weights is None:
        return None
    with context.stopwatch.stage("template", 0.57):
        return register_via_template(
            prepared.pair, inputs.first.masked, weights, prepared.network, plan.refinement, context.cache,
            context.options.coarsen,
        )  # fmt: skip


def _refined(
    prepared: PreparedInputs, initial: Float32 | None, via_template: Float32 | None
) -> RefinementResult | None:
    """Refine the initial field on all pairs; None if the plan has no refinement."""
    plan, schedule = prepared.plan, prepared.plan.refinement.schedule
    if not schedule:
        return None
    compared = [pair.compared_as(across) for pair, across in zip(prepared.pairs, plan.across, strict=True)]
    return refine_together(compared, initial, schedule=schedule, pool=prepared.pair.pool, template_field=via_template)


def _unfolded(pair: WorkingPair, refinement: RefinementResult) -> Float32:
    """Return the displacement; on half of the working grid, without the few folds that a finer grid would show."""
    found = refinement.displacement
    return found if pair.lattice(found) is pair.grid else without_few_folds(found)


def _diffeomorphic(
    pair: WorkingPair, displacement: Float32, field: DisplacementField, grid: Grid
) -> tuple[Float32, DisplacementField, UnfoldingSummary]:
    """Return displacement and field without folds, each on its own grid, and what changed in the field.

    Quality is measured by the displacement, so that folds must be gone from it too.
    """
    projected = make_diffeomorphic(displacement)
    anew = pair.on_fixed(projected.displacement, grid)
    return projected.displacement, *remove_folds(anew, before=field, passes=projected.passes)


def _accepted(prepared: PreparedInputs, displacement: Float32 | None) -> Float32 | None:
    """Return the displacement, or zero if it gains no more similarity than noise would; in CT it fades in the air."""
    if displacement is None:
        return None
    if not gains(prepared.pairs, displacement, prepared.plan.metrics):
        displacement = np.zeros_like(displacement)
    if all(content.ct for content in prepared.plan.contents):
        displacement = faded_in_air(displacement, prepared.pair)
    return displacement
