"""The search for an alignment of images of unlike contrast: by joint histograms, and where it tells, by recolouring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import Fit, fit
from lightcrcf.affine.initialization import Start, starts
from lightcrcf.affine.mutual_information import information_system
from lightcrcf.affine.pyramid import Pair, trusted
from lightcrcf.affine.recolored import Contrast, information, recoloured
from lightcrcf.affine.search import COARSE, MIDDLE, PRIOR, Found, Images, distinct

__all__ = ["search_across"]

Float64 = NDArray[np.float64]

# From this local correlation of recoloured images on, an alignment shows one person: 0.76 to 0.92 was seen there, and
# 0.47 to 0.64 between persons, whose alignment mutual information does not improve.
_ONE_PERSON = 0.7
# Below this one it tells nothing (heads whose slices are thick, shaded otherwise: 0.05 at most), and mutual
# information decides alone.
_TELLING = 0.3
# Headers are right about the orientation more often than not: the likeness of a turned alignment must be better by
# this, or, where it tells nothing, the information above 1 so many times as much.
_TURNED_MUST_GAIN, _TURNED_TELLS = 0.05, 1.2
# Turned starts that are refined where fewer led nowhere: 45 degrees off, information hardly tells them apart.
_ALL = 96
# Cost of strain for mutual information alone, in nats where it is in units of 1 - correlation squared elsewhere.
_PRIOR_ALONE = 2.0


def search_across(images: Images, transform: str, *, beyond: float = 0.0, thorough: bool = False) -> Found | None:
    """The alignment to which the starts of most information lead.

    Starts are ranked by normalised mutual information, and refined at the coarse level by the correlation ratio, in
    both directions: Gauss-Newton on images recoloured as each other, again and again. Likeness chooses one at
    the middle level. From there an affine follows the local correlation of recoloured images, as images of one contrast
    do; where these show one person, and where only a rigid motion or a similarity is looked for, mutual information has
    the last word. Turned starts go on where they tell more than those that keep the headers' orientation, or these lead
    to no likeness.

    Args:
        images: both of them.
        transform: "rigid", "similarity" or "affine".
        beyond: normalised mutual information that some start must surpass at the coarse level.
        thorough: whether all turned starts are refined if the best ones lead to no likeness.

    Returns:
        the alignment, its normalised mutual information at the finest level as its similarity; None if no start tells
        more than `beyond`.
    """
    upright, turned = _leads(images, upright=True), _leads(images, upright=False)
    told, told_turned = (max(information(images.coarse, at.matrix) for _, at in leads) for leads in (upright, turned))
    if max(told, told_turned) <= beyond:
        return None
    found = _led(images, upright, transform)
    if told_turned <= told and _likeness(images, found) >= _TELLING:
        return found
    other = _led(images, turned, transform)
    alike, alike_turned = _likeness(images, found), _likeness(images, other)
    if thorough and max(alike, alike_turned) < _TELLING:
        other = _led(images, _leads(images, upright=False, refined=_ALL), transform)
        alike_turned = _likeness(images, other)
    if max(alike, alike_turned) >= _TELLING:
        return other if alike_turned > alike + _TURNED_MUST_GAIN else found
    return other if other.similarity - 1 > _TURNED_TELLS * (found.similarity - 1) else found


def _most_alike(pair: Pair, local: Pair, matrices: list[Float64]) -> int:
    """Which one has the greatest likeness, or most information where likeness tells nothing."""
    alike = [Contrast.of(pair, local, matrix).likeness for matrix in matrices]
    if max(alike) < _TELLING:
        alike = [information(pair, matrix) for matrix in matrices]
    return int(np.argmax(alike))


def _likeness(images: Images, found: Found) -> float:
    return Contrast.of(images.fine, images.local_fine, found.fit.matrix).likeness


def _leads(images: Images, *, upright: bool, refined: int = COARSE) -> list[tuple[Start, Fit]]:
    """The few starts that are most alike once the `refined` ones that tell most were refined, at the coarse level."""
    candidates = starts(images.coarse, upright=upright)
    ranks = np.array([information(images.coarse, s.matrix) for s in candidates])
    best = [candidates[n] for n in np.argsort(-ranks, kind="stable")[:refined]]
    fits = [(s, _recoloured_fit(images.coarse, Fit(s.matrix), "rigid", rounds=3, tolerance_mm=0.5)) for s in best]
    return distinct(fits, images.coarse)[:MIDDLE]


def _led(images: Images, leads: list[tuple[Start, Fit]], transform: str) -> Found:
    """The best place to which some starts lead."""
    found = []
    for start, at in leads:
        at = _recoloured_fit(images.middle, at, "rigid", rounds=2, tolerance_mm=0.3)
        if transform != "rigid":
            at = _recoloured_fit(images.middle, at, transform, rounds=3, tolerance_mm=0.3, prior=PRIOR)
        found.append((start, at))
    start, at = found[_most_alike(images.middle, images.local_middle, [at.matrix for _, at in found])]
    at = _followed(images, at) if transform == "affine" else _most_informed(images, at, transform, PRIOR)
    return Found(start, at, information(images.fine, at.matrix))


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
