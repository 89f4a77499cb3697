"""Multi-start search for an alignment of images of the same contrast, by global and then local correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightcrcf import _core
from lightcrcf.affine.gauss_newton import DEGREES_OF_FREEDOM, Fit, ImageList
from lightcrcf.affine.initialization import Start, starts
from lightcrcf.affine.pyramid import AlignmentImage, LevelPair, build_pyramids

__all__ = ["PairPyramid", "SearchResult", "drop_duplicates", "search"]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The alignment from one start, and its similarity at the finest level.

    The similarity is local correlation for images of the same contrast, else normalised mutual information.
    """

    start: Start
    fit: Fit
    similarity: float


@dataclass(frozen=True, eq=False)
class PairPyramid:
    """All pairs at three resolutions, the coarsest first, and the last two locally normalised."""

    coarse: LevelPair
    middle: LevelPair
    fine: LevelPair
    local_middle: LevelPair
    local_fine: LevelPair

    @classmethod
    def build(
        cls,
        fixed: AlignmentImage,
        moving: AlignmentImage,
        further: Sequence[tuple[AlignmentImage, AlignmentImage]] = (),
        weights: Sequence[float] = (1.0,),
    ) -> PairPyramid:
        """Build the pyramids of all pairs.

        Args:
            fixed, moving: the first pair, which gives the starts and the centre of rotations.
            further: pairs of other contrasts.
            weights: of all pairs, the first pair first; they sum to 1.

        Raises:
            InputError: if nothing of an image is left under its mask.
        """
        pairs = ((fixed, moving), *further)
        levels = [build_pyramids(*pair, weight) for pair, weight in zip(pairs, weights, strict=True)]
        coarse, middle, fine = (replace(first, further=tuple(more)) for first, *more in zip(*levels, strict=True))
        return cls(coarse, middle, fine, middle.normalise_locally(), fine.normalise_locally())


def search(images: PairPyramid, transform: str, *, upright: bool) -> tuple[SearchResult, float]:
    """Find the best alignment from the starts that keep the headers' orientation, or from those that do not.

    The starts of highest correlation are refined at the coarse level, the best few at the middle level, where local
    correlation selects one. The last steps weight samples by local agreement.

    Args:
        images: pyramids of both.
        transform: "rigid", "similarity" or "affine".
        upright: whether starts keep the headers' orientation.

    Returns:
        The alignment, and its cost at the middle level before the last steps.
    """
    candidates = starts(images.coarse, upright=upright)
    levels = (images.coarse, images.middle, images.fine, images.local_middle, images.local_fine)
    matrix = np.empty((4, 4))
    best, cost, iterations, middle_cost, similarity = _core.affine_search(
        *ImageList.of(*levels).arguments,
        np.stack([level.fixed.centroid_mm for level in levels]),
        np.array([level.fixed.radius_mm for level in levels]),
        np.stack([start.matrix for start in candidates]),
        DEGREES_OF_FREEDOM[transform],
        matrix,
    )
    return SearchResult(candidates[best], Fit(matrix, cost, iterations), similarity), middle_cost


def drop_duplicates(refined: list[tuple[Start, Fit]], pair: LevelPair) -> list[tuple[Start, Fit]]:
    """Sort by cost, and keep the best of each group of equal alignments."""
    matrices, costs = np.stack([at.matrix for _, at in refined]), np.array([at.cost for _, at in refined])
    kept = _core.distinct_affines(matrices, costs, list(pair.fixed.centroid_mm), pair.fixed.radius_mm)
    return [refined[n] for n in kept]
