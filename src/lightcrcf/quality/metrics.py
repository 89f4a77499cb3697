"""The quality metrics of a registration: measured without labels or ground truth, None where not measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = ["QualityMetrics"]

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class QualityMetrics:
    """Label-free metrics of a registration, the entry `metrics` of `run.json`; None for what was not measured.

    Local correlations and overlaps are taken in the fixed foreground at half the working resolution, the metrics of the
    field at the field's own.

    Args:
        correlation_header, correlation_affine, correlation_after: mean squared local correlation under the headers'
            alignment, after the affine and after the deformation; for images of two contrasts the fraction of the
            moving image's local variance that the fixed one explains.
        overlap_before, overlap_after: Dice overlap of the foregrounds before and after the deformation; for a brain and
            a whole head the fraction of the smaller one that lies in the larger.
        correlation_global: correlation over the common foreground in the end, a smooth gain removed
            (`bias_field.smooth_gain`); negative where bright and dark are exchanged.
        histogram_distance: mean difference of the intensity quantiles there, in units of the intensity range.
        gain_range: 95th over 5th percentile of that smooth gain.
        covered: fraction of the fixed foreground for which the moving image has data.
        counted_fixed, counted_moving: fraction of each foreground within the user's mask; None without a mask.
        overlap_unmasked, correlation_unmasked: `overlap_after` and `correlation_after` (after the affine if there is no
            deformation) over all that both images show, outside of the masks too; None without a mask.
        folding_percent: voxels of the fixed foreground whose Jacobian determinant is not positive.
        jacobian_min, jacobian_p01, jacobian_p99, jacobian_max: of the field's Jacobian determinant there.
        place_ratio_min, place_ratio_max: extremes of the determinant's mean over cubes of 8 voxels, about the size of
            the correlation window.
        displacement_p99_mm: 99th percentile of the displacement in the fixed foreground.
        border_displacement_mm: 99th percentile of the displacement on the faces of the field's grid.
        there_and_back_mm: forward-backward error: mean distance between points of the fixed foreground and their images
            under the field followed by that of a coarse registration in the other direction.
        affine_scales: scales of the affine along right, anterior and superior.
        affine_shears: shears xy, xz, yz of the affine.
        affine_rotation_deg: rotation angle of the affine.
        extent_mm: cube root of the volume of the fixed foreground.
        inverse_consistency_mean_mm, inverse_consistency_max_mm: distance between voxels and their images under the
            field followed by the written inverse field, over the whole grid; None without an inverse.
        inverse_error_max_mm: the same in the other order, the residual of the fixed-point inversion.
    """

    overlap_before: float | None = None
    overlap_after: float | None = None
    correlation_header: float | None = None
    correlation_affine: float | None = None
    correlation_after: float | None = None
    correlation_global: float | None = None
    histogram_distance: float | None = None
    gain_range: float | None = None
    covered: float | None = None
    counted_fixed: float | None = None
    counted_moving: float | None = None
    overlap_unmasked: float | None = None
    correlation_unmasked: float | None = None
    folding_percent: float | None = None
    jacobian_min: float | None = None
    jacobian_p01: float | None = None
    jacobian_p99: float | None = None
    jacobian_max: float | None = None
    place_ratio_min: float | None = None
    place_ratio_max: float | None = None
    displacement_p99_mm: float | None = None
    border_displacement_mm: float | None = None
    there_and_back_mm: float | None = None
    affine_scales: Triple | None = None
    affine_shears: Triple | None = None
    affine_rotation_deg: float | None = None
    extent_mm: float | None = None
    inverse_consistency_mean_mm: float | None = None
    inverse_consistency_max_mm: float | None = None
    inverse_error_max_mm: float | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> QualityMetrics:
        """Return the metrics of a JSON object; unknown names are ignored.

        Args:
            values: by name, as `measured` returns them.
        """
        known: dict[str, Any] = {}
        for name in values.keys() & {field.name for field in fields(cls)}:
            known[name] = tuple(values[name]) if isinstance(values[name], list) else values[name]
        return cls(**known)

    def measured(self) -> dict[str, Any]:
        """Return the metrics that are not None, by name: a float or three."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def __or__(self, other: QualityMetrics) -> QualityMetrics:
        """Return all metrics of both; those of `other` take precedence.

        Example:
            >>> both = QualityMetrics(covered=1.0) | QualityMetrics(gain_range=1.2)
            >>> both.measured()
            {'gain_range': 1.2, 'covered': 1.0}
        """
        return replace(self, **other.measured())

    @property
    def overlap(self) -> float | None:
        """Overlap of the foregrounds in the end: after the deformation if there is one, else after the affine."""
        return self.overlap_before if self.overlap_after is None else self.overlap_after

    @property
    def correlation(self) -> float | None:
        """Mean squared local correlation in the end: after the deformation if there is one, else after the affine."""
        return self.correlation_affine if self.correlation_after is None else self.correlation_after

    @property
    def affine_stretch(self) -> float | None:
        """Largest factor by which the affine stretches or shrinks along an axis, at least 1."""
        return max(max(abs(s), 1 / abs(s)) for s in self.affine_scales) if self.affine_scales else None

    @property
    def affine_shear(self) -> float | None:
        """Largest absolute shear of the affine."""
        return max(map(abs, self.affine_shears)) if self.affine_shears else None

    @property
    def unmasked_share(self) -> float | None:
        """Correlation over everything relative to that within the masks, at most 1; None without a mask."""
        within = self.correlation
        if self.correlation_unmasked is None or not within:
            return None
        return min(1.0, self.correlation_unmasked / within)

    @property
    def disagreement(self) -> float | None:
        """Forward-backward error relative to the extent of the anatomy."""
        if self.there_and_back_mm is None or not self.extent_mm:
            return None
        return self.there_and_back_mm / self.extent_mm
