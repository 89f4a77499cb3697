"""Registration from end to end: two volumes in, a transform and the moved volume out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.evaluation.jacobian import JacobianMaps, jacobian_maps
from lightcrcf.geometry.threads import use_threads
from lightcrcf.memory import check_memory_estimate, limit_malloc_arenas
from lightcrcf.options import Options, Preset, Similarity, Transform, fill_value
from lightcrcf.progress import Stopwatch
from lightcrcf.quality.label_check import LabelMapRecord, label_record
from lightcrcf.quality.metrics import QualityMetrics
from lightcrcf.quality.transform_metrics import inverse_metrics
from lightcrcf.quality.verdict import Quality
from lightcrcf.registration.context import RunContext
from lightcrcf.registration.deform import deform
from lightcrcf.registration.heads import extract_brains
from lightcrcf.registration.inputs import Inputs, RawInputs, channels_of
from lightcrcf.registration.plan import plan_registration
from lightcrcf.registration.prepare import prepare
from lightcrcf.registration.record import Stages, build_record
from lightcrcf.registration.resample import ResampledImages, resample_inputs
from lightcrcf.registration.verdicts import judge_pairs
from lightcrcf.run_record.input_files import file_options, sources_of
from lightcrcf.run_record.record import RunRecord
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

__all__ = ["Registration", "register"]

Progress = Callable[[str, float], None]
PathLike = str | os.PathLike[str]
Masks = tuple[Volume | None, Volume | None]


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of a registration.

    Args:
        fixed, moving: the volumes of the first pair, filled with their background value where they have no data.
        moved: the moving volume on the fixed grid, interpolated once.
        transform: fixed points to moving points; resamples the moving volume.
        inverse: moving points to fixed points, if asked for.
        moved_labels, also: label maps and further images moved along, by source; the moving images of further pairs are
            the first ones of `also`.
        record: the content of `run.json`, without the files.
        masks: of the fixed and the moving image, as given.
        brain_masks: (D, H, W) uint8 of both images, where they were asked for and found.
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
    record: RunRecord
    masks: Masks = (None, None)
    brain_masks: Masks = (None, None)
    jacobian: JacobianMaps | None = None
    further: tuple[tuple[Volume, Volume], ...] = ()

    @property
    def quality(self) -> Quality:
        """The verdict of quality control, with its reasons."""
        return self.record.qc

    @property
    def metrics(self) -> QualityMetrics:
        """Metrics of quality control."""
        return self.record.metrics


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
    engine: Literal["auto", "native", "torch"] = "auto",
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
            other contrasts of the same two persons, in the same two spaces, on any grids. Each pair is compared by the
            measure that suits it, and one transform aligns all. The first pair selects the model, whose network sees it
            alone, and results lie on its fixed grid.
        model: "auto", the name of a shipped model, a .safetensors file, or "none" to refine from coarse to fine
            without a network.
        init: "auto" aligns affinely, "none" trusts the headers, anything else is an ITK affine file.
        preset: "fast", the network and a few steps; "default", a refinement of seconds for a brain;
            "accurate", refinement until it no longer helps, as "default" does for small images.
            The model sets the initial field of the refinement; see `weights.preparation.Preparation`.
            Without a model "fast" is affine only.
        refine: steps at full resolution, instead of the preset's.
        fixed_mask, moving_mask: 0 where voxels must not count, such as in lesions, on the grid of their image: in the
            affine alignment, the refinement and quality control. The network sees the other image's values there.
        moving_labels: label maps of the moving image, moved by nearest neighbour.
        fixed_labels: labels of the fixed image, on its grid, for Dice in the record; they do not steer anything.
        also: further images of the moving subject; integer label maps by nearest neighbour, others linearly.
        diffeomorphic: change the field, as little as possible, so that it folds nowhere.
        inverse: also invert the transform.
        coarsen: factor by which the voxels of the working grid are larger along each axis, to save memory and time.
        engine, device, precision, threads: how to run the network.
        fill: value of moved images where the moving image has no data: outside of it, NaN, infinity, padding; "auto" is
            its own background (air in CT), NaN is possible. Label maps get 0.
        smoothness: of the refined field, 0.1 to 10; 2 is smoother, 0.5 rougher. Without a refinement (`refine=0`, some
            models) and with "fast" without `refine` anything but 1 is an error.
        jacobian: also measure local volume change on the fixed grid.
        similarity: "any" for images of different contrasts: they are refined by the fraction of the moving image's
            local variance that the fixed one explains, from the field of a network that runs on such pairs ("brain"),
            or from the identity; "same" compares intensities; "auto" decides after the affine alignment, and is "same"
            where a model was named.
        transform: "rigid", "similarity" (and one scale), "affine", or "deformable", an affine and a field. Without
            a field there is neither network nor refinement: with `refine`, `smoothness`, `diffeomorphic` or `init`,
            anything but "deformable" is an error, and `preset` makes no difference.
        channel_weights: weight of each pair in the objective, in any unit; equal by default.
        brain_mask: also return the brain mask of the fixed image, and of the moving one if it was made: of a head and a
            skull-stripped brain, the head's brain is extracted and registered alone in any case. A `fixed_mask` or
            `moving_mask` that is a brain mask is used for that.
        progress: called with the name of each stage and the fraction done.
        shared: cache of results that consecutive registrations in this thread share.

    Raises:
        UsageError: for options that do not fit together.
        InputError: for volumes that cannot be used; or if a brain mask is asked for and no brain is found.

    Example:
        >>> import lightcrcf
        >>> lightcrcf.register("fixed.nii.gz", "moving.nii.gz").quality.verdict  # doctest: +SKIP
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
    raw = RawInputs(*images, fixed_mask, moving_mask, fixed_labels, moving_labels, also)
    watch = Stopwatch(progress or (lambda stage, fraction: None))
    with use_threads(threads):
        return _register(raw, RunContext(options, shared or RegistrationCache(), watch, shared is not None))


def _register(raw: RawInputs, context: RunContext) -> Registration:
    """Read, extract brains, plan, align affinely, deform, resample, judge, and record."""
    options, watch = context.options, context.stopwatch
    with watch.stage("read", 0.0):
        read = Inputs.read(raw, context.cache, options.channel_weights)
        sources = sources_of(raw.roles)
    with watch.stage("brain", 0.05):
        inputs = extract_brains(read, context.cache, wanted=options.brain_mask)
    with watch.stage("choose model", 0.1):
        plan = plan_registration(inputs, options, context.cache, retain_engine=context.retain_engine)
        check_memory_estimate(inputs.fixed.source, plan.memory)
    prepared = prepare(inputs, plan, context)
    sources += sources_of(file_options(options.model, options.init))  # both files were read, so they exist
    deformation = deform(prepared, inputs, context)
    chain = Chain(Affine.identity(), deformation.field, prepared.affine)
    with watch.stage("resample", 0.75):
        images = resample_inputs(chain, inputs, options.fill)
    with watch.stage("inverse", 0.85):
        inverse = chain.inverse() if options.inverse else None
    with watch.stage("jacobian", 0.88):
        jacobian = jacobian_maps(chain, inputs.fixed) if options.jacobian else None
    with watch.stage("quality", 0.9):
        labels = _label_records(inputs, images, prepared.affine)
        judgement = judge_pairs(prepared, inputs, deformation, labels)
        consistency = inverse_metrics(chain, inverse)
    stages = Stages(sources, inputs, prepared, deformation, chain, inverse, jacobian, labels, judgement, consistency)
    return _result(stages, images, build_record(stages, context), read.first.masks)


def _label_records(inputs: Inputs, images: ResampledImages, affine: Affine) -> tuple[LabelMapRecord, ...]:
    both = zip(inputs.moving_labels, images.labels.values(), strict=True)
    return tuple(label_record(before, after, affine, inputs.fixed_labels) for before, after in both)


def _result(stages: Stages, images: ResampledImages, record: RunRecord, masks: Masks) -> Registration:
    first = stages.inputs.first
    fixed, moving = first.shown
    return Registration(
        fixed, moving, images.moved, stages.chain, stages.inverse, images.labels, images.also, record, masks,
        first.brain_masks if record.options.brain_mask else (None, None), stages.jacobian, stages.inputs.further_shown,
    )  # fmt: skip
