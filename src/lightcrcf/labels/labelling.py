"""Multi-atlas labelling: atlases are registered to an image, and their labels are fused."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.batch.execute import LostWorkerError, local_cluster, on_cluster
from lightcrcf.batch.options import BatchOptions
from lightcrcf.batch.work import thread_cache
from lightcrcf.errors import InputError, MemoryEstimateError, QualityError, UsageError
from lightcrcf.evaluation.labels import as_codes
from lightcrcf.geometry.threads import use_threads
from lightcrcf.labels.atlases import Atlas, check_atlases
from lightcrcf.labels.fusion import DEFAULT, FUSIONS, Fused, fuse, fusion_bytes
from lightcrcf.preprocessing.intensity_mapping import conditional_means, map_intensities
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.quality.verdict import Quality
from lightcrcf.registration.register import register
from lightcrcf.run_record.environment import cpu_name, peak_memory_mb, usable_cores, versions
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.run_record.record import PreprocessingRecord
from lightcrcf.volumes import Volume, check_usable
from lightcrcf.volumes.limits import check_memory

__all__ = ["Labelling", "PropagatedAtlas", "label", "propagate", "propagate_all", "scale_intensities"]

SCHEMA = "lightcrcf-label-1"
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Labelling:
    """Labels of an image.

    Args:
        labels: integers on the grid of the image, 0 for background.
        confidence: float32 in (0, 1], the fraction of the weighted votes for the label of each voxel; not a
            probability.
        record: content of `label.json`.
    """

    labels: Volume
    confidence: Volume
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PropagatedAtlas:
    """An atlas, propagated to the grid of the target image.

    Args:
        atlas: files of the atlas.
        image: (D, H, W) float32, normalised image of the atlas.
        labels: (D, H, W) integers.
        window: intensities of the target image that normalisation maps to 0 and 1.
        quality: quality control of the registration.
        correlation: mean squared local correlation with the target after the registration.
        sha256: checksums of image and labels.
        seconds: time of the registration.
        cross_contrast: whether target and atlas were registered as different contrasts.
    """

    atlas: Atlas
    image: NDArray[np.float32]
    labels: NDArray[np.integer[Any]]
    window: tuple[float, float]
    quality: Quality
    correlation: float
    sha256: tuple[str | None, str | None]
    seconds: float
    cross_contrast: bool = False

    def in_target_contrast(self, target: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image of the atlas, with intensities mapped to those of the target if contrasts differ.

        Args:
            target: (D, H, W) float32, the normalised target image.
        """
        if not self.cross_contrast:
            return self.image
        inside = (self.labels != 0).astype(np.float32)
        return map_intensities(self.image, conditional_means(target, self.image, inside))


