"""Joint histograms of image pairs: mutual information, intensity mapping, and whether two contrasts are the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.affine.gauss_newton import correlations
from lightcrcf.affine.pyramid import LevelPair, PyramidLevel, normalise_locally
from lightcrcf.geometry.histogram_kernels import interpolate_table, joint_histogram

__all__ = [
    "SAME_CONTRAST",
    "TOP",
    "ContrastSimilarity",
    "conditional_mean",
    "histogram",
    "information",
    "map_intensities",
    "normalised_mutual_information",
    "one_sided_histogram",
]

Float64 = NDArray[np.float64]

# Bins of the joint histograms, and the largest value of `PyramidLevel.image`.
_BINS, TOP = 24, 1.2
# Prior count of a bin at the overall mean, as a fraction of the mean count, so that empty bins have a defined mean.
_PRIOR_PROBABILITY = 1e-4
SAME_CONTRAST = 0.75
"""Least `ContrastSimilarity.ratio` of two images of the same contrast."""


@dataclass(frozen=True)
class ContrastSimilarity:
    """Correlation of two aligned images, plain and after intensity mapping; the weighted means of several pairs.

    Args:
        plain: correlation of the locally normalised images, averaged over both directions.
        mapped: the same after mapping the intensities of one image to those of the other.
    """

    plain: float
    mapped: float

    @classmethod
    def of(cls, pair: LevelPair, local: LevelPair, matrix: Float64) -> ContrastSimilarity:
        """Measure under `matrix` (4, 4), mm to mm; local: the locally normalised `pair`."""
        after = correlations(map_intensities(pair, matrix, local), matrix[None])
        return cls(float(correlations(local, matrix[None])[0]), float(after[0]))

    @classmethod
    def of_each(cls, pair: LevelPair, local: LevelPair, matrix: Float64) -> tuple[ContrastSimilarity, ...]:
        """Measure each pair separately, the first one first."""
        alone = [[replace(each, weight=1.0, further=()) for each in which.all_pairs] for which in (pair, local)]
        return tuple(cls.of(each, its, matrix) for each, its in zip(*alone, strict=True))

    @property
    def ratio(self) -> float:
        """Return plain / mapped: about 1 for the same contrast, negative for inverted contrast."""
        return self.plain / max(self.mapped, -self.plain, 1e-6)

    @property
    def similarity(self) -> float:
        """Return the larger of mapped and |plain|; |plain| is larger for inverted contrasts in thick slices."""
        return max(self.mapped, abs(self.plain))

    @property
    def same_contrast(self) -> bool:
        """Return whether intensity mapping gains next to nothing."""
        return self.ratio >= SAME_CONTRAST


def map_intensities(pair: LevelPair, matrix: Float64, local: LevelPair | None = None) -> LevelPair:
    """Map the intensities of each image to the contrast of the other, by their joint histogram under `matrix`.

    The mapped image is E[other | this]; its squared correlation with the other image is the correlation ratio.

    Args:
        pair: the images, not locally normalised.
        matrix: (4, 4) from fixed to moving mm.
        local: the locally normalised `pair`.

    Returns:
        `pair` with mapped images; with `local`, that pair with locally normalised mapped images.

    Source:
        Roche et al., The correlation ratio as a new similarity measure, MICCAI 1998.
    """
    joint = histogram(pair, matrix)
    levels = _mapped(pair.fixed, conditional_mean(joint.T)), _mapped(pair.moving, conditional_mean(joint))
    locals_ = (None,) * len(pair.further) if local is None else local.further
    further = tuple(map_intensities(each, matrix, its) for each, its in zip(pair.further, locals_, strict=True))
    if local is None:
        return replace(pair, mapped=levels, further=further)
    return replace(local, mapped=(normalise_locally(levels[0]), normalise_locally(levels[1])), further=further)


def _mapped(level: PyramidLevel, means: Float64) -> PyramidLevel:
    """Map the intensities of a level; background stays at zero."""
    return replace(level, image=interpolate_table(level.image, means - means[0], TOP))


def histogram(pair: LevelPair, matrix: Float64) -> Float64:
    """Return the (bins, bins) joint histogram under `matrix` (4, 4), rows for fixed, mean of both directions; sum 1."""
    forward, backward = _two_histograms(pair, matrix)
    total = forward / max(forward.sum(), 1e-30) + backward.T / max(backward.sum(), 1e-30)
    return np.asarray(total / max(total.sum(), 1e-30))


def information(pair: LevelPair, matrix: Float64) -> float:
    """Return the normalised mutual information under `matrix` (4, 4), the weighted mean of all pairs.

    It falls to 1 where too little overlaps, as `correlations` fall to 0.
    """
    return sum(each.weight * _pair_information(each, matrix) for each in pair.all_pairs)


def _pair_information(pair: LevelPair, matrix: Float64) -> float:
    forward, backward = _two_histograms(pair, matrix)
    overlap = forward.sum() * pair.fixed.litres_per_weight, backward.sum() * pair.moving.litres_per_weight
    enough = _core.FULL_OVERLAP * min(pair.fixed.litres, pair.moving.litres)
    faded = [min(litres / enough, 1.0) for litres in overlap]
    values = normalised_mutual_information(forward) - 1, normalised_mutual_information(backward) - 1
    return float(1 + (faded[0] * values[0] + faded[1] * values[1]) / 2)


def _two_histograms(pair: LevelPair, matrix: Float64) -> tuple[Float64, Float64]:
    """Return (bins, bins) joint histograms at the fixed and the moving samples, rows for the image of the samples."""
    inverse = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    return one_sided_histogram(pair.fixed, pair.moving, matrix, _BINS), one_sided_histogram(
        pair.moving, pair.fixed, inverse, _BINS
    )


def one_sided_histogram(reference: PyramidLevel, other: PyramidLevel, matrix: Float64, bins: int) -> Float64:
    """Return the (bins, bins) joint histogram at the samples of `reference`, its rows; matrix: (4, 4), mm to mm."""
    index = (other.grid.inverse @ matrix @ reference.grid.affine)[:3]
    return joint_histogram(
        reference.image, reference.samples, other.image, other.valid, index, other.blank_outside, bins=bins, top=TOP
    )


def conditional_mean(joint: Float64) -> Float64:
    """Return the (columns,) mean row value of each column of a joint histogram, smoothed over columns by [1 2 1].

    Example:
        >>> joint = np.diag([1.0, 1.0, 1.0, 1.0])[::-1]
        >>> conditional_mean(joint).round(2).tolist()
        [1.1, 0.8, 0.4, 0.1]
    """
    centres = np.linspace(0, TOP, len(joint))
    count, total = _smoothed(joint.sum(axis=0)), _smoothed(centres @ joint)
    prior = max(_PRIOR_PROBABILITY * float(count.mean()), 1e-30)
    mean = float(total.sum()) / max(float(count.sum()), 1e-30)
    return np.asarray((total + prior * mean) / (count + prior))


def _smoothed(line: Float64) -> Float64:
    padded = np.pad(line, 1, mode="edge")
    return np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)


def normalised_mutual_information(joint: Float64) -> float:
    """Return (H(f) + H(m)) / H(f, m): 1 for independent images, 2 if each image determines the other.

    Source:
        Studholme, Hill and Hawkes, An overlap invariant entropy measure, Pattern Recognition 1999.

    Example:
        >>> round(normalised_mutual_information(np.eye(3)), 6), round(normalised_mutual_information(np.ones((3, 3))), 6)
        (2.0, 1.0)
    """
    probability = joint / max(joint.sum(), 1e-30)
    both = _entropy(probability)
    return (_entropy(probability.sum(axis=0)) + _entropy(probability.sum(axis=1))) / both if both > 0 else 0.0


def _entropy(probability: Float64) -> float:
    some = probability[probability > 0]
    return float(-(some * np.log(some)).sum())
