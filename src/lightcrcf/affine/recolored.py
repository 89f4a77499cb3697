"""Images of unlike contrast made comparable: each is recoloured as the other one, by their joint histogram."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import ENOUGH_OVERLAP, correlations
from lightcrcf.affine.pyramid import Level, Pair, localised
from lightcrcf.geometry.histogram_kernels import interpolate_table, joint_histogram

__all__ = [
    "SAME_CONTRAST",
    "TOP",
    "Contrast",
    "conditional_mean",
    "histogram",
    "information",
    "normalised_mutual_information",
    "one_way",
    "recoloured",
]

Float64 = NDArray[np.float64]

# Bins of the joint histograms, and the largest value of `affine_images.Level.image`.
_BINS, TOP = 24, 1.2
# Samples that a bin holds beforehand, at the mean of all, as a share of what bins hold on average: empty bins decide
# nothing.
_BEFOREHAND = 1e-4
SAME_CONTRAST = 0.75
"""Of `Contrast.ratio`: from here on two images have the same contrast."""


@dataclass(frozen=True)
class Contrast:
    """How alike two aligned images are as they are, and after recolouring; of several pairs the means by their shares.

    Args:
        plain: correlation of the locally normalised images, mean of both directions.
        recoloured: the same, where one of the two is recoloured as the other.
    """

    plain: float
    recoloured: float

    @classmethod
    def of(cls, pair: Pair, local: Pair, matrix: Float64) -> Contrast:
        """Compare under `matrix` (4, 4), mm to mm; local: `pair` as `localised` makes it."""
        after = correlations(recoloured(pair, matrix, local), matrix[None])
        return cls(float(correlations(local, matrix[None])[0]), float(after[0]))

    @classmethod
    def of_each(cls, pair: Pair, local: Pair, matrix: Float64) -> tuple[Contrast, ...]:
        """Compare each pair for itself, the first one first."""
        alone = [[replace(each, share=1.0, further=()) for each in which.every] for which in (pair, local)]
        return tuple(cls.of(each, its, matrix) for each, its in zip(*alone, strict=True))

    @property
    def ratio(self) -> float:
        """Plain over recoloured: about 1 for one contrast, negative where bright and dark are exchanged."""
        return self.plain / max(self.recoloured, -self.plain, 1e-6)

    @property
    def likeness(self) -> float:
        """How much either tells of the place: of thick slices, recolouring is poor where an inversion is plain."""
        return max(self.recoloured, abs(self.plain))

    @property
    def same(self) -> bool:
        """Return whether recolouring gains next to nothing."""
        return self.ratio >= SAME_CONTRAST


def recoloured(pair: Pair, matrix: Float64, local: Pair | None = None) -> Pair:
    """`pair` with each image in the contrast of the other one too, as their joint histogram under `matrix` has it.

    Where the other image is bright does not matter to a comparison with E[other | this]: its correlation squared is the
    correlation ratio.

    Args:
        pair: the images, not localised.
        matrix: (4, 4) fixed to moving mm.
        local: `pair` as `localised` makes it; then this is what is returned, with localised recoloured images.

    Source:
        Roche et al., The correlation ratio as a new similarity measure, MICCAI 1998.
    """
    joint = histogram(pair, matrix)
    levels = _in_contrast(pair.fixed, conditional_mean(joint.T)), _in_contrast(pair.moving, conditional_mean(joint))
    locals_ = (None,) * len(pair.further) if local is None else local.further
    further = tuple(recoloured(each, matrix, its) for each, its in zip(pair.further, locals_, strict=True))
    if local is None:
        return replace(pair, recoloured=levels, further=further)
    return replace(local, recoloured=(localised(levels[0]), localised(levels[1])), further=further)


def _in_contrast(level: Level, means: Float64) -> Level:
    """Background, at zero, stays there."""
    return replace(level, image=interpolate_table(level.image, means - means[0], TOP))


def histogram(pair: Pair, matrix: Float64) -> Float64:
    """(bins, bins) joint histogram under `matrix` (4, 4), rows for fixed, of both directions in equal parts; sum 1."""
    there, here = _both(pair, matrix)
    total = there / max(there.sum(), 1e-30) + here.T / max(here.sum(), 1e-30)
    return np.asarray(total / max(total.sum(), 1e-30))


def information(pair: Pair, matrix: Float64) -> float:
    """Normalised mutual information under `matrix` (4, 4), the mean of all pairs by their shares.

    It fades to 1 where too little overlaps, as correlations do.
    """
    return sum(each.share * _information(each, matrix) for each in pair.every)


def _information(pair: Pair, matrix: Float64) -> float:
    there, here = _both(pair, matrix)
    overlap = there.sum() * pair.fixed.litres_per_weight, here.sum() * pair.moving.litres_per_weight
    enough = ENOUGH_OVERLAP * min(pair.fixed.litres, pair.moving.litres)
    faded = [min(litres / enough, 1.0) for litres in overlap]
    values = normalised_mutual_information(there) - 1, normalised_mutual_information(here) - 1
    return float(1 + (faded[0] * values[0] + faded[1] * values[1]) / 2)


def _both(pair: Pair, matrix: Float64) -> tuple[Float64, Float64]:
    """(bins, bins) joint histograms at the fixed samples and at the moving ones, rows for the image of the samples."""
    back = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    return one_way(pair.fixed, pair.moving, matrix, _BINS), one_way(pair.moving, pair.fixed, back, _BINS)


def one_way(reference: Level, other: Level, matrix: Float64, bins: int) -> Float64:
    """(bins, bins) joint histogram at the samples of `reference`, rows for it; matrix: (4, 4), its mm to other's mm."""
    index = (other.grid.inverse @ matrix @ reference.grid.affine)[:3]
    return joint_histogram(
        reference.image, reference.samples, other.image, other.valid, index, other.blank, bins=bins, top=TOP
    )


def conditional_mean(joint: Float64) -> Float64:
    """(columns,) mean of the rows' values for each column of a joint histogram, smoothed over columns by [1 2 1].

    Example:
        >>> joint = np.diag([1.0, 1.0, 1.0, 1.0])[::-1]
        >>> conditional_mean(joint).round(2).tolist()
        [1.1, 0.8, 0.4, 0.1]
    """
    centres = np.linspace(0, TOP, len(joint))
    count, total = _smoothed(joint.sum(axis=0)), _smoothed(centres @ joint)
    beforehand = max(_BEFOREHAND * float(count.mean()), 1e-30)
    mean = float(total.sum()) / max(float(count.sum()), 1e-30)
    return np.asarray((total + beforehand * mean) / (count + beforehand))


def _smoothed(line: Float64) -> Float64:
    padded = np.pad(line, 1, mode="edge")
    return np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)


def normalised_mutual_information(joint: Float64) -> float:
    """(H(f) + H(m)) / H(f, m): 1 for independent images, 2 where each tells all of the other.

    Source:
        Studholme, Hill and Hawkes, An overlap invariant entropy measure, Pattern Recognition 1999.

    Example:
        >>> round(normalised_mutual_information(np.eye(3)), 6), round(normalised_mutual_information(np.ones((3, 3))), 6)
        (2.0, 1.0)
    """
    share = joint / max(joint.sum(), 1e-30)
    both = _entropy(share)
    return (_entropy(share.sum(axis=0)) + _entropy(share.sum(axis=1))) / both if both > 0 else 0.0


def _entropy(share: Float64) -> float:
    some = share[share > 0]
    return float(-(some * np.log(some)).sum())
