"""Label an image by atlases: each is registered to it, and their labels are fused."""

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
from lightcrcf.batch.options import Options
from lightcrcf.batch.work import shared_here
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

__all__ = ["Labelling", "Moved", "label", "move", "moved_atlases", "unit_intensities"]

SCHEMA = "lightcrcf-label-1"
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Labelling:
    """An image's labels.

    Args:
        labels: integers on the image's own grid, 0 for background.
        confidence: float32 in (0, 1], the share of the vote that each voxel's label got; no probability.
        record: everything that `label.json` holds.
    """

    labels: Volume
    confidence: Volume
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Moved:
    """An atlas on the grid of the image.

    Args:
        atlas: which.
        image: (D, H, W) float32, the atlas's in units of about one.
        labels: (D, H, W) integers.
        window: the intensities of the image to label that the registration took for 0 and 1.
        quality: the verdict on its registration.
        correlation: mean squared local correlation with the image after the registration.
        sha256: of image and labels.
        seconds: of the registration.
        across: whether image and atlas were registered as two contrasts.
    """

    atlas: Atlas
    image: NDArray[np.float32]
    labels: NDArray[np.integer[Any]]
    window: tuple[float, float]
    quality: Quality
    correlation: float
    sha256: tuple[str | None, str | None]
    seconds: float
    across: bool = False

    def comparable(self, target: NDArray[np.float32]) -> NDArray[np.float32]:
        """The atlas's image, in the target's shades if their contrasts are two.

        Args:
            target: (D, H, W) float32, the image to label in units of about one.
        """
        if not self.across:
            return self.image
        inside = (self.labels != 0).astype(np.float32)
        return map_intensities(self.image, conditional_means(target, self.image, inside))


