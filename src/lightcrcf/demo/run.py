"""The demo: a registration with known true transform, scored in millimetres, with a report."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.demo.phantom import KnownPair, make_pair
from lightcrcf.evaluation.metrics import dice
from lightcrcf.files import atomic_path
from lightcrcf.registration.register import register
from lightcrcf.registration.save import save
from lightcrcf.report.html import report_files
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import write

__all__ = ["DemoResult", "StageErrors", "measure", "run_demo", "write_inputs"]

_POINTS = 24


@dataclass(frozen=True)
class StageErrors:
    """Target registration error and overlap of one stage.

    Args:
        name: before, affine or deformable.
        mean_mm, p95_mm, max_mm: mean, 95th percentile and maximum of the target registration error over the brain.
        dice: mean Dice of grey and white matter.
    """

    name: str
    mean_mm: float
    p95_mm: float
    max_mm: float
    dice: float


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo.

    Args:
        subject: description of the images.
        seconds: time of the registration, including reading, without the report.
        verdict: of the quality control.
        stages: before, affine, deformable.
    """

    subject: str
    seconds: float
    verdict: str
    stages: tuple[StageErrors, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return asdict(self)


def run_demo(
    out: Path, *, pair: KnownPair | None = None, progress: Callable[[str, float], None] | None = None
) -> DemoResult:
    """Register a known pair through files, as users do; write volumes, results and a report to `out`.

    Args:
        out: folder, created if needed.
        pair: the images; the MNI152 template or a phantom by default.
        progress: called with (stage, fraction).

    Raises:
        InputError: if the folder cannot be written.
    """
    pair = pair or make_pair()
    write_inputs(pair, out)
    start = time.perf_counter()
    registration = register(
        out / "fixed.nii.gz", out / "moving.nii.gz", moving_labels=[out / "moving_labels.nii.gz"], progress=progress
    )
    seconds = time.perf_counter() - start
    save(registration, out, extra_files=report_files(registration, out=str(out)))
    return DemoResult(pair.subject, seconds, registration.quality.verdict, measure(pair, registration.transform))


def write_inputs(pair: KnownPair, out: Path) -> None:
    """Write the volumes, their labels, and `points.csv`: fixed points with their true positions in moving space."""
    out.mkdir(parents=True, exist_ok=True)
    write(out / "fixed.nii.gz", pair.fixed)
    write(out / "fixed_labels.nii.gz", pair.fixed_labels, like=pair.fixed)
    write(out / "moving.nii.gz", pair.moving)
    write(out / "moving_labels.nii.gz", pair.moving_labels, like=pair.moving)
    points, true = pair.targets()
    some = slice(0, None, max(1, len(points) // _POINTS))
    with atomic_path(out / "points.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["x", "y", "z", "true_x", "true_y", "true_z"])
        table.writerows([f"{value:.3f}" for value in row] for row in np.hstack([points[some], true[some]]).tolist())


def measure(pair: KnownPair, found: Chain) -> tuple[StageErrors, ...]:
    """Return the errors of a chain from fixed to moving points: before, after the affine, and after the field."""
    chains = {
        "before": Chain(Affine.identity(), None, Affine.identity()),
        "affine": Chain(found.before, None, found.after),
        "deformable": found,
    }
    errors = pair.errors_mm(found)
    return tuple(_stage(name, errors[name], _overlap(pair, chain)) for name, chain in chains.items())


def _stage(name: str, errors_mm: NDArray[np.float64], overlap: float) -> StageErrors:
    mean, p95, most = errors_mm.mean(), np.percentile(errors_mm, 95), errors_mm.max()
    return StageErrors(name, float(mean), float(p95), float(most), overlap)


def _overlap(pair: KnownPair, chain: Chain) -> float:
    moved = chain.resample(pair.moving_labels, pair.fixed.grid, "nearest")
    return float(np.mean(list(dice(pair.fixed_labels.data, moved.data, labels=[1, 2]).values())))
