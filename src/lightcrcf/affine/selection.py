"""Selection between the alignment for one contrast and the alignment across contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lightcrcf.affine.cross_contrast_search import search_cross_contrast
from lightcrcf.affine.joint_histogram import ContrastSimilarity, information
from lightcrcf.affine.search import PairPyramid, SearchResult, search

__all__ = ["Candidate", "select_alignment"]

# Below this local cost an upright alignment is accepted: correct ones of brains reach 0.35, wrong ones start at 0.6;
# without outlines (a masked image against one that is not) 0.72 and 0.92.
_SURE_COST, _SURE_COST_WITHOUT_OUTLINE = 0.5, 0.8
# Headers usually have the right orientation: a turned alignment needs a similarity that is higher by this.
_TURNED_MIN_GAIN = 0.05
# From the first correlation on, images of the same contrast are accepted; from the second on, if no start across
# contrasts has more mutual information. Misaligned images of different contrasts that passed as the same contrast
# reached 0.15 in brains, and 0.32 in generated ones, which are more homogeneous.
_SURE_CORRELATION, _LIKELY_CORRELATION = 0.35, 0.2
# Below this similarity the search for one contrast has failed.
_FAILED_SIMILARITY = 0.15
# Else the search across contrasts must raise the normalised mutual information above 1 by the first factor (1.9 to 7
# for different contrasts, 1.5 at most for the same), or, from the second number on (0.35 to 0.95; 0.25 at most), the
# similarity by the third.
_MIN_INFORMATION_RATIO, _MIN_SIMILARITY, _MIN_SIMILARITY_RATIO = 1.75, 0.35, 1.5


@dataclass(frozen=True, eq=False)
class Candidate:
    """The alignment of one search.

    Args:
        images: pyramids of both.
        found: the alignment.
        cross_contrast: whether the search was across contrasts.
    """

    images: PairPyramid
    found: SearchResult
    cross_contrast: bool

    @cached_property
    def contrast(self) -> ContrastSimilarity:
        """Return the correlation there, plain and after intensity mapping."""
        return ContrastSimilarity.of(self.images.fine, self.images.local_fine, self.found.fit.matrix)

    @cached_property
    def information(self) -> float:
        """Return the normalised mutual information there, minus 1."""
        return information(self.images.fine, self.found.fit.matrix) - 1

    @property
    def aligned(self) -> bool:
        """Return whether images of different contrasts seem to be aligned."""
        return not self.contrast.same_contrast and self.contrast.similarity >= _MIN_SIMILARITY

    def is_better_than(self, plain: Candidate) -> bool:
        """Return whether this alignment across contrasts is better than the one for one contrast."""
        if self.contrast.same_contrast or not (self.aligned or np.isfinite(plain.found.fit.cost)):
            return False
        if self.aligned and self.contrast.similarity >= _MIN_SIMILARITY_RATIO * plain.contrast.similarity:
            return True
        ratio = 1.0 if self.aligned and not plain.contrast.same_contrast else _MIN_INFORMATION_RATIO
        return self.information >= ratio * plain.information


def select_alignment(images: PairPyramid, transform: str) -> Candidate:
    """Search for one contrast, then across contrasts if needed, and return the better alignment.

    Images of the same contrast get the result of the first search, bit for bit. The second search is skipped if the
    first is surely right, and if it is likely right and no start across contrasts has more mutual information.
    """
    plain, sure = _search_same_contrast(images, transform)
    min_information = 0.0
    if plain.contrast.same_contrast:
        if sure or plain.contrast.plain >= _SURE_CORRELATION:
            return plain
        if plain.contrast.plain >= _LIKELY_CORRELATION:
            min_information = information(images.coarse, plain.found.fit.matrix)
    thorough = plain.contrast.similarity < _FAILED_SIMILARITY
    found = search_cross_contrast(images, transform, min_information=min_information, thorough=thorough)
    if found is None:
        return plain
    other = Candidate(images, found, cross_contrast=True)
    return other if other.is_better_than(plain) else plain


def _search_same_contrast(images: PairPyramid, transform: str) -> tuple[Candidate, bool]:
    """Search in the headers' orientation, and in others if that fails; return whether the result is surely right."""
    upright, cost = search(images, transform, upright=True)
    sure = cost < (_SURE_COST if images.fine.outlines else _SURE_COST_WITHOUT_OUTLINE)
    if not sure:
        turned, _ = search(images, transform, upright=False)
        if turned.similarity > upright.similarity + _TURNED_MIN_GAIN:
            return Candidate(images, turned, cross_contrast=False), False
    return Candidate(images, upright, cross_contrast=False), sure
