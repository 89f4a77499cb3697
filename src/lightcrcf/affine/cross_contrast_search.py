"""Multi-start search for an alignment of images of different contrasts, by mutual information and correlation ratio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.affine.gauss_newton import Fit, fit
from lightcrcf.affine.initialization import Start, starts
from lightcrcf.affine.joint_histogram import ContrastSimilarity, information, map_intensities
from lightcrcf.affine.pyramid import LevelPair, weight_by_agreement
from lightcrcf.affine.search import PairPyramid, SearchResult, drop_duplicates

__all__ = ["search_cross_contrast"]

Float64 = NDArray[np.float64]

# Least local correlation of mapped images of one subject: 0.76 to 0.92 within subjects, 0.47 to 0.64 between subjects,
# whose alignment mutual information does not improve.
_SAME_SUBJECT = 0.7
# Below this the similarity is no evidence (heads in thick slices with another bias field: 0.05 at most), and mutual
# information alone decides.
_MIN_SIMILARITY = 0.3
# Headers usually have the right orientation: a turned alignment needs a similarity that is higher by this, or, without
# evidence, this many times the normalised mutual information above 1.
_TURNED_MIN_GAIN, _TURNED_MIN_RATIO = 0.05, 1.2
# Turned starts that are refined if fewer fail: at 45 degrees off, their mutual information hardly differs.
_ALL_TURNED = 96
# Weight of the strain prior against mutual information alone, in nats; elsewhere against 1 - correlation squared.
_STRAIN_PRIOR_INFORMATION = 2.0


def search_cross_contrast(
    images: PairPyramid, transform: str, *, min_information: float = 0.0, thorough: bool = False
) -> SearchResult | None:
    """Find the best alignment from the starts with the highest mutual information.

    Starts are ranked by normalised mutual information and refined at the coarse level by the correlation ratio in both
    directions: Gauss-Newton steps on images whose intensities are mapped to each other, repeatedly. Similarity selects
    one at the middle level. From there an affine maximises the local correlation of mapped images. For images of one
    subject, and for rigid and similarity transforms, the last steps maximise mutual information. Turned starts are
    refined if their information exceeds that of the headers' orientation, or if that fails.

    Args:
        images: pyramids of both.
        transform: "rigid", "similarity" or "affine".
        min_information: normalised mutual information that some start must exceed at the coarse level.
        thorough: whether all turned starts are refined if the best ones fail.

    Returns:
        The alignment, with the normalised mutual information at the finest level as its similarity; None if no start
        exceeds `min_information`.
    """
    upright, turned = _refined_starts(images, upright=True), _refined_starts(images, upright=False)
    best_upright, best_turned = (
        max(information(images.coarse, at.matrix) for _, at in refined) for refined in (upright, turned)
    )
    if max(best_upright, best_turned) <= min_information:
        return None
    found = _follow(images, upright, transform)
    if best_turned <= best_upright and _similarity(images, found) >= _MIN_SIMILARITY:
        return found
    other = _follow(images, turned, transform)
    similarity, similarity_turned = _similarity(images, found), _similarity(images, other)
    if thorough and max(similarity, similarity_turned) < _MIN_SIMILARITY:
        other = _follow(images, _refined_starts(images, upright=False, count=_ALL_TURNED), transform)
        similarity_turned = _similarity(images, other)
    if max(similarity, similarity_turned) >= _MIN_SIMILARITY:
        return other if similarity_turned > similarity + _TURNED_MIN_GAIN else found
    return other if other.similarity - 1 > _TURNED_MIN_RATIO * (found.similarity - 1) else found


def _best_index(pair: LevelPair, local: LevelPair, matrices: list[Float64]) -> int:
    """Return the index of the highest similarity, or of the highest mutual information if no similarity is evidence."""
    similarity = [ContrastSimilarity.of(pair, local, matrix).similarity for matrix in matrices]
    if max(similarity) < _MIN_SIMILARITY:
        similarity = [information(pair, matrix) for matrix in matrices]
    return int(np.argmax(similarity))


def _similarity(images: PairPyramid, found: SearchResult) -> float:
    return ContrastSimilarity.of(images.fine, images.local_fine, found.fit.matrix).similarity


def _refined_starts(images: PairPyramid, *, upright: bool, count: int = _core.COARSE_STARTS) -> list[tuple[Start, Fit]]:
    """Refine the `count` starts of highest information at the coarse level, and return the best few."""
    candidates = starts(images.coarse, upright=upright)
    values = np.array([information(images.coarse, s.matrix) for s in candidates])
    best = [candidates[n] for n in np.argsort(-values, kind="stable")[:count]]
    fits = [(s, _fit_mapped(images.coarse, Fit(s.matrix), "rigid", rounds=3, tolerance_mm=0.5)) for s in best]
    return drop_duplicates(fits, images.coarse)[: _core.MIDDLE_STARTS]


def _follow(images: PairPyramid, refined: list[tuple[Start, Fit]], transform: str) -> SearchResult:
    """Refine starts at the middle and fine level, and return the best alignment."""
    found = []
    for start, at in refined:
        at = _fit_mapped(images.middle, at, "rigid", rounds=2, tolerance_mm=0.3)
        if transform != "rigid":
            at = _fit_mapped(images.middle, at, transform, rounds=3, tolerance_mm=0.3, prior=_core.STRAIN_PRIOR)
        found.append((start, at))
    start, at = found[_best_index(images.middle, images.local_middle, [at.matrix for _, at in found])]
    at = (
        _follow_local_correlation(images, at)
        if transform == "affine"
        else _maximise_information(images, at, transform, _core.STRAIN_PRIOR)
    )
    return SearchResult(start, at, information(images.fine, at.matrix))


def _follow_local_correlation(images: PairPyramid, start: Fit) -> Fit:
    """Maximise local correlation; then mutual information within one subject, or where correlation is no evidence."""
    middle, fine = (images.middle, images.local_middle), (images.fine, images.local_fine)
    at = _fit_mapped(middle[0], start, "affine", rounds=3, tolerance_mm=0.3, prior=_core.STRAIN_PRIOR, local=middle[1])
    for (pair, local), tolerance_mm in ((middle, 0.1), (fine, 0.05)):
        at = _fit_mapped(
            pair, at, "affine", rounds=2, tolerance_mm=tolerance_mm, prior=_core.STRAIN_PRIOR, local=local, robust=True
        )
    similarity = ContrastSimilarity.of(*fine, at.matrix).mapped
    if similarity >= _SAME_SUBJECT:
        return _maximise_information(images, at, "affine", _core.STRAIN_PRIOR)
    return (
        at
        if similarity >= _MIN_SIMILARITY
        else _maximise_information(images, start, "affine", _STRAIN_PRIOR_INFORMATION)
    )


def _maximise_information(images: PairPyramid, at: Fit, transform: str, prior: float) -> Fit:
    """Maximise mutual information at the middle level, then at the finest."""
    for pair, tolerance_mm in ((images.middle, 0.1), (images.fine, 0.03)):
        at = fit(pair, at, transform, iterations=12, tolerance_mm=tolerance_mm, prior=prior, measure="information")
    return at


def _fit_mapped(
    pair: LevelPair,
    at: Fit,
    transform: str,
    *,
    rounds: int,
    tolerance_mm: float,
    prior: float = 0.0,
    local: LevelPair | None = None,
    robust: bool = False,
) -> Fit:
    """Alternate intensity mapping with five Gauss-Newton steps.

    Args:
        pair: the images.
        at: initial affine.
        transform: family of transforms.
        rounds: number of intensity mappings.
        tolerance_mm, prior: as for `fit`.
        local: the locally normalised `pair`, to maximise local correlation.
        robust: whether samples are weighted by local agreement.
    """
    for _ in range(rounds):
        mapped = map_intensities(pair, at.matrix, local)
        if robust:
            mapped = weight_by_agreement(mapped, at.matrix)
        at = fit(mapped, at, transform, iterations=5, tolerance_mm=tolerance_mm, prior=prior)
    return at
