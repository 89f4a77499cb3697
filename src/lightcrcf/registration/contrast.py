"""Comparison of the contrasts of two aligned images: one contrast, compared directly, or two."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.preprocessing.intensity_mapping import conditional_means, map_intensities
from lightcrcf.preprocessing.masks import fill_holes_in_slices
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.models import ModelSelection

__all__ = ["REMARK", "ContrastComparison", "compare_contrasts", "select_across_contrasts"]

Float32 = NDArray[np.float32]

REMARK = (
    "the images seem to be of different contrasts, and the limits of quality control were not measured for such ones: "
    "look whether the anatomy agrees"
)
_RADIUS = 2
_FOREGROUND, _EPSILON, _HALF = 0.05, 1e-6, 0.5
# Below this fraction of the correlation after intensity mapping the contrasts are two; where hardly anything
# correlates, they are taken for one. On training data one contrast has .98 and more (brains, heads, hearts, crops,
# abdomens, chests), a T1 and a pseudo-contrast .76 and less, FLAIR closest: docs/decisions/0018-other-contrasts.md.
_MIN_RATIO, _MIN_CORRELATION = 0.87, 0.1
# Scalp, fat and muscle look alike in most contrasts; so far below the skin there is brain. On training heads one
# contrast has .99 and more there, a T1 and a pseudo-contrast .8 and less; the whole head up to .99.
_DEEP_MM, _MIN_DEEP_LITRES = 30.0, 0.05


@dataclass(frozen=True)
class ContrastComparison:
    """Local correlation of a pair after the affine, with and without mapping the intensities of one image.

    The mapping assigns to each intensity of one image the mean intensity of the other one in the same voxels. Of both
    directions the one with the larger gain counts: the image of poorer contrast may be a function of the richer one,
    but not the other way round.

    Args:
        plain: mean signed local correlation at half the working resolution, each window weighted by the standard
            deviation of the image that is not mapped.
        mapped: the same after mapping.

    Example:
        >>> pairs = (0.80, 0.82), (-0.2, 0.6), (0.01, 0.03)
        >>> [ContrastComparison(*pair).two_contrasts for pair in pairs]
        [False, True, False]
    """

    plain: float
    mapped: float

    @property
    def two_contrasts(self) -> bool:
        """True if intensity mapping raises the correlation so much that the contrasts are two."""
        return self.ratio < _MIN_RATIO

    @property
    def ratio(self) -> float:
        """Plain over mapped correlation; 1 where hardly anything correlates."""
        return self.plain / self.mapped if self.mapped > _MIN_CORRELATION else 1.0


def compare_contrasts(pair: WorkingPair, *, heads: bool = False) -> ContrastComparison:
    """Compare the contrasts of a pair within its masks; of a bare brain and a whole head, within the brain.

    Args:
        pair: on the working grid, after the affine.
        heads: whether both images show whole heads, which are compared deep below the skin.
    """
    fixed, moving = block_mean(pair.fixed, pair.pool), block_mean(pair.moving, pair.pool)
    counts = np.ones(fixed.shape, np.float32)
    for mask in (pair.fixed_mask, pair.moving_mask):
        if mask is not None:
            counts *= block_mean(mask, pair.pool) > _HALF
    for image, bare in zip((fixed, moving), pair.bare, strict=True):
        if bare and pair.bare[0] != pair.bare[1]:
            counts *= image > _FOREGROUND
    if heads:
        counts = _deep(fixed, moving, counts, pair.grid.spacing_mm * pair.pool)
    return min(_mapped(fixed, moving, counts), _mapped(moving, fixed, counts), key=lambda found: found.ratio)


def _deep(fixed: Float32, moving: Float32, counts: Float32, spacing_mm: NDArray[np.float64]) -> Float32:
    """Return what counts and lies deep in both heads; all that counts if that is too little to tell."""
    deep = counts * (_depth_mm(fixed, spacing_mm) > _DEEP_MM) * (_depth_mm(moving, spacing_mm) > _DEEP_MM)
    litres = float(deep.sum(dtype=np.float64)) * float(np.prod(spacing_mm)) / 1e6
    return np.asarray(deep, np.float32) if litres >= _MIN_DEEP_LITRES else counts


def _depth_mm(image: Float32, spacing_mm: NDArray[np.float64]) -> Float32:
    """Return how far each voxel lies below the skin; the border of the image is no skin."""
    import SimpleITK as sitk

    head = sitk.GetImageFromArray(fill_holes_in_slices(image > _FOREGROUND).astype(np.uint8))
    head.SetSpacing(spacing_mm[::-1].tolist())
    depth = sitk.SignedMaurerDistanceMap(head, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    return np.asarray(sitk.GetArrayFromImage(depth), np.float32)


def _mapped(fixed: Float32, moving: Float32, counts: Float32) -> ContrastComparison:
    """Return the comparison with the intensities of the moving image mapped."""
    mapped = map_intensities(moving, conditional_means(fixed, moving, counts))
    return ContrastComparison(_correlation(fixed, moving, counts), _correlation(fixed, mapped, counts))


def select_across_contrasts(selection: ModelSelection) -> ModelSelection:
    """Return the selection for a pair of two contrasts: a model that runs on such pairs, or none.

    Args:
        selection: for one contrast.
    """
    weights = selection.weights
    if weights is not None and weights.preparation.across is not None:
        mismatch = (*selection.mismatch, REMARK)
        return replace(selection, reason=f"{selection.reason}, of two contrasts", mismatch=mismatch)
    return replace(selection, weights=None, reason="no model is for images of different contrasts", mismatch=(REMARK,))


def _correlation(fixed: Float32, moving: Float32, counts: Float32) -> float:
    """Return the weighted mean of the signed local correlation over the fixed foreground."""
    stack = np.stack([fixed, moving, fixed * fixed, moving * moving, fixed * moving])
    f, m, ff, mm, fm = window_mean(stack, _RADIUS)
    of_fixed, of_moving = np.maximum(ff - f * f, 0), np.maximum(mm - m * m, 0)
    local = (fm - f * m) / np.sqrt(of_fixed * of_moving + _EPSILON)
    weight = np.sqrt(of_fixed) * counts * (fixed > _FOREGROUND)
    total = float(weight.sum(dtype=np.float64))
    return float((weight * local).sum(dtype=np.float64)) / total if total > 0 else 0.0
