"""What became of the labels that were moved: which vanished, which changed their volume, how well they overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.evaluation.labels import as_codes, check_label_map
from lightcrcf.evaluation.metrics import dice
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import Volume, on_grid_of

__all__ = ["FACTOR", "check_fixed_labels", "label_record", "warnings_of"]

FACTOR = 3.0
"""A label that gets this much larger or smaller than the affine alone would make it is named."""

_SPECK = 30  # moving voxels below which a label comes and goes with the grid: it is named, but no reason to worry
_NAMED = 8
_BINS = 1 << 16


def check_fixed_labels(labels: Volume | None, fixed: Volume) -> Volume | None:
    """Labels to compare with, voxel on voxel with the fixed image.

    Raises:
        InputError: if they lie elsewhere, or are an image.
    """
    if labels is None:
        return None
    check_label_map(labels.data, labels.source)
    return on_grid_of(labels, fixed, what="labels")


def label_record(moving: Volume, moved: Volume, affine: Affine, fixed: Volume | None) -> dict[str, Any]:
    """What `run.json` says of one label map.

    Args:
        moving: the label map as it was given.
        moved: the same on the fixed grid.
        affine: fixed to moving points.
        fixed: labels of the fixed image, on its grid, to compare with.

    Returns:
        "source"; "structures", by code: volumes before and after in mm3, their ratio with the affine's own factor taken
        out, and Dice; "notes" on what vanished or changed more than `FACTOR`.

    Raises:
        InputError: if a label map holds fractions.
    """
    before, after = _sizes(moving), _sizes(moved)
    voxel_before, voxel_after = (_voxel_mm3(v) for v in (moving, moved))
    growth = abs(float(np.linalg.det(affine.matrix[:3, :3])))
    overlap = {} if fixed is None else dice(fixed.data, moved.data)
    structures = {
        str(code): {
            "moving_mm3": round(count * voxel_before, 3),
            "moved_mm3": round(after.get(code, 0) * voxel_after, 3),
            "ratio": round(after.get(code, 0) * voxel_after * growth / (count * voxel_before), 4),
            **({"dice": round(overlap[code], 6)} if code in overlap else {}),
        }
        for code, count in before.items()
    }
    return {"source": moving.source, "structures": structures, "notes": _notes(structures, before)}


def warnings_of(records: list[dict[str, Any]]) -> list[str]:
    """The notes that are reasons to look, a sentence for each label map: what vanished though it was no speck."""
    found = []
    for record in records:
        lost = [note for note in record["notes"] if note.startswith("lost")]
        found += [f"of the labels {record['source']}, {note}" for note in lost]
    return found


def _notes(structures: Mapping[str, Mapping[str, float]], before: Mapping[int, int]) -> list[str]:
    gone = [code for code, s in structures.items() if s["moved_mm3"] == 0]
    lost, specks = ([c for c in gone if (before[int(c)] >= _SPECK) is large] for large in (True, False))
    changed = [
        f"{code} ({s['ratio']:.2g} times)"
        for code, s in structures.items()
        if s["moved_mm3"] and not 1 / FACTOR <= s["ratio"] <= FACTOR
    ]
    told = [
        ("lost altogether", lost),
        (f"gone, of fewer than {_SPECK} voxels", specks),
        (f"more than {FACTOR:g} times larger or smaller than the affine alone makes it", changed),
    ]
    return [f"{what}: {_listed(codes)}" for what, codes in told if codes]


def _listed(codes: list[str]) -> str:
    more = f" and {len(codes) - _NAMED} more" if len(codes) > _NAMED else ""
    return ", ".join(codes[:_NAMED]) + more


def _sizes(labels: Volume) -> dict[int, int]:
    """Voxels of each code but 0, in ascending order."""
    values: NDArray[Any] = as_codes(labels.data, labels.source).ravel()
    if values.size and values.min() >= 0 and values.max() < _BINS:
        counts = np.bincount(values)
        codes = np.flatnonzero(counts)
        pairs = zip(codes.tolist(), counts[codes].tolist(), strict=True)
    else:
        found, sizes = np.unique(values, return_counts=True)
        pairs = zip(found.tolist(), sizes.tolist(), strict=True)
    return {int(code): int(count) for code, count in pairs if code != 0}


def _voxel_mm3(volume: Volume) -> float:
    return abs(float(np.linalg.det(volume.grid.affine[:3, :3])))
