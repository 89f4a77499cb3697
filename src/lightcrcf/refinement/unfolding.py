"""The written field without folds, and what is measured of it."""

from __future__ import annotations

from typing import Any

from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.diffeomorphic import MIN_DETERMINANT, folded_percent, make_diffeomorphic
from lightcrcf.transforms.field import DisplacementField

__all__ = ["inverse_metrics", "unfolded"]


def unfolded(field: DisplacementField) -> tuple[DisplacementField, dict[str, Any]]:
    """The field, projected onto those that do not fold, and the record of what that changed, for `run.json`.

    Folded are the cells between voxels in which a field is not proven free of folds.
    """
    projected = make_diffeomorphic(field.displacement)
    record = {
        "least_determinant": MIN_DETERMINANT,
        "folded_percent_before": folded_percent(field.displacement),
        "folded_percent": folded_percent(projected.displacement),
        "changed_percent": 100.0 * projected.changed_fraction,
        "largest_change_voxels": projected.largest_change_voxels,
        "passes": projected.passes,
    }
    return DisplacementField(field.grid, projected.displacement), record


def inverse_metrics(chain: Chain, backward: Chain | None) -> dict[str, float]:
    """How well the fields that are written undo each other, on the whole of their grid; nothing without an inverse.

    Returns:
        inverse_consistency_mean_mm, inverse_consistency_max_mm: how far voxels come back from where they started,
            through the field and then the inverse field.
        inverse_error_max_mm: the same the other way, through the inverse field first: how far that is solved.
    """
    field, inverse = chain.field, None if backward is None else backward.field
    if field is None or inverse is None:
        return {}
    mean_mm, max_mm = field.inverse_consistency_mm(inverse)
    return {
        "inverse_consistency_mean_mm": mean_mm,
        "inverse_consistency_max_mm": max_mm,
        "inverse_error_max_mm": inverse.inverse_consistency_mm(field).max_mm,
    }
