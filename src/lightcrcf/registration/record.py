"""Construction of the run record from the results of all stages."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import version

from lightcrcf.affine.align import Alignment
from lightcrcf.affine.joint_histogram import ContrastSimilarity
from lightcrcf.engines.base import Engine
from lightcrcf.evaluation.jacobian import JacobianMaps
from lightcrcf.preprocessing.foreground import ImageType
from lightcrcf.preprocessing.normalization import NormalizedImage
from lightcrcf.preprocessing.validity import Extent
from lightcrcf.quality.label_check import LabelMapRecord
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.refinement.schedule import Plan
from lightcrcf.registration.context import RunContext
from lightcrcf.registration.contrast import ContrastComparison
from lightcrcf.registration.deform import Deformation
from lightcrcf.registration.heads import image_types
from lightcrcf.registration.inputs import BrainMask, ImagePair, Inputs
from lightcrcf.registration.models import ModelSelection
from lightcrcf.registration.prepare import PreparedInputs
from lightcrcf.registration.verdicts import Judgement
from lightcrcf.run_record import record as run
from lightcrcf.run_record.environment import cpu_name, peak_memory_mb, usable_cores, versions
from lightcrcf.run_record.input_files import Source
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

__all__ = ["Stages", "build_record"]

_MAPS = "fixed points to moving points; resamples the moving image onto the fixed grid"
_CONVENTION = "ITK: LPS mm; SimpleITK CompositeTransform([affine, warp]); ANTs -t warp -t affine"


@dataclass(frozen=True, eq=False)
class Stages:
    """The results of all stages of one registration.

    Args:
        sources: of the inputs.
        inputs: as read.
        prepared: affinely aligned, and the plan.
        deformation: of the registration.
        chain, inverse: the transform, and its inverse if asked for.
        jacobian: maps of local volume change, if asked for.
        labels: label maps that were moved.
        judgement: metrics and verdicts.
        consistency: of the field and its inverse.
    """

    sources: tuple[Source, ...]
    inputs: Inputs
    prepared: PreparedInputs
    deformation: Deformation
    chain: Chain
    inverse: Chain | None
    jacobian: JacobianMaps | None
    labels: tuple[LabelMapRecord, ...]
    judgement: Judgement
    consistency: QualityMetrics


def build_record(stages: Stages, context: RunContext) -> run.RunRecord:
    """Return the record of a registration; `save` adds the files."""
    prepared, deformation, judgement = stages.prepared, stages.deformation, stages.judgement
    plan, pair = prepared.plan, prepared.pair
    similarity = [_similarity(each, across) for each, across in zip(prepared.contrasts, plan.across, strict=True)]
    return run.RunRecord(
        schema=run.SCHEMA,
        versions={"lightcrcf": version("lightcrcf"), "python": sys.version.split()[0], **versions()},
        machine=run.Machine(cpu=cpu_name(), cores=usable_cores()),
        options=context.options,
        model=_model(plan.selection),
        engine=None if prepared.network is None else _engine(prepared.network),
        inputs=_inputs(stages, context),
        working_grid=run.GridRecord.of(pair.grid),
        field_grid=None if deformation.field is None else run.GridRecord.of(deformation.field.grid),
        affine=_affine(prepared.affine, prepared.alignment),
        transforms=_transforms(deformation),
        metrics=judgement.metrics[0] | stages.consistency,
        qc=judgement.quality,
        timings_s={name: round(seconds, 4) for name, seconds in context.stopwatch.seconds.items()},
        peak_memory_mb=peak_memory_mb(),
        similarity=similarity[0],
        channels=_channels(stages, similarity) if len(similarity) > 1 else (),
        refinement=_refinement(deformation, plan.refinement),
        diffeomorphic=deformation.unfolding,
        jacobian=None if stages.jacobian is None else stages.jacobian.summary,
        deformed=not deformation.is_zero,
        estimated_memory_mb=round(plan.memory.bytes / 2**20, 1),
        sources=stages.sources,
        labels=stages.labels,
        files={},
        files_sha256={},
    )


def _model(selection: ModelSelection) -> run.ModelRecord:
    weights = selection.weights
    if weights is None:
        return run.ModelRecord(name=None, reason=selection.reason)
    return run.ModelRecord(
        name=weights.name,
        sha256=weights.sha256,
        parameters=weights.parameters,
        preparation=weights.preparation,
        reason=selection.reason,
    )


def _engine(network: Engine) -> run.EngineRecord:
    return run.EngineRecord(name=network.name, device=network.device, precision=network.precision)


def _inputs(stages: Stages, context: RunContext) -> run.InputsRecord:
    """Return the record of the images of all pairs."""
    types = [image_types(stages.inputs.first, context.cache), *stages.prepared.plan.image_types[1:]]
    pairs = zip(stages.inputs.pairs, types, [pair.images for pair in stages.prepared.pairs], strict=True)
    first, *further = [_input_pair(*each) for each in pairs]
    return run.InputsRecord(fixed=first.fixed, moving=first.moving, further=tuple(further))


def _input_pair(
    pair: ImagePair, types: tuple[ImageType, ImageType], images: tuple[NormalizedImage, NormalizedImage]
) -> run.InputPairRecord:
    both = zip(pair.shown, types, images, pair.shown_extents, pair.brains, pair.extracted, strict=True)
    fixed, moving = (_input(*each) for each in both)
    return run.InputPairRecord(fixed=fixed, moving=moving)


def _input(
    volume: Volume,
    content: ImageType,
    image: NormalizedImage,
    extent: Extent,
    brain: BrainMask | None,
    extracted: bool,
) -> run.InputRecord:
    order = image.order
    return run.InputRecord(
        source=volume.source,
        dtype=str(volume.data.dtype),
        grid=run.GridRecord.of(volume.grid),
        notes=tuple(volume.notes),
        content=run.ContentRecord(kind=content.kind, ct=content.ct, foreground_litres=content.foreground_litres),
        preprocessing=run.PreprocessingRecord(
            axis_permutation=order.permutation,
            axis_flips=order.flips,
            intensity_zero=image.offset,
            intensity_one=image.offset + image.scale,
        ),
        unknown=dict(extent.reasons),
        brain=None if brain is None else _brain(brain, extracted=extracted),
    )


def _brain(brain: BrainMask, *, extracted: bool) -> run.BrainRecord:
    return run.BrainRecord(
        by=brain.by,
        litres=round(brain.litres, 4),
        registered_alone=extracted,
        certainty=None if brain.certainty is None else round(brain.certainty, 4),
    )


def _affine(affine: Affine, alignment: Alignment | None) -> run.AffineRecord:
    matrix = run.matrix_rows(affine.matrix.tolist())
    if alignment is None:
        return run.AffineRecord(fixed_to_moving_ras_mm=matrix)
    contrasts = tuple(_contrast(each, across=alignment.cross_contrast) for each in alignment.contrasts)
    return run.AffineRecord(
        fixed_to_moving_ras_mm=matrix,
        measure=alignment.measure,
        similarity_before=alignment.similarity_before,
        similarity_after=alignment.similarity_after,
        start=alignment.start,
        iterations=alignment.iterations,
        rotation_deg=alignment.rotation_deg,
        scales=alignment.scales,
        contrast=_contrast(alignment.contrast, across=alignment.cross_contrast),
        contrasts=contrasts if len(contrasts) > 1 else None,
    )


def _contrast(contrast: ContrastSimilarity, *, across: bool) -> run.ContrastRecord:
    return run.ContrastRecord(same=not across, plain=contrast.plain, recoloured=contrast.mapped)


def _transforms(deformation: Deformation) -> run.TransformsRecord:
    order = ("affine.tfm",) if deformation.field is None else ("warp.nii.gz", "affine.tfm")
    return run.TransformsRecord(maps=_MAPS, order_for_points=order, convention=_CONVENTION)


def _similarity(contrasts: ContrastComparison, across: bool) -> run.SimilarityRecord:
    return run.SimilarityRecord(
        contrasts="any" if across else "same",
        correlation=contrasts.plain,
        correlation_recoloured=contrasts.mapped,
    )


def _channels(stages: Stages, similarity: list[run.SimilarityRecord]) -> tuple[run.ChannelRecord, ...]:
    judgement = stages.judgement
    pairs = zip(stages.inputs.pairs, similarity, judgement.metrics, judgement.verdicts, strict=True)
    return tuple(
        run.ChannelRecord(weight=pair.weight, similarity=similarity, metrics=metrics, qc=verdict)
        for pair, similarity, metrics, verdict in pairs
    )


def _refinement(deformation: Deformation, plan: Plan) -> run.RefinementRecord | None:
    """Return the levels that were planned, and what became of them."""
    result = deformation.refinement
    if result is None:
        return None
    levels = zip(plan.schedule, result.steps, strict=True)
    return run.RefinementRecord(
        start="network" if plan.network else "identity",
        levels=tuple(run.LevelRecord(**vars(level), steps_done=steps) for level, steps in levels),
        finest_scale=result.scale,
        objective=result.metric,
        objective_before=result.objective_before,
        objective_after=result.objective_after,
        folding_percent=result.folding_percent,
        merge_accepted=result.merge_accepted,
        template_accepted=result.template_accepted,
    )
