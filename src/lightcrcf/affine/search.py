"""Multi-start search for an alignment of images of the same contrast, by global and then local correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightcrcf.affine.gauss_newton import Fit, correlations, fit
from lightcrcf.affine.initialization import Start, starts
from lightcrcf.affine.pyramid import AlignmentImage, LevelPair, build_pyramids, weight_by_agreement

__all__ = ["COARSE_STARTS", "MIDDLE_STARTS", "STRAIN_PRIOR", "PairPyramid", "SearchResult", "drop_duplicates", "search"]

# Weight of the strain prior against 1 - correlation squared: a stretch of 10 % along one axis costs 0.0005.
STRAIN_PRIOR = 0.05
# Starts of each kind (upright, turned) that are refined at the coarse and at the middle level.
COARSE_STARTS, MIDDLE_STARTS = 6, 3
# Alignments that differ by less than this fraction of the radius are duplicates.
_DUPLICATE_FRACTION = 0.1


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

    Args:
        images: pyramids of both.
        transform: "rigid", "similarity" or "affine".
        upright: whether starts keep the headers' orientation.

    Returns:
        The alignment, and its cost at the middle level before the last steps.
    """
    start, at = _best_start(images, transform, upright=upright)
    return _refine_finest(start, at, images.local_middle, images.local_fine, transform), at.cost


def _best_start(images: PairPyramid, transform: str, *, upright: bool) -> tuple[Start, Fit]:
    """Return the start with the best local correlation at the middle level, and its refined affine."""
    coarse, middle, local = images.coarse, images.middle, images.local_middle
    candidates = starts(coarse, upright=upright)
    similarity = correlations(coarse, np.stack([s.matrix for s in candidates]))
    best = [candidates[n] for n in np.argsort(-similarity, kind="stable")[:COARSE_STARTS]]
    refined = [(s, fit(coarse, Fit(s.matrix), "rigid", iterations=15, tolerance_mm=0.5)) for s in best]
    found = []
    for start, at in drop_duplicates(refined, coarse)[:MIDDLE_STARTS]:
        at = fit(middle, at, "rigid", iterations=10, tolerance_mm=0.3)
        at = fit(middle, at, transform, iterations=15, tolerance_mm=0.3, prior=STRAIN_PRIOR)
        found.append((start, fit(local, at, transform, iterations=15, tolerance_mm=0.3, prior=STRAIN_PRIOR)))
    return min(found, key=lambda f: f[1].cost)


def _refine_finest(start: Start, at: Fit, middle: LevelPair, fine: LevelPair, transform: str) -> SearchResult:
    """Refine by locally normalised images, with samples weighted by agreement."""
    at = fit(weight_by_agreement(middle, at.matrix), at, transform, iterations=10, tolerance_mm=0.1, prior=STRAIN_PRIOR)
    at = fit(weight_by_agreement(fine, at.matrix), at, transform, iterations=10, tolerance_mm=0.05, prior=STRAIN_PRIOR)
    return SearchResult(start, at, float(correlations(fine, at.matrix[None])[0]))


def drop_duplicates(refined: list[tuple[Start, Fit]], pair: LevelPair) -> list[tuple[Start, Fit]]:
    """Sort by cost, and keep the best of each group of equal alignments."""
    radius_mm = pair.fixed.radius_mm
    corners = np.ones((4, 4))
    corners[:3] = pair.fixed.centroid_mm[:, None] + radius_mm * np.eye(3, 4)
    kept: list[tuple[Start, Fit]] = []
    for start, at in sorted(refined, key=lambda r: r[1].cost):
        if all(
            np.abs((at.matrix - other.matrix) @ corners).max() > _DUPLICATE_FRACTION * radius_mm for _, other in kept
        ):
            kept.append((start, at))
    return kept
