"""The search for an alignment of images of unlike contrast: by joint histograms, and where it tells, by recolouring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.pipeline.affine_contrast import Contrast, information, recoloured
from lightcrcf.pipeline.affine_fit import Fit, fit
from lightcrcf.pipeline.affine_images import Pair, trusted
from lightcrcf.pipeline.affine_information import information_system
from lightcrcf.pipeline.affine_search import COARSE, MIDDLE, PRIOR, Found, Images, distinct
from lightcrcf.pipeline.affine_starts import Start, starts

__all__ = ["search_across"]

Float64 = NDArray[np.float64]

# From this local correlation of recoloured images on, an alignment shows one person: 0.76 to 0.92 was seen there, and
# 0.47 to 0.64 between persons, whose alignment mutual information does not improve.
_ONE_PERSON = 0.7
# Below this one it tells nothing (heads whose slices are thick, shaded otherwise: 0.05 at most), and mutual
# information decides alone.
_TELLING = 0.3
# Cost of strain for mutual information alone, in nats where it is in units of 1 - correlation squared elsewhere.
_PRIOR_ALONE = 2.0


def search_across(images: Images, transform: str, *, upright: bool) -> Found:
    """The alignment to which starts lead that keep the headers' orientation, or those that do not.

    Starts are ranked by normalised mutual information, and refined at the coarse level by the correlation ratio, in
    both directions: Gauss-Newton on images recoloured as each other, again and again. Mutual information chooses one at
    the middle level. From there an affine follows the local correlation of recoloured images, as images of one contrast
    do; where these show one person, and where only a rigid motion or a similarity is looked for, mutual information has
    the last word.

    Args:
        images: both of them.
        transform: "rigid", "similarity" or "affine".
        upright: which starts.

    Returns:
        the alignment, its normalised mutual information at the finest level as its similarity.
    """
    start, at = _chosen(images, transform, upright=upright)
    at = _followed(images, at) if transform == "affine" else _most_informed(images, at, transform, PRIOR)
    return Found(start, at, information(images.fine, at.matrix))


def _chosen(images: Images, transform: str, *, upright: bool) -> tuple[Start, Fit]:
    """The start that leads to most information at the middle level, and where it led."""
    coarse, middle = images.coarse, images.middle
    candidates = starts(coarse, upright=upright)
    ranks = np.array([information(coarse, s.matrix) for s in candidates])
    best = [candidates[n] for n in np.argsort(-ranks, kind="stable")[:COARSE]]
    refined = [(s, _recoloured_fit(coarse, Fit(s.matrix), "rigid", rounds=3, tolerance_mm=0.5)) for s in best]
    found = []
    for start, at in distinct(refined, coarse)[:MIDDLE]:
        at = _recoloured_fit(middle, at, "rigid", rounds=2, tolerance_mm=0.3)
        if transform != "rigid":
            at = _recoloured_fit(middle, at, transform, rounds=3, tolerance_mm=0.3, prior=PRIOR)
        found.append((start, at))
    return max(found, key=lambda f: information(middle, f[1].matrix))


def _followed(images: Images, start: Fit) -> Fit:
    """An affine by local correlation, polished where it shows one person; by information where it tells nothing."""
    middle, fine = (images.middle, images.local_middle), (images.fine, images.local_fine)
    at = _recoloured_fit(middle[0], start, "affine", rounds=3, tolerance_mm=0.3, prior=PRIOR, local=middle[1])
    for (pair, local), tolerance_mm in ((middle, 0.1), (fine, 0.05)):
        at = _recoloured_fit(
            pair, at, "affine", rounds=2, tolerance_mm=tolerance_mm, prior=PRIOR, local=local, weigh=True
        )
    likeness = Contrast.of(*fine, at.matrix).recoloured
    if likeness >= _ONE_PERSON:
        return _most_informed(images, at, "affine", PRIOR)
    return at if likeness >= _TELLING else _most_informed(images, start, "affine", _PRIOR_ALONE)


def _most_informed(images: Images, at: Fit, transform: str, prior: float) -> Fit:
    """By mutual information at the middle level, then at the finest one."""
    for pair, tolerance_mm in ((images.middle, 0.1), (images.fine, 0.03)):
        at = fit(pair, at, transform, iterations=12, tolerance_mm=tolerance_mm, prior=prior, system=information_system)
    return at


def _recoloured_fit(
    pair: Pair,
    at: Fit,
    transform: str,
    *,
    rounds: int,
    tolerance_mm: float,
    prior: float = 0.0,
    local: Pair | None = None,
    weigh: bool = False,
) -> Fit:
    """Five steps on images recoloured where they are, a few times over.

    Args:
        pair: the images.
        at: where to begin.
        transform: the family.
        rounds: how often the images are recoloured.
        tolerance_mm, prior: as for `fit`.
        local: `pair` localised, where local correlation is to rise.
        weigh: whether samples count by how well their surroundings agree.
    """
    for _ in range(rounds):
        alike = recoloured(pair, at.matrix, local)
        if weigh:
            alike = trusted(alike, at.matrix)
        at = fit(alike, at, transform, iterations=5, tolerance_mm=tolerance_mm, prior=prior)
    return at