def label(
    image: str | Path,
    atlases: Sequence[Atlas | tuple[str | Path, str | Path]],
    *,
    fusion: str = DEFAULT,
    options: BatchOptions | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Labelling:
    """Register atlases to an image and fuse their labels.

    Atlases whose registration fails quality control, and the image itself, are excluded with a warning.

    Args:
        image: file of the image to label; the fixed image.
        atlases: (image, labels) files of each; labels lie on the grid of their image.
        fusion: "vote", "weighted" or "joint"; see `fusion.fuse`.
        options: of the registrations.
        workers: number of processes on this machine; 1 is this process.
        progress: called with the name of each stage and the fraction done.

    Raises:
        UsageError: for invalid options.
        InputError: for files that cannot be used.
        QualityError: if no registration passes.
        MemoryEstimateError: if the propagated atlases would not fit into memory.

    Example:
        >>> import lightcrcf
        >>> found = lightcrcf.label("brain.nii.gz", [("a.nii.gz", "a_labels.nii.gz")])  # doctest: +SKIP
        >>> found.labels.data.dtype  # doctest: +SKIP
        dtype('uint8')
    """
    options, start = options or BatchOptions(), time.perf_counter()
    progress = progress or (lambda stage, fraction: None)
    _check_options(fusion, options, workers)
    chosen = _exclude_image(
        Path(image), [a if isinstance(a, Atlas) else Atlas(Path(a[0]), Path(a[1])) for a in atlases]
    )
    check_atlases(chosen)
    fixed = thread_cache().volume(image)
    check_usable(fixed, "fixed")
    _check_fits(fixed, len(chosen))
    moved = _propagate_with_progress(Path(image), chosen, options, workers, progress)
    registered, used = time.perf_counter(), _select_atlases(moved, str(image))
    progress("fusion", 0.95)
    with use_threads(options.threads):
        target, spacing = scale_intensities(fill_missing(fixed)[0], used[0].window), fixed.grid.spacing_mm.tolist()
        fused = fuse(target, [m.in_target_contrast(target) for m in used], [m.labels for m in used], spacing, fusion)
    timings = {"registration": registered - start, "fusion": time.perf_counter() - registered}
    record = {
        **_run_record(image, options, workers),
        "fusion": {"method": fusion, "atlases": len(used), "disputed_voxels": fused.disagreements},
        "atlases": _atlas_records(moved, used, fused),
        "structures": _structures(fused, fixed),
        "timings_s": {name: round(seconds, 3) for name, seconds in timings.items()},
        "peak_memory_mb": peak_memory_mb(),
    }
    labels, confidence = (
        Volume(data, fixed.grid, str(image), fixed.header) for data in (fused.labels, fused.confidence)
    )
    return Labelling(labels, confidence, record)


def _propagate_with_progress(
    image: Path, atlases: Sequence[Atlas], options: BatchOptions, workers: int, progress: Progress
) -> list[PropagatedAtlas]:
    """Return all atlases on the grid of the image, and report progress after each."""
    moved: list[PropagatedAtlas] = []
    with closing(propagate_all(image, atlases, options, workers)) as results:
        progress(f"atlas 1 of {len(atlases)}", 0.0)
        for atlas in results:
            moved.append(atlas)
            done = len(moved)
            progress(f"atlas {min(done + 1, len(atlases))} of {len(atlases)}", 0.95 * done / len(atlases))
    return moved


def _run_record(image: str | Path, options: BatchOptions, workers: int) -> dict[str, Any]:
    """Return the entries of the record that do not depend on results."""
    return {
        "schema": SCHEMA,
        "versions": {"lightcrcf": version("lightcrcf"), "python": sys.version.split()[0], **versions()},
        "machine": {"cpu": cpu_name(), "cores": usable_cores()},
        "image": {"path": str(Path(image).absolute()), "sha256": fingerprint(image)},
        "options": {**{k: v for k, v in options.record().items() if k != "report"}, "workers": workers},
    }


def propagate_all(
    image: Path, atlases: Sequence[Atlas], options: BatchOptions, workers: int = 1
) -> Generator[PropagatedAtlas, None, None]:
    """Yield each atlas on the grid of the image as its registration finishes.

    Raises:
        InputError: as `register`.
        MemoryEstimateError: if an atlas kills its worker.
    """
    if workers == 1:
        yield from (propagate(atlas, image, options) for atlas in atlases)
        return
    threads = options.threads or max(1, usable_cores() // workers)
    work = partial(propagate, image=image, options=replace(options, threads=threads))
    with local_cluster(min(workers, len(atlases)), threads) as client:
        for atlas, found in on_cluster(client, work, atlases):
            if isinstance(found, LostWorkerError):
                raise MemoryEstimateError(
                    str(atlas.image), expected="a worker that registers it", got="one that died, mostly for memory",
                    remedy="use fewer workers, or crop the volumes",
                )  # fmt: skip
            yield found


def propagate(atlas: Atlas, image: Path, options: BatchOptions) -> PropagatedAtlas:
    """Register one atlas to an image.

    Raises:
        InputError: as `register`, and for labels that are not integers.
    """
    start = time.perf_counter()
    given: dict[str, Any] = {"moving_labels": [atlas.labels], "shared": thread_cache(), **options.for_register()}
    found = register(image, atlas.image, **given)
    (labels,) = found.moved_labels.values()
    record = found.record
    fixed, moving = (_window(image.preprocessing) for image in (record.inputs.fixed, record.inputs.moving))
    hashes = {source.role: source.sha256 for source in record.sources}
    return PropagatedAtlas(
        atlas,
        scale_intensities(found.moved, moving),
        as_codes(labels.data, str(atlas.labels)),
        fixed,
        found.quality,
        found.metrics.correlation or 0.0,
        (hashes["moving"], hashes["moving_labels"]),
        round(time.perf_counter() - start, 3),
        record.similarity.contrasts == "any",
    )


def _window(preprocessing: PreprocessingRecord) -> tuple[float, float]:
    return preprocessing.intensity_zero, preprocessing.intensity_one


def scale_intensities(volume: Volume, window: tuple[float, float]) -> NDArray[np.float32]:
    """Normalise intensities as the registration does, clipped so that outliers do not dominate a patch.

    Args:
        volume: the image.
        window: intensities that map to 0 and 1.

    Returns:
        (D, H, W) float32 in [0, 1.25].
    """
    zero, one = window
    unit = (volume.data.astype(np.float32) - np.float32(zero)) / np.float32(one - zero if one > zero else 1.0)
    return np.clip(unit, 0.0, 1.25, out=unit)


def _check_options(fusion: str, options: BatchOptions, workers: int) -> None:
    options.check()
    if fusion not in FUSIONS:
        raise UsageError("--fusion", expected=f"one of {', '.join(FUSIONS)}", got=fusion, remedy="correct the name")
    if not 1 <= workers <= usable_cores():
        expected = f"1 to {usable_cores()}, the cores here"
        raise UsageError("--workers", expected=expected, got=str(workers), remedy="choose fewer")


def _exclude_image(image: Path, atlases: Sequence[Atlas]) -> list[Atlas]:
    """Return the atlases without the image itself, for leave-one-out labelling of a set."""
    kept = [a for a in atlases if not (image.exists() and a.image.exists() and a.image.samefile(image))]
    if len(kept) < len(atlases):
        warnings.warn(f"{image}: is one of the atlases; left out", stacklevel=3)
    if not kept:
        raise InputError(str(image), expected="at least one atlas of another image", got="none", remedy="add some")
    return kept


def _check_fits(fixed: Volume, atlases: int) -> None:
    check_memory(
        fixed.source, fusion_bytes(fixed.grid.size, atlases, 2), remedy="use fewer atlases, or crop the volume"
    )


def _select_atlases(moved: Sequence[PropagatedAtlas], image: str) -> list[PropagatedAtlas]:
    """Return the atlases whose registration did not fail, sorted by decreasing similarity."""
    for failed in (m for m in moved if m.quality.verdict == "fail"):
        reasons = "; ".join(failed.quality.reasons)
        warnings.warn(f"{failed.atlas.image}: left out, quality control failed: {reasons}", stacklevel=3)
    used = [m for m in moved if m.quality.verdict != "fail"]
    if not used:
        raise QualityError(
            image, expected="at least one atlas whose registration does not fail",
            got=f"none of {len(moved)}, the first: {'; '.join(moved[0].quality.reasons)}",
            remedy="check that image and atlases show the same, in the same contrast",
        )  # fmt: skip
    return sorted(used, key=lambda m: (-m.correlation, str(m.atlas.image)))


def _atlas_records(
    moved: Sequence[PropagatedAtlas], used: Sequence[PropagatedAtlas], fused: Fused
) -> list[dict[str, Any]]:
    """Return the record of each atlas, in the order of the fusion, excluded ones last."""
    weights = {id(m): weight for m, weight in zip(used, fused.weights, strict=True)}
    rest = sorted((m for m in moved if id(m) not in weights), key=lambda m: str(m.atlas.image))
    return [
        {
            "image": str(m.atlas.image),
            "labels": str(m.atlas.labels),
            "sha256": {"image": m.sha256[0], "labels": m.sha256[1]},
            "qc": {"verdict": m.quality.verdict, "reasons": list(m.quality.reasons)},
            "used": id(m) in weights,
            "contrasts": "any" if m.cross_contrast else "same",
            "correlation": round(m.correlation, 6),
            "mean_weight": round(weights[id(m)], 6) if id(m) in weights else None,
            "agreement": _agreement(m.labels, fused.labels) if id(m) in weights else None,
            "seconds": m.seconds,
        }
        for m in (*used, *rest)
    ]


def _agreement(labels: NDArray[Any], fused: NDArray[Any]) -> float:
    """Return the fraction of the voxels labelled in either map that have the same label in both."""
    counted = (labels != 0) | (fused != 0)
    total = int(np.count_nonzero(counted))
    return round(int(np.count_nonzero(counted & (labels == fused))) / total, 6) if total else 1.0


def _structures(fused: Fused, fixed: Volume) -> list[dict[str, Any]]:
    """Return size and mean confidence of each nonzero label, ascending."""
    inside = fused.labels != 0
    codes, place, voxels = np.unique(fused.labels[inside], return_inverse=True, return_counts=True)
    trust = np.bincount(place.ravel(), fused.confidence[inside], minlength=len(codes)) / np.maximum(voxels, 1)
    mm3 = abs(float(np.linalg.det(fixed.grid.affine[:3, :3])))
    return [
        {"label": int(c), "voxels": int(n), "mm3": round(int(n) * mm3, 3), "confidence": round(float(t), 4)}
        for c, n, t in zip(codes, voxels, trust, strict=True)
    ]
