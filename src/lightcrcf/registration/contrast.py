"""Whether two images are of one contrast, and may be compared as they are, or of two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.preprocessing.intensity_mapping import conditional_means, map_intensities
from lightcrcf.refinement.working_pair import WorkingPair
from lightcrcf.registration.models import Choice

__all__ = ["REMARK", "Likeness", "across_contrasts", "likeness"]

Float32 = NDArray[np.float32]

REMARK = (
    "the images seem to be of different contrasts, and the limits of quality control were not measured for such ones: "
    "look whether the anatomy agrees"
)
_RADIUS = 2
_TISSUE, _LEAST_VARIANCE, _HALF = 0.05, 1e-6, 0.5
# Below this share of the correlation after recolouring the contrasts are two; where hardly anything correlates, nothing
# is known. On training data one contrast has .98 and more (brains, heads, hearts, crops, abdomens, chests), a T1 and a
# pseudo-contrast .76 and less, FLAIR closest: docs/decisions/0018-other-contrasts.md.
_ONE_CONTRAST, _LEAST = 0.87, 0.1


@dataclass(frozen=True)
class Likeness:
    """How alike the images of a pair are after the affine, at half the working resolution.

    One of the images is given the shades that the other one has in the same places: the one with which more is gained,
    since the poorer of two images may be a straight function of the richer one, but not the other way round.

    Args:
        plain: mean local correlation with its sign, each window weighed by the other image's standard deviation in it.
        recoloured: the same after recolouring.

    Example:
        >>> Likeness(0.80, 0.82).two_contrasts, Likeness(-0.2, 0.6).two_contrasts, Likeness(0.01, 0.03).two_contrasts
        (False, True, False)
    """

    plain: float
    recoloured: float

    @property
    def two_contrasts(self) -> bool:
        """Whether the images are so much more alike after recolouring that their contrasts are two."""
        return self.ratio < _ONE_CONTRAST

    @property
    def ratio(self) -> float:
        """Of the first to the second; 1 where hardly anything correlates."""
        return self.plain / self.recoloured if self.recoloured > _LEAST else 1.0

    def record(self, *, across: bool) -> dict[str, Any]:
        """For `run.json`.

        Args:
            across: whether the pair was registered as one of two contrasts.
        """
        return {
            "contrasts": "any" if across else "same",
            "correlation": self.plain,
            "correlation_recoloured": self.recoloured,
        }


def likeness(pair: WorkingPair) -> Likeness:
    """Measure it, where both images count; of a bare brain and a whole head, in the brain.

    Args:
        pair: on the working grid.
    """
    fixed, moving = block_mean(pair.fixed, pair.pool), block_mean(pair.moving, pair.pool)
    counts = np.ones(fixed.shape, np.float32)
    for mask in (pair.fixed_mask, pair.moving_mask):
        if mask is not None:
            counts *= block_mean(mask, pair.pool) > _HALF
    for image, bare in zip((fixed, moving), pair.bare, strict=True):
        if bare and pair.bare[0] != pair.bare[1]:
            counts *= image > _TISSUE
    return min(_one_way(fixed, moving, counts), _one_way(moving, fixed, counts), key=lambda found: found.ratio)


def _one_way(fixed: Float32, moving: Float32, counts: Float32) -> Likeness:
    """With the moving image recoloured."""
    shaded = map_intensities(moving, conditional_means(fixed, moving, counts))
    return Likeness(_correlation(fixed, moving, counts), _correlation(fixed, shaded, counts))


def across_contrasts(choice: Choice) -> Choice:
    """A pair of two contrasts has no model: networks were trained on one.

    Args:
        choice: as it would be for one contrast.
    """
    return replace(choice, weights=None, reason="no model is for images of different contrasts", mismatch=(REMARK,))


def _correlation(fixed: Float32, moving: Float32, counts: Float32) -> float:
    """The weighted mean of local correlations over the fixed tissue."""
    stack = np.stack([fixed, moving, fixed * fixed, moving * moving, fixed * moving])
    f, m, ff, mm, fm = window_mean(stack, _RADIUS)
    of_fixed, of_moving = np.maximum(ff - f * f, 0), np.maximum(mm - m * m, 0)
    local = (fm - f * m) / np.sqrt(of_fixed * of_moving + _LEAST_VARIANCE)
    weight = np.sqrt(of_fixed) * counts * (fixed > _TISSUE)
    total = float(weight.sum(dtype=np.float64))
    return float((weight * local).sum(dtype=np.float64)) / total if total > 0 else 0.0
