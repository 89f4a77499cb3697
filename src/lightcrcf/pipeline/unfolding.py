"""The written field without folds, and what is measured of it."""

from __future__ import annotations

from typing import Any

from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.diffeomorphic import FLOOR, folded_percent, make_diffeomorphic
from lightcrcf.transforms.field import DisplacementField

__all__ = ["field_metrics", "unfolded"]


def unfolded(field: DisplacementField) -> tuple[DisplacementField, dict[str, Any]]:
    """The field, projected onto those that do not fold, and the record of what that changed, for `run.json`."""
    projected = make_diffeomorphic(field.displacement)
    record = {
        "least_determinant": FLOOR,
        "changed_percent": 100.0 * projected.changed_fraction,
        "largest_change_voxels": projected.largest_change_voxels,
        "passes": projected.passes,
    }
    return DisplacementField(field.grid, projected.displacement), record


def field_metrics(chain: Chain, backward: Chain | None) -> dict[str, float]:
    """Of the fields as they are written, on the whole of their grid.

    Returns:
        field_folded_percent: cells between voxels in which the field is not proven free of folds.
        inverse_consistency_mean_mm, inverse_consistency_max_mm: how far voxels come back from where they started,
            through the field and then the inverse field.
        inverse_error_max_mm: the same the other way, through the inverse field first: how far that is solved.
    """
    field, inverse = chain.field, None if backward is None else backward.field
    if field is None:
        return {}
    metrics = {"field_folded_percent": folded_percent(field.displacement)}
    if inverse is not None:
        there = field.inverse_consistency_mm(inverse)
        metrics["inverse_consistency_mean_mm"], metrics["inverse_consistency_max_mm"] = there
        metrics["inverse_error_max_mm"] = inverse.inverse_consistency_mm(field).max_mm
    return metrics
