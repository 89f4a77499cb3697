"""Registration from end to end: two volumes in, a transform and the moved volume out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine, open_engine
from lightcrcf.errors import InputError, UsageError
from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import warp_upsampled
from lightcrcf.geometry.threads import use_threads
from lightcrcf.network.config import NetworkConfig
from lightcrcf.pipeline import quality
from lightcrcf.pipeline.affine import Alignment, align
from lightcrcf.pipeline.deform import on_fixed
from lightcrcf.pipeline.foreground import content
from lightcrcf.pipeline.models import Choice, choose_model
from lightcrcf.pipeline.preprocess import Prepared, prepare, working_grid
from lightcrcf.pipeline.provenance import Stopwatch, provenance
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.transforms.itk import read_affine
from lightcrcf.volumes import Volume, check_usable, coerce
from lightcrcf.volumes.limits import check_memory
from lightcrcf.weights.preparation import Preparation

__all__ = ["PRESETS", "Registration", "register"]

PRESETS = ("fast", "default", "accurate")
_PREVIEW_VOXELS = 4e6
_BYTES_PER_VOXEL = 80  # of the working grid: measured on a brain, images and features together
Progress = Callable[[str, float], None]
PathLike = str | os.PathLike[str]


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
    also: list[Volume]


def register(
    fixed: Any,
    moving: Any,
    *,
    model: PathLike = "auto",
    init: PathLike = "auto",
    preset: str = "fast",
    fixed_mask: Any = None,
    moving_mask: Any = None,
    moving_labels: Sequence[Any] = (),
    also: Sequence[Any] = (),
    inverse: bool = False,
    engine: Literal["auto", "openvino", "torch"] = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["auto", "f32", "bf16"] = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Registration:
    """Align `moving` with `fixed`.

    Args:
        fixed, moving: a path, a nibabel or SimpleITK image, (array, affine) or a Volume.
        model: "auto", the name of a shipped model, a .safetensors file, or "none" for an affine result.
        init: "auto" aligns affinely, "none" trusts the headers, anything else is an ITK affine file.
        preset: "fast", the network alone.
        fixed_mask, moving_mask: nonzero where the affine alignment may look, on the grid of their image.
        moving_labels: label maps of the moving image, moved by nearest neighbour.
        also: further images of the moving subject; integer label maps by nearest neighbour, others linearly.
        inverse: also invert the transform.
        engine, device, precision, threads: how to run the network.
        progress: called with the name of each stage and the fraction done.

    Raises:
        UsageError: for options that do not fit together.
        InputError: for volumes that cannot be used.

    Example:
        >>> import lightcrcf
        >>> lightcrcf.register("fixed.nii.gz", "moving.nii.gz").qc["verdict"]  # doctest: +SKIP
        'pass'
    """
    _check_preset(preset)
    _check_together(init, threads, fixed_mask, moving_mask)
    options = {
        "model": os.fspath(model), "init": os.fspath(init), "preset": preset, "inverse": inverse, "engine": engine,
        "device": device, "precision": precision, "threads": threads,
    }  # fmt: skip
    watch = Stopwatch(progress or (lambda stage, fraction: None))
    with use_threads(threads):
        with watch.stage("read", 0.0):
            inputs = _read(fixed, moving, fixed_mask, moving_mask, moving_labels, also)
        with watch.stage("choose model", 0.1):
            contents = content(inputs.fixed), content(inputs.moving)
            choice = choose_model(model, contents, (inputs.fixed.grid, inputs.moving.grid))
        with ThreadPoolExecutor(1) as background:
            # The network's graphs are built while the affine runs.
            opening = _open(background, choice, engine, device, precision, threads)
            with watch.stage("affine", 0.15):
                affine, alignment = _initial_affine(_init(init, choice), inputs)
            with watch.stage("prepare", 0.4):
                pair = _Pair.prepare(inputs, affine, choice)
            with watch.stage("load network", 0.5):
                network = opening.result() if opening else None
        with watch.stage("network", 0.55):
            displacement = None if network is None else network.displacement(pair.fixed_image, pair.moving_image)
        with watch.stage("field", 0.7):
            field = None if displacement is None else pair.on_fixed(displacement, inputs.fixed.grid)
            chain = Chain(Affine.identity(), field, affine)
        with watch.stage("resample", 0.75):
            moved = _resampled(chain, inputs.moving, inputs.fixed, "linear")
            labels = _named((v.source, _resampled(chain, v, inputs.fixed, "nearest")) for v in inputs.labels)
            others = _named((v.source, _resampled(chain, v, inputs.fixed, "auto")) for v in inputs.also)
        with watch.stage("inverse", 0.85):
            backward = chain.inverse() if inverse else None
        with watch.stage("quality", 0.9):
            alike = contents[0].kind == contents[1].kind
            evidence = _evidence(
                pair, displacement, alignment, choice, quality.overlap if alike else quality.containment
            )
            metrics = _metrics(evidence, chain, backward)
            qc = quality.verdict(evidence)
    record = provenance(
        inputs.fixed, inputs.moving, options, contents, choice, affine, alignment, pair.grid, pair.images, field, watch,
        metrics, qc, engine=None if network is None else _engine(network),
    )  # fmt: skip
    return Registration(inputs.fixed, inputs.moving, moved, chain, backward, labels, others, metrics, qc, record)


def _engine(network: Engine) -> dict[str, str]:
    return {"name": network.name, "device": network.device, "precision": network.precision}


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise UsageError("preset", expected=f"one of {', '.join(PRESETS)}", got=str(preset), remedy="use fast")
    if preset != "fast":
        raise UsageError(
            "preset",
            expected="fast, the network alone",
            got=preset,
            remedy="the refinement that default and accurate stand for is not part of this version yet; use fast",
        )


def _check_together(init: PathLike, threads: int | None, *masks: Any) -> None:
    if threads is not None and threads < 1:
        raise UsageError("threads", expected="at least 1", got=str(threads), remedy="correct the number")
    if os.fspath(init) != "auto" and any(mask is not None for mask in masks):
        raise UsageError(
            "mask",
            expected="init auto, as masks say where the affine alignment may look",
            got=f"init {os.fspath(init)}",
            remedy="leave the masks or the init out",
        )


def _read(fixed: Any, moving: Any, fixed_mask: Any, moving_mask: Any, labels: Any, also: Any) -> _Inputs:
    """All inputs, at once: gzip and the disk leave the other core idle."""
    wanted = [fixed, moving, fixed_mask, moving_mask, *labels, *also]
    with ThreadPoolExecutor(2) as readers:
        volumes = list(readers.map(lambda item: None if item is None else coerce(item), wanted))
    images = [v for v in volumes[:2] if v is not None]
    if len(images) < 2:
        raise InputError("volume", expected="a fixed and a moving volume", got="None", remedy="give both")
    check_usable(images[0], "fixed")
    check_usable(images[1], "moving")
    for mask, image in zip(volumes[2:4], images, strict=True):
        _check_mask(mask, image)
    rest = [v for v in volumes[4:] if v is not None]
    return _Inputs(images[0], images[1], volumes[2], volumes[3], rest[: len(labels)], rest[len(labels) :])


def _check_mask(mask: Volume | None, image: Volume) -> None:
    if mask is None:
        return
    if not mask.grid.isclose(image.grid, tolerance_mm=0.01):
        raise InputError(
            mask.source,
            expected=f"a mask on the grid of {image.source}, {image.grid.shape}",
            got=f"another grid, {mask.grid.shape}",
            remedy="resample the mask onto its image",
        )
    if not mask.data.any():
        raise InputError(
            mask.source, expected="a mask with nonzero voxels", got="an empty one", remedy="check the mask"
        )


def _open(
    background: ThreadPoolExecutor, choice: Choice, engine: Any, device: Any, precision: Any, threads: int | None
) -> Any:
    if choice.weights is None:
        return None
    return background.submit(
        open_engine, choice.weights, name=engine, device=device, precision=precision, threads=threads
    )


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


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both images on the working grid, the moving one through the affine."""

    images: tuple[Prepared, Prepared]
    grid: Grid
    pool: tuple[int, int, int]
    fixed_image: NDArray[np.float32]
    moving_image: NDArray[np.float32]
    header_image: NDArray[np.float32]

    @classmethod
    def prepare(cls, inputs: _Inputs, affine: Affine, choice: Choice) -> _Pair:
        # Without a model the grid serves quality control only.
        weights = choice.weights
        network = weights.config if weights else NetworkConfig()
        how = weights.preparation if weights else Preparation(None)
        fixed, moving = (
            prepare(v, pool=network.pool, view=how.view, window=how.window) for v in (inputs.fixed, inputs.moving)
        )
        spacing_mm = how.spacing_mm if weights else (_preview_spacing(fixed),) * 3
        grid = working_grid(fixed, spacing_mm, multiples=network.multiples, view=how.view)
        check_memory(
            inputs.fixed.source,
            grid.size * _BYTES_PER_VOXEL,
            remedy=f"crop the volume, or check its voxel size: the working grid has {grid.spacing_mm.min():g} mm",
        )
        aligned = moving.onto(grid, affine.matrix)
        if not aligned.any():
            raise InputError(
                inputs.moving.source,
                expected="a moving image that overlaps the fixed one",
                got="no tissue in common",
                remedy="use --init auto, or check that both files show the same anatomy",
            )
        return cls((fixed, moving), grid, network.pool, fixed.onto(grid), aligned, moving.onto(grid))

    def on_fixed(self, displacement: NDArray[np.float32], fixed: Grid) -> DisplacementField:
        """The network's field on the grid that is written."""
        return on_fixed(displacement, self.grid.half(self.pool), fixed, self.images[0].order, self.pool)


