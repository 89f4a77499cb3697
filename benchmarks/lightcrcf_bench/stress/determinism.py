"""Determinism: differences of results between numbers of threads, engines and precisions.

python -m lightcrcf_bench.stress.determinism --fixed F --moving M --out benchmarks/history/DATE-determinism.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightcrcf.files import write_json
from lightcrcf.registration.register import Registration, register
from lightcrcf_bench.measure import plain_header

__all__ = ["SETTINGS", "Difference", "compare", "main", "measure"]

# The first of each preset is what the others are compared with; it is run twice.
SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"preset": preset, "threads": threads, "engine": engine, "precision": precision}
    for preset, threads, engine, precision in (
        ("default", 2, "openvino", "f32"),
        ("default", 2, "openvino", "f32"),
        ("default", 1, "openvino", "f32"),
        ("fast", 2, "openvino", "f32"),
        ("fast", 2, "openvino", "f32"),
        ("fast", 1, "openvino", "f32"),
        ("fast", 2, "openvino", "bf16"),
        ("fast", 2, "torch", "f32"),
    )
)


@dataclass(frozen=True)
class Difference:
    """Difference of a result from the reference of its preset.

    Args:
        preset, threads, engine, precision: how it was made; engine and precision matter where a network runs.
        same_bytes: whether the moved image and the field are equal bit for bit.
        mean_mm, p99_mm, max_mm: distance between where both take points of the fixed grid.
        moved_max_percent: largest difference of the moved images, in percent of the image's range.
    """

    preset: str
    threads: int
    engine: str
    precision: str
    same_bytes: bool
    mean_mm: float
    p99_mm: float
    max_mm: float
    moved_max_percent: float


def compare(reference: Registration, other: Registration, how: dict[str, Any]) -> Difference:
    """Return the difference between two registrations of one pair."""
    voxels = np.stack(np.meshgrid(*(np.arange(0, n, 3) for n in reference.fixed.grid.shape), indexing="ij"), axis=-1)
    points = reference.fixed.grid.world(voxels.reshape(-1, 3))
    apart = np.linalg.norm(reference.transform.points(points) - other.transform.points(points), axis=1)
    span = float(np.ptp(reference.moved.data)) or 1.0
    moved = np.abs(reference.moved.data.astype(np.float64) - other.moved.data).max() / span
    return Difference(
        **how,
        same_bytes=_digest(reference) == _digest(other),
        mean_mm=float(apart.mean()),
        p99_mm=float(np.percentile(apart, 99)),
        max_mm=float(apart.max()),
        moved_max_percent=100.0 * float(moved),
    )


def _digest(found: Registration) -> str:
    field = found.transform.field
    parts = [found.moved.data, found.transform.after.matrix, *([] if field is None else [field.displacement])]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def measure(fixed: Path, moving: Path, settings: Sequence[dict[str, Any]] = SETTINGS) -> list[Difference]:
    """Register a pair with each of `settings` and compare with the first of the same preset."""
    references: dict[str, Registration] = {}
    found = []
    for how in settings:
        result = register(fixed, moving, **how)
        reference = references.setdefault(how["preset"], result)
        if reference is not result:
            found.append(compare(reference, result, how))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one pair and write the record; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    for name in ("--fixed", "--moving", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args(arguments)
    record = {
        **plain_header("lightcrcf-determinism"),
        "pair": [options.fixed.name, options.moving.name],
        "reference": "2 threads, openvino, f32",
        "differences": [asdict(difference) for difference in measure(options.fixed, options.moving)],
    }
    write_json(options.out, record)
    print(json.dumps(record["differences"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
