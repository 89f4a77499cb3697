"""Whether two images have one contrast, and which search is believed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lightcrcf.pipeline.affine_across import search_across
from lightcrcf.pipeline.affine_contrast import Contrast, information
from lightcrcf.pipeline.affine_search import Found, Images, search

__all__ = ["Candidate", "chosen"]

# Below this local cost an upright alignment is right; right ones of brains were seen up to 0.35, wrong ones from 0.6.
# Where no outline is compared (a masked image against one that is not), 0.72 and 0.92.
_SURE, _SURE_WITHOUT_OUTLINE = 0.5, 0.8
# Headers are right about the orientation more often than not: the similarity of a turned alignment must be better by
# this, and the information above 1 this many times as much.
_TURNED_MUST_GAIN, _TURNED_TELLS = 0.05, 1.2
# Images of one contrast that are so alike after the search for one contrast are in place: 0.17 to 0.98 was seen there,
# and 0.15 at most where images of unlike contrasts lay wrong and looked the same all the same.
_EVIDENT = 0.2
# Images of unlike contrast that are so alike after recolouring, or so unlike before, are in place: 0.35 and more was
# seen there, and 0.25 at most elsewhere.
_CLEAR = 0.35
# Elsewhere the information above 1 must be so many times as much as after the search for one contrast: 1.9 to 7 was
# seen for unlike contrasts, 1.5 at most for one.
_TELLS = 1.75


@dataclass(frozen=True, eq=False)
class Candidate:
    """Where a search led.

    Args:
        images: both of them.
        found: the alignment.
        across: whether it is of the search across contrasts.
    """

    images: Images
    found: Found
    across: bool

    @cached_property
    def contrast(self) -> Contrast:
        """How alike the images are there, as they are and recoloured."""
        return Contrast.of(self.images.fine, self.images.local_fine, self.found.fit.matrix)

    @cached_property
    def information(self) -> float:
        """Normalised mutual information above 1."""
        return information(self.images.fine, self.found.fit.matrix) - 1

    @property
    def evident(self) -> bool:
        """Return whether images of one contrast are in place."""
        return self.contrast.same and self.contrast.plain >= _EVIDENT

    @property
    def clear(self) -> bool:
        """Return whether images of unlike contrast are in place."""
        return not self.contrast.same and max(self.contrast.recoloured, -self.contrast.plain) >= _CLEAR

    def outdoes(self, plain: Candidate) -> bool:
        """Return whether this alignment across contrasts is believed rather than that for one contrast."""
        if self.contrast.same or not (self.clear or np.isfinite(plain.found.fit.cost)):
            return False
        much = 1.0 if self.clear and not plain.contrast.same else _TELLS
        return self.information >= much * plain.information


def chosen(images: Images, transform: str) -> Candidate:
    """The alignment that is believed: upright or turned, for one contrast or across contrasts.

    Images of one contrast get what the search for one contrast finds, bit for bit. Where that is sure, nothing else is
    looked for.
    """
    found, cost = search(images, transform, upright=True)
    plain, across = Candidate(images, found, across=False), None
    sure = cost < (_SURE if images.fine.outlines else _SURE_WITHOUT_OUTLINE)
    if not plain.evident:
        across = Candidate(images, search_across(images, transform, upright=True), across=True)
        if across.clear and across.outdoes(plain):
            return across
    if not sure:
        turned, _ = search(images, transform, upright=False)
        if turned.similarity > found.similarity + _TURNED_MUST_GAIN:
            plain = Candidate(images, turned, across=False)
    if across is None or plain.evident:
        return plain
    turned_across = Candidate(images, search_across(images, transform, upright=False), across=True)
    if turned_across.information > _TURNED_TELLS * across.information:
        across = turned_across
    return across if across.outdoes(plain) else plain