def _preview_spacing(fixed: Prepared) -> float:
    """As fine as the fixed image, unless that makes too many voxels."""
    spacing = fixed.grid.spacing_mm
    box_mm = (fixed.box[1] - fixed.box[0] + 1) * spacing
    return max(float(spacing.min()), float(np.cbrt(np.prod(box_mm) / _PREVIEW_VOXELS)))


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


def _evidence(
    pair: _Pair,
    displacement: NDArray[np.float32] | None,
    alignment: Alignment | None,
    choice: Choice,
    overlap: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float],
) -> quality.Evidence:
    """Measured at half the working resolution."""
    evidence = quality.Evidence(mismatch=list(choice.mismatch))
    halves = pair.pool
    fixed, affine = block_mean(pair.fixed_image, halves), block_mean(pair.moving_image, halves)
    header = block_mean(pair.header_image, halves)
    mask = fixed > 0.05
    evidence.correlation_header = quality.local_correlation(fixed, header, mask)
    evidence.correlation_affine = quality.local_correlation(fixed, affine, mask)
    evidence.overlap_before = overlap(mask, affine > 0.05)
    evidence.affine_scales = alignment.scales if alignment else None
    if displacement is not None:
        moved = block_mean(warp_upsampled(pair.moving_image[None], displacement, pair.pool)[0], halves)
        evidence.correlation_after = quality.local_correlation(fixed, moved, mask)
        evidence.overlap_after = overlap(mask, moved > 0.05)
        quality.deformation_evidence(evidence, displacement, mask, pair.grid.half(pair.pool).spacing_mm)
    return evidence


def _metrics(evidence: quality.Evidence, chain: Chain, backward: Chain | None) -> dict[str, Any]:
    metrics = {k: v for k, v in vars(evidence).items() if v is not None and k != "mismatch"}
    if backward is not None and isinstance(chain.field, DisplacementField) and backward.field is not None:
        consistency = chain.field.inverse_consistency_mm(backward.field)
        metrics["inverse_consistency_mean_mm"] = consistency.mean_mm
        metrics["inverse_consistency_max_mm"] = consistency.max_mm
    return metrics
