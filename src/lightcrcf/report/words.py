"""Display names of metrics and stages."""

from __future__ import annotations

from typing import Any

__all__ = ["MEANINGS", "number", "phrase"]

MEANINGS = {
    "pass": "Nothing that was measured speaks against this registration.",
    "check": "Something is unusual: look at the pictures before you use this result.",
    "fail": "Do not use this result as it is.",
}
_NAMES = {
    "overlap": "overlap of the foregrounds",
    "correlation": "squared local correlation",
    "correlation_global": "correlation of the intensities, without a bias field",
    "affine_stretch": "largest stretch of the affine",
    "affine_shear": "largest shear of the affine",
    "overlap_before": "overlap of the foregrounds after affine alignment",
    "overlap_after": "overlap of the foregrounds in the end",
    "covered": "fraction of the fixed foreground that the moving covers",
    "correlation_header": "squared local correlation, as given",
    "correlation_affine": "squared local correlation, after affine alignment",
    "correlation_after": "squared local correlation, in the end",
    "histogram_distance": "difference of the intensities, likewise, in units of their range",
    "folding_percent": "folding in the foreground, %",
    "jacobian_min": "smallest volume ratio in the foreground",
    "jacobian_p01": "1st percentile of the volume ratio",
    "jacobian_p99": "99th percentile of the volume ratio",
    "jacobian_max": "largest volume ratio in the foreground",
    "place_ratio_min": "smallest mean volume ratio in a cube of 8 voxels",
    "place_ratio_max": "largest mean volume ratio in a cube of 8 voxels",
    "gain_range": "range of the smooth factor between the intensities",
    "counted_fixed": "fraction of the fixed foreground within the mask",
    "counted_moving": "fraction of the moving foreground within the mask",
    "overlap_unmasked": "overlap of the foregrounds, inside and outside of the masks",
    "correlation_unmasked": "squared local correlation, inside and outside of the masks",
    "unmasked_share": "the same relative to that within the masks",
    "displacement_p99_mm": "99th percentile of the displacement, mm",
    "border_displacement_mm": "displacement at the border of the working grid, 99th percentile, mm",
    "there_and_back_mm": "forward-backward error, mean, mm",
    "affine_scales": "stretches of the affine along right, anterior, superior",
    "affine_shears": "shears of the affine",
    "affine_rotation_deg": "rotation of the affine, degrees",
    "disagreement": "forward-backward error, relative to the size",
    "extent_mm": "size of the fixed foreground, mm",
    "inverse_consistency_mean_mm": "inverse consistency error, mean, mm",
    "inverse_consistency_max_mm": "inverse consistency error, maximum, mm",
    "inverse_error_max_mm": "error of the inverse field, maximum, mm",
}


def phrase(name: str) -> str:
    """Return the display name of a metric or a stage.

    Example:
        >>> phrase("load_network")
        'load network'
    """
    return _NAMES.get(name, name.replace("_", " "))


def number(value: Any) -> str:
    """Format a value for display.

    Example:
        >>> number((0.95, 1.0, 1.0625)), number(0.000012), number(7)
        ('0.95, 1, 1.06', '1.2e-05', '7')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(number, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
