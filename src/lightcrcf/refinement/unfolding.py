"""Projection of fields onto those that do not fold: on request, or where few cells do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.transforms.diffeomorphic import MIN_DETERMINANT, folded_percent, make_diffeomorphic
from lightcrcf.transforms.field import DisplacementField

__all__ = ["UnfoldingSummary", "remove_folds", "without_few_folds"]

Float32 = NDArray[np.float32]

# Refined brains and abdomens fold in .02 to .3 % of the cells of half the grid, and change by .3 to .6 voxels; at a
# quarter of the smoothness in 2 to 6 %, by up to 1.2.
_MOST_FOLDED_PERCENT, _LARGEST_CHANGE_VOXELS = 10.0, 2.0


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


def remove_folds(
    field: DisplacementField, *, before: DisplacementField | None = None, passes: int = 0
) -> tuple[DisplacementField, UnfoldingSummary]:
    """Return the field projected onto those that do not fold, and what that changed.

    Args:
        field: to project.
        before: the field before an earlier projection, on the same grid; None without one.
        passes: of the earlier projection.
    """
    before = field if before is None else before
    projected = make_diffeomorphic(field.displacement)
    change = np.linalg.norm(projected.displacement - before.displacement, axis=0)
    summary = UnfoldingSummary(
        least_determinant=MIN_DETERMINANT,
        folded_percent_before=folded_percent(before.displacement),
        folded_percent=folded_percent(projected.displacement),
        changed_percent=100.0 * float(np.mean(change > 0)),
        largest_change_voxels=float(change.max(initial=0.0)),
        passes=passes + projected.passes,
    )
    return DisplacementField(field.grid, projected.displacement), summary


def without_few_folds(displacement: Float32) -> Float32:
    """Return a displacement without folds between its voxels, or as it is where they are many or ask for large changes.

    The refinement keeps central differences on its grid from folding. A grid that is finer shows each cell by itself.

    Args:
        displacement: (3, D, H, W) voxels.
    """
    if not 0 < folded_percent(displacement) <= _MOST_FOLDED_PERCENT:
        return displacement
    projected = make_diffeomorphic(displacement)
    return displacement if projected.largest_change_voxels > _LARGEST_CHANGE_VOXELS else projected.displacement
