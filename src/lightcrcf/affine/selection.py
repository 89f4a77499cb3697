"""Whether two images have one contrast, and which search is believed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lightcrcf.affine.recolored import Contrast, information
from lightcrcf.affine.search import Found, Images, search
from lightcrcf.affine.search_across import search_across

__all__ = ["Candidate", "chosen"]

# Below this local cost an upright alignment is right; right ones of brains were seen up to 0.35, wrong ones from 0.6.
# Where no outline is compared (a masked image against one that is not), 0.72 and 0.92.
_SURE, _SURE_WITHOUT_OUTLINE = 0.5, 0.8
# Headers are right about the orientation more often than not: the similarity of a turned alignment must be better by
# this.
_TURNED_MUST_GAIN = 0.05
# Images of one contrast that are so alike in place are evidently that, and from the second on if no start across
# contrasts tells more: where images of unlike contrasts lay wrong and looked the same all the same, 0.15 at most was
# seen in brains, and 0.32 in generated ones, which are more even.
_EVIDENT, _LIKELY = 0.35, 0.2
# Below this the search for one contrast found nothing at all.
_NOWHERE = 0.15
# Else the information above 1 must be so many times as much after the search across contrasts (1.9 to 7 was seen for
# unlike contrasts, 1.5 at most for one), or the likeness, from the second on (0.35 to 0.95; 0.25 at most).
_TELLS, _CLEAR, _CLEARLY = 1.75, 0.35, 1.5


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
    def clear(self) -> bool:
        """Return whether images of unlike contrast seem to be in place."""
        return not self.contrast.same and self.contrast.likeness >= _CLEAR

    def outdoes(self, plain: Candidate) -> bool:
        """Return whether this alignment across contrasts is believed rather than that for one contrast."""
        if self.contrast.same or not (self.clear or np.isfinite(plain.found.fit.cost)):
            return False
        if self.clear and self.contrast.likeness >= _CLEARLY * plain.contrast.likeness:
            return True
        much = 1.0 if self.clear and not plain.contrast.same else _TELLS
        return self.information >= much * plain.information


def chosen(images: Images, transform: str) -> Candidate:
    """The alignment that is believed: that of images of one contrast, or one across contrasts.

    Images of one contrast get what the search for one contrast finds, bit for bit. Where that is evidently right,
    nothing else is looked for; where it is likely, only if some start across contrasts tells more.
    """
    plain, sure = _of_one_contrast(images, transform)
    beyond = 0.0
    if plain.contrast.same:
        if sure or plain.contrast.plain >= _EVIDENT:
            return plain
        if plain.contrast.plain >= _LIKELY:
            beyond = information(images.coarse, plain.found.fit.matrix)
    thorough = plain.contrast.likeness < _NOWHERE
    found = search_across(images, transform, beyond=beyond, thorough=thorough)
    if found is None:
        return plain
    across = Candidate(images, found, across=True)
    return across if across.outdoes(plain) else plain


def _of_one_contrast(images: Images, transform: str) -> tuple[Candidate, bool]:
    """In the headers' orientation, unless that is poor and another one is better; and whether it is surely right."""
    upright, cost = search(images, transform, upright=True)
    sure = cost < (_SURE if images.fine.outlines else _SURE_WITHOUT_OUTLINE)
    if not sure:
        turned, _ = search(images, transform, upright=False)
        if turned.similarity > upright.similarity + _TURNED_MUST_GAIN:
            return Candidate(images, turned, across=False), False
    return Candidate(images, upright, across=False), sure
