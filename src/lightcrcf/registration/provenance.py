"""What a run did, for `run.json`: versions, options, grids, preprocessing, order of transforms, timings, memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from lightcrcf.affine.align import Alignment
from lightcrcf.affine.joint_histogram import ContrastSimilarity
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import ImageType
from lightcrcf.preprocessing.normalization import NormalizedImage
from lightcrcf.registration.models import Choice
from lightcrcf.run_record.environment import cpu_name, usable_cores, versions
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume

__all__ = ["Stopwatch", "input_record", "peak_memory_mb", "provenance"]

SCHEMA = "lightcrcf-run-1"


class Stopwatch:
    """Seconds of each stage, and a progress callback at its start."""

    def __init__(self, progress: Callable[[str, float], None]) -> None:
        self.progress, self.seconds = progress, dict[str, float]()

    @contextmanager
    def stage(self, name: str, fraction: float) -> Iterator[None]:
        """Time the block under `name`."""
        self.progress(name, fraction)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def provenance(
    fixed: Volume,
    moving: Volume,
    options: dict[str, Any],
    contents: tuple[ImageType, ImageType],
    choice: Choice,
    affine: Affine,
    alignment: Alignment | None,
    working: Grid,
    images: tuple[NormalizedImage, NormalizedImage],
    field: DisplacementField | None,
    watch: Stopwatch,
    metrics: dict[str, Any],
    qc: dict[str, Any],
    *,
    engine: dict[str, Any] | None,
) -> dict[str, Any]:
    """The record of one registration, JSON values only."""
    from importlib.metadata import version

    return {
        "schema": SCHEMA,
        "versions": {"lightcrcf": version("lightcrcf"), "python": sys.version.split()[0], **versions()},
        "machine": {"cpu": cpu_name(), "cores": usable_cores()},
        "options": options,
        "model": _model(choice),
        "engine": engine,
        "inputs": {
            role: input_record(volume, seen, image)
            for role, volume, seen, image in zip(("fixed", "moving"), (fixed, moving), contents, images, strict=True)
        },
        "working_grid": _grid(working),
        "field_grid": None if field is None else _grid(field.grid),
        "affine": _affine(affine, alignment),
        "transforms": {
            "maps": "fixed points to moving points; resamples the moving image onto the fixed grid",
            "order_for_points": ["warp.nii.gz", "affine.tfm"] if field is not None else ["affine.tfm"],
            "convention": "ITK: LPS mm; SimpleITK CompositeTransform([affine, warp]); ANTs -t warp -t affine",
        },
        "metrics": metrics,
        "qc": qc,
        "timings_s": {name: round(seconds, 4) for name, seconds in watch.seconds.items()},
        "peak_memory_mb": peak_memory_mb(),
    }


def _model(choice: Choice) -> dict[str, Any]:
    weights = choice.weights
    if weights is None:
        return {"name": None, "reason": choice.reason}
    return {
        "name": weights.name,
        "sha256": weights.sha256,
        "parameters": weights.parameters,
        "preparation": asdict(weights.preparation),
        "reason": choice.reason,
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "spacing_mm": grid.spacing_mm.tolist(), "affine": grid.affine.tolist()}


def input_record(volume: Volume, seen: ImageType, image: NormalizedImage) -> dict[str, Any]:
    """What `run.json` says of an image.

    Args:
        volume: as it was read.
        seen: what it shows.
        image: as it was prepared.
    """
    order = image.order
    return {
        "source": volume.source,
        "dtype": str(volume.data.dtype),
        "grid": _grid(volume.grid),
        "notes": list(volume.notes),
        "content": {"kind": seen.kind, "ct": seen.ct, "foreground_litres": seen.foreground_litres},
        "preprocessing": {
            "axis_permutation": list(order.permutation),
            "axis_flips": list(order.flips),
            "intensity_zero": image.offset,
            "intensity_one": image.offset + image.scale,
        },
    }


def _affine(affine: Affine, alignment: Alignment | None) -> dict[str, Any]:
    record: dict[str, Any] = {"fixed_to_moving_ras_mm": affine.matrix.tolist()}
    if alignment is not None:
        record |= {
            "measure": alignment.measure,
            "similarity_before": alignment.similarity_before,
            "similarity_after": alignment.similarity_after,
            "start": alignment.start,
            "iterations": alignment.iterations,
            "rotation_deg": alignment.rotation_deg,
            "scales": list(alignment.scales),
            "contrast": _contrast(alignment.contrast, across=alignment.across),
        }
    if alignment is not None and len(alignment.contrasts) > 1:
        record["contrasts"] = [_contrast(each, across=alignment.across) for each in alignment.contrasts]
    return record


def _contrast(contrast: ContrastSimilarity, *, across: bool) -> dict[str, Any]:
    return {"same": not across, "plain": contrast.plain, "recoloured": contrast.mapped}
