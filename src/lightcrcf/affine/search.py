"""The search for an alignment of images of one contrast: by global correlation, then by local correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightcrcf.affine.gauss_newton import Fit, correlations, fit
from lightcrcf.affine.initialization import Start, starts
from lightcrcf.affine.pyramid import Pair, Source, pyramids, trusted

__all__ = ["COARSE", "MIDDLE", "PRIOR", "Found", "Images", "distinct", "search"]

# Cost of strain, in units of 1 - correlation squared: a stretch by a tenth along one axis costs 0.0005.
PRIOR = 0.05
# Starts of each kind (upright, turned) that are refined at the coarse level, and that go on to the middle one.
COARSE, MIDDLE = 6, 3
# Alignments that differ by less than this share of the radius are one.
_SAME = 0.1


@dataclass(frozen=True, eq=False)
class Found:
    """Where a start led, and the similarity there, at the finest level.

    The similarity is the local correlation of images of one contrast, and the normalised mutual information of others.
    """

    start: Start
    fit: Fit
    similarity: float


@dataclass(frozen=True, eq=False)
class Images:
    """Both images at three resolutions, the coarsest first, and the last two localised; with further pairs in each."""

    coarse: Pair
    middle: Pair
    fine: Pair
    local_middle: Pair
    local_fine: Pair

    @classmethod
    def of(
        cls,
        fixed: Source,
        moving: Source,
        further: Sequence[tuple[Source, Source]] = (),
        shares: Sequence[float] = (1.0,),
    ) -> Images:
        """Make them.

        Args:
            fixed, moving: the first pair, which says where to begin and about what to turn.
            further: pairs of other contrasts.
            shares: of all pairs, the first one's first; they sum to 1.

        Raises:
            InputError: if nothing of an image is left under its mask.
        """
        pairs = ((fixed, moving), *further)
        levels = [pyramids(*pair, share) for pair, share in zip(pairs, shares, strict=True)]
        coarse, middle, fine = (replace(first, further=tuple(more)) for first, *more in zip(*levels, strict=True))
        return cls(coarse, middle, fine, middle.localised(), fine.localised())


def search(images: Images, transform: str, *, upright: bool) -> tuple[Found, float]:
    """The alignment to which starts lead that keep the headers' orientation, or those that do not.

    Args:
        images: both of them.
        transform: "rigid", "similarity" or "affine".
        upright: which starts.

    Returns:
        the alignment, and its cost at the middle level, before the last steps.
    """
    start, at = _chosen(images, transform, upright=upright)
    return _polished(start, at, images.local_middle, images.local_fine, transform), at.cost


def _chosen(images: Images, transform: str, *, upright: bool) -> tuple[Start, Fit]:
    """The start that leads to the best local correlation at the middle level, and where it led."""
    coarse, middle, local = images.coarse, images.middle, images.local_middle
    candidates = starts(coarse, upright=upright)
    similarity = correlations(coarse, np.stack([s.matrix for s in candidates]))
    chosen = [candidates[n] for n in np.argsort(-similarity, kind="stable")[:COARSE]]
    refined = [(s, fit(coarse, Fit(s.matrix), "rigid", iterations=15, tolerance_mm=0.5)) for s in chosen]
    found = []
    for start, at in distinct(refined, coarse)[:MIDDLE]:
        at = fit(middle, at, "rigid", iterations=10, tolerance_mm=0.3)
        at = fit(middle, at, transform, iterations=15, tolerance_mm=0.3, prior=PRIOR)
        found.append((start, fit(local, at, transform, iterations=15, tolerance_mm=0.3, prior=PRIOR)))
    return min(found, key=lambda f: f[1].cost)


def _polished(start: Start, at: Fit, middle: Pair, fine: Pair, transform: str) -> Found:
    """The last steps, at samples that agree, of locally normalised images."""
    at = fit(trusted(middle, at.matrix), at, transform, iterations=10, tolerance_mm=0.1, prior=PRIOR)
    at = fit(trusted(fine, at.matrix), at, transform, iterations=10, tolerance_mm=0.05, prior=PRIOR)
    return Found(start, at, float(correlations(fine, at.matrix[None])[0]))


def distinct(refined: list[tuple[Start, Fit]], pair: Pair) -> list[tuple[Start, Fit]]:
    """Best first, without those that came to the same place."""
    radius_mm = pair.fixed.radius_mm
    corners = np.ones((4, 4))
    corners[:3] = pair.fixed.centroid_mm[:, None] + radius_mm * np.eye(3, 4)
    kept: list[tuple[Start, Fit]] = []
    for start, at in sorted(refined, key=lambda r: r[1].cost):
        if all(np.abs((at.matrix - other.matrix) @ corners).max() > _SAME * radius_mm for _, other in kept):
            kept.append((start, at))
    return kept