def label(
    image: str | Path,
    atlases: Sequence[Atlas | tuple[str | Path, str | Path]],
    *,
    fusion: str = DEFAULT,
    options: Options | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Labelling:
    """Register atlases to an image and fuse their labels.

    An atlas whose registration fails quality control is left out, and so is one that is the image itself; a warning
    names it.

    Args:
        image: file of the image to label; it is the fixed one, and read once.
        atlases: (image, labels) files of each; the labels lie on the image's grid.
        fusion: "vote", "weighted" or "joint"; see `fusion.fuse`.
        options: of the registrations.
        workers: processes that share this machine's cores; 1 is this process.
        progress: called with the name of each stage and the fraction done.

    Raises:
        UsageError: for options that do not fit.
        InputError: for files that cannot be used.
        QualityError: if no atlas is left.
        MemoryEstimateError: if the atlases would not fit into memory together.

    Example:
        >>> import lightcrcf
        >>> found = lightcrcf.label("brain.nii.gz", [("a.nii.gz", "a_labels.nii.gz")])  # doctest: +SKIP
        >>> found.labels.data.dtype  # doctest: +SKIP
        dtype('uint8')
    """
    options, tell, start = options or Options(), progress or (lambda stage, fraction: None), time.perf_counter()
    _check_options(fusion, options, workers)
    given = _without(Path(image), [a if isinstance(a, Atlas) else Atlas(Path(a[0]), Path(a[1])) for a in atlases])
    check_atlases(given)
    fixed = shared_here().volume(image)
    check_usable(fixed, "fixed")
    _check_fits(fixed, len(given))
    moved = []
    with closing(moved_atlases(Path(image), given, options, workers)) as coming:
        tell(f"atlas 1 of {len(given)}", 0.0)
        for found in coming:
            moved.append(found)
            tell(f"atlas {min(len(moved) + 1, len(given))} of {len(given)}", 0.95 * len(moved) / len(given))
    registered, used = time.perf_counter(), _used(moved, str(image))
    tell("fusion", 0.95)
    with use_threads(options.threads):
        target, spacing = unit_intensities(fill_missing(fixed)[0], used[0].window), fixed.grid.spacing_mm.tolist()
        fused = fuse(target, [m.comparable(target) for m in used], [m.labels for m in used], spacing, fusion)
    timings = {"registration": registered - start, "fusion": time.perf_counter() - registered}
    record = {
        "schema": SCHEMA,
        "versions": {"lightcrcf": version("lightcrcf"), "python": sys.version.split()[0], **versions()},
        "machine": {"cpu": cpu_name(), "cores": usable_cores()},
        "image": {"path": str(Path(image).absolute()), "sha256": fingerprint(image)},
        "options": {**{k: v for k, v in options.record().items() if k != "report"}, "workers": workers},
        "fusion": {"method": fusion, "atlases": len(used), "disputed_voxels": fused.disputed},
        "atlases": _about(moved, used, fused),
        "structures": _structures(fused, fixed),
        "timings_s": {name: round(seconds, 3) for name, seconds in timings.items()},
        "peak_memory_mb": peak_memory_mb(),
    }
    labels, confidence = (
        Volume(data, fixed.grid, str(image), fixed.header) for data in (fused.labels, fused.confidence)
    )
    return Labelling(labels, confidence, record)


def moved_atlases(
    image: Path, atlases: Sequence[Atlas], options: Options, workers: int = 1
) -> Generator[Moved, None, None]:
    """Each atlas on the image's grid, as they come.

    Raises:
        InputError: as `register`.
        MemoryEstimateError: if a worker dies of an atlas.
    """
    if workers == 1:
        yield from (move(atlas, image, options) for atlas in atlases)
        return
    threads = options.threads or max(1, usable_cores() // workers)
    work = partial(move, image=image, options=replace(options, threads=threads))
    with local_cluster(min(workers, len(atlases)), threads) as client:
        for atlas, found in on_cluster(client, work, atlases):
            if isinstance(found, LostWorkerError):
                raise MemoryEstimateError(
                    str(atlas.image), expected="a worker that registers it", got="one that died, mostly for memory",
                    remedy="use fewer workers, or crop the volumes",
                )  # fmt: skip
            yield found


def move(atlas: Atlas, image: Path, options: Options) -> Moved:
    """Register one atlas to an image.

    Raises:
        InputError: as `register`; and for labels with fractions.
    """
    start = time.perf_counter()
    given: dict[str, Any] = {"moving_labels": [atlas.labels], "shared": shared_here(), **options.for_register()}
    found = register(image, atlas.image, **given)
    (labels,) = found.moved_labels.values()
    record = found.record
    fixed, moving = (_window(image.preprocessing) for image in (record.inputs.fixed, record.inputs.moving))
    hashes = {source.role: source.sha256 for source in record.sources}
    return Moved(
        atlas,
        unit_intensities(found.moved, moving),
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


def unit_intensities(volume: Volume, window: tuple[float, float]) -> NDArray[np.float32]:
    """Intensities as the registration saw them, clipped so that outliers do not hide all else in a patch.

    Args:
        volume: the image.
        window: what becomes 0 and 1.

    Returns:
        (D, H, W) float32 in [0, 1.25].
    """
    zero, one = window
    unit = (volume.data.astype(np.float32) - np.float32(zero)) / np.float32(one - zero if one > zero else 1.0)
    return np.clip(unit, 0.0, 1.25, out=unit)


def _check_options(fusion: str, options: Options, workers: int) -> None:
    options.check()
    if fusion not in FUSIONS:
        raise UsageError("--fusion", expected=f"one of {', '.join(FUSIONS)}", got=fusion, remedy="correct the name")
    if not 1 <= workers <= usable_cores():
        expected = f"1 to {usable_cores()}, the cores here"
        raise UsageError("--workers", expected=expected, got=str(workers), remedy="choose fewer")


def _without(image: Path, atlases: Sequence[Atlas]) -> list[Atlas]:
    """The atlases that are not the image itself, so that a set can be labelled leaving one out."""
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


def _used(moved: Sequence[Moved], image: str) -> list[Moved]:
    """The atlases whose registration did not fail, the most similar first."""
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


def _about(moved: Sequence[Moved], used: Sequence[Moved], fused: Fused) -> list[dict[str, Any]]:
    """What the record says of each atlas, in the order of the fusion, those left out last."""
    weights = {id(m): weight for m, weight in zip(used, fused.weights, strict=True)}
    rest = sorted((m for m in moved if id(m) not in weights), key=lambda m: str(m.atlas.image))
    return [
        {
            "image": str(m.atlas.image),
            "labels": str(m.atlas.labels),
            "sha256": {"image": m.sha256[0], "labels": m.sha256[1]},
            "qc": {"verdict": m.quality.verdict, "reasons": list(m.quality.reasons)},
            "used": id(m) in weights,
            "contrasts": "any" if m.across else "same",
            "correlation": round(m.correlation, 6),
            "mean_weight": round(weights[id(m)], 6) if id(m) in weights else None,
            "agreement": _agreement(m.labels, fused.labels) if id(m) in weights else None,
            "seconds": m.seconds,
        }
        for m in (*used, *rest)
    ]


def _agreement(labels: NDArray[Any], fused: NDArray[Any]) -> float:
    """Share of the voxels with a label in either map that have the same in both."""
    counted = (labels != 0) | (fused != 0)
    total = int(np.count_nonzero(counted))
    return round(int(np.count_nonzero(counted & (labels == fused))) / total, 6) if total else 1.0


def _structures(fused: Fused, fixed: Volume) -> list[dict[str, Any]]:
    """Size and mean confidence of each label but 0, ascending."""
    inside = fused.labels != 0
    codes, place, voxels = np.unique(fused.labels[inside], return_inverse=True, return_counts=True)
    trust = np.bincount(place.ravel(), fused.confidence[inside], minlength=len(codes)) / np.maximum(voxels, 1)
    mm3 = abs(float(np.linalg.det(fixed.grid.affine[:3, :3])))
    return [
        {"label": int(c), "voxels": int(n), "mm3": round(int(n) * mm3, 3), "confidence": round(float(t), 4)}
        for c, n, t in zip(codes, voxels, trust, strict=True)
    ]
