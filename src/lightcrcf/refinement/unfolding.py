"""Projection of the written field onto fields that do not fold."""

from __future__ import annotations

from dataclasses import dataclass

from lightcrcf.transforms.diffeomorphic import MIN_DETERMINANT, folded_percent, make_diffeomorphic
from lightcrcf.transforms.field import DisplacementField

__all__ = ["UnfoldingSummary", "remove_folds"]


@dataclass(frozen=True, kw_only=True)
class UnfoldingSummary:
    """Changes of a projection onto diffeomorphic fields, the entry `diffeomorphic` of `run.json`.

    Folded cells are those between voxels in which a field is not proven free of folds.

    Args:
        least_determinant: lower bound of the Jacobian determinant.
        folded_percent_before, folded_percent: folded cells before and after.
        changed_percent: voxels whose displacement changed.
        largest_change_voxels: of any displacement.
        passes: iterations over the field.
    """

    least_determinant: float
    folded_percent_before: float
    folded_percent: float
    changed_percent: float
    largest_change_voxels: float
    passes: int


def remove_folds(field: DisplacementField) -> tuple[DisplacementField, UnfoldingSummary]:
    """Return the field projected onto those that do not fold, and what that changed."""
    projected = make_diffeomorphic(field.displacement)
    summary = UnfoldingSummary(
        least_determinant=MIN_DETERMINANT,
        folded_percent_before=folded_percent(field.displacement),
        folded_percent=folded_percent(projected.displacement),
        changed_percent=100.0 * projected.changed_fraction,
        largest_change_voxels=projected.largest_change_voxels,
        passes=projected.passes,
    )
    return DisplacementField(field.grid, projected.displacement), summary
