"""Affine alignment of any two volumes: many starts, coarse to fine, never worse than the headers' own alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import Fit, correlations
from lightcrcf.affine.head_outline import inscribed
from lightcrcf.affine.initialization import Start
from lightcrcf.affine.pyramid import Source
from lightcrcf.affine.recolored import Contrast, information
from lightcrcf.affine.search import Found, Images
from lightcrcf.affine.selection import Candidate, chosen
from lightcrcf.errors import InputError
from lightcrcf.preprocessing.foreground import HEAD_AND_BRAIN, Content
from lightcrcf.preprocessing.validity import Extent, compared, examine
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes.volume import Volume

__all__ = ["Alignment", "align"]

Float64 = NDArray[np.float64]

# A brain against a head whose inside tells nothing correlates below this, wherever it lies: 0.06 at most was seen, and
# 0.13 after starting at the right place; where the inside is sound, right alignments were seen from 0.35.
_TELLING = 0.2
# Brains in heads were seen to agree with the outline from 0.28.
_INSCRIBED = 0.2


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine alignment and how well it went.

    Args:
        affine: fixed RAS mm to moving RAS mm; its determinant is positive.
        similarity_before: similarity under the headers' own alignment.
        similarity_after: similarity under `affine`, never below `similarity_before`.
        measure: what the similarity is, in words.
        across: whether the images have unlike contrasts and were aligned across them.
        contrast: how alike they are under `affine`, as they are and recoloured; of several pairs the mean.
        contrasts: the same of each pair.
        start: which start won; "header" alone if the headers' own alignment was kept or refined, "outline" if the
            inside of a head told nothing about where the brain lies, and the head's outline did.
        iterations: least-squares steps on the way to it.
        rotation_deg: angle of the rotation, if the affine is taken as rotation @ diag(scales) @ shear.
        scales: (3,) scales along right, anterior and superior.
        shears: (3,) entries xy, xz, yz of the upper triangular shear.
        fixed_content, moving_content: what the images seem to show.
    """

    affine: Affine
    similarity_before: float
    similarity_after: float
    measure: str
    across: bool
    contrast: Contrast
    contrasts: tuple[Contrast, ...]
    start: str
    iterations: int
    rotation_deg: float
    scales: tuple[float, float, float]
    shears: tuple[float, float, float]
    fixed_content: Content
    moving_content: Content


def align(
    fixed: Volume,
    moving: Volume,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    extents: tuple[Extent, Extent] | None = None,
    transform: str = "affine",
    further: Sequence[tuple[Source, Source]] = (),
    shares: Sequence[float] = (1.0,),
) -> Alignment:
    """The affine that brings `moving` onto `fixed`: two images of one kind, however they lie.

    Starts are compared at about 10 mm and refined by global correlation; the best few go on to 5 mm, where the local
    correlation chooses; the last steps are at 2.5 mm, with samples weighted by how well their surroundings agree.
    Images that hardly correlate there, or far better after each was recoloured as the other, have unlike contrasts, and
    are aligned by `affine_across.search_across`.
    Where that finds no likeness between a skull-stripped brain and a whole head, the outline of the head decides.
    The same images give the same result whatever the order of their axes and the number of threads.

    Args:
        fixed, moving: the images, on any grids.
        fixed_mask, moving_mask: on the grid of their image, nonzero where it may be used.
        extents: of both, if they were examined before (`known.examine`).
        transform: "rigid", "similarity" (rigid and one scale) or "affine".
        further: other contrasts of the same two persons in the same two spaces, on any grids. Starts and the outline
            come from the first pair; all else is the mean of all pairs. If that says that contrasts are unlike, all
            pairs are aligned across contrasts, which loses little where they are alike.
        shares: of all pairs in that mean, the first one's first; they sum to 1.

    Raises:
        InputError: if an image is constant, a mask is on another grid or leaves nothing, or nothing can be compared.
    """
    if extents is None:
        (fixed, here), (moving, there) = examine(fixed), examine(moving)
        extents = compared(here, there)
    sources = Source.prepare(fixed, fixed_mask, extents[0]), Source.prepare(moving, moving_mask, extents[1])
    images = Images.of(*sources, further, shares)
    best = chosen(images, transform)
    if not np.isfinite(best.found.fit.cost):
        raise InputError(
            f"{fixed.source} and {moving.source}",
            expected="images that have anatomy in common",
            got="nothing to compare in any orientation",
            remedy="check that both show the same part of the body, and the masks",
        )
    outlined = None
    if not best.across and best.found.similarity < _TELLING:
        outlined = _outlined(*sources, transform)
    found, before, measure = outlined or _never_worse(best)
    matrix = found.fit.matrix
    each = Contrast.of_each(images.fine, images.local_fine, matrix) if further else ()
    contrast = (best if found is best.found else Candidate(images, found, best.across)).contrast
    return Alignment(
        affine=Affine(matrix),
        similarity_before=before,
        similarity_after=found.similarity,
        measure=measure,
        across=best.across,
        contrast=contrast,
        contrasts=each or (contrast,),
        start=found.start.name,
        iterations=found.fit.iterations,
        **_shape(matrix),
        fixed_content=sources[0].content,
        moving_content=sources[1].content,
    )


def _never_worse(best: Candidate) -> tuple[Found, float, str]:
    """The alignment, or the headers' if theirs is no worse; the similarity of the headers', and what it is."""
    images, headers = best.images, np.eye(4)
    spacing = float(np.prod(images.local_fine.fixed.grid.spacing_mm) ** (1 / 3))
    if best.across:
        before = information(images.fine, headers)
        measure = f"normalised mutual information at {spacing:.1f} mm, mean of both directions"
    else:
        before = float(correlations(images.local_fine, headers[None])[0])
        measure = f"correlation of locally normalised images at {spacing:.1f} mm, mean of both directions"
    kept = best.found.similarity <= before
    found = Found(Start(headers, "header", True), Fit(headers), before) if kept else best.found
    return found, before, measure


def _outlined(fixed: Source, moving: Source, transform: str) -> tuple[Found, float, str] | None:
    """The brain in the head's outline, as `_never_worse`; None if these are not a brain and a head."""
    kinds = fixed.content.kind, moving.content.kind
    if set(kinds) != HEAD_AND_BRAIN or fixed.mask or moving.mask:
        return None
    head_moves = kinds[1] == "whole head or body"
    brain, head = (fixed, moving) if head_moves else (moving, fixed)
    laid = inscribed(brain, head, transform)
    if laid.agreement < _INSCRIBED:
        return None
    matrix = laid.matrix if head_moves else np.asarray(np.linalg.inv(laid.matrix), dtype=np.float64)
    found = Found(Start(matrix, "outline", True), Fit(matrix, 1 / laid.agreement - 1, laid.iterations), laid.agreement)
    measure = "agreement of the brain's surface with its usual depth under the head's outline, 1 / (1 + mean square)"
    return found, laid.agreement_before, measure


def _shape(matrix: Float64) -> dict[str, Any]:
    """rotation_deg, scales and shears of the linear part: rotation @ diag(scales) @ unit upper triangle."""
    rotation, upper = np.linalg.qr(matrix[:3, :3])
    signs = np.sign(np.diag(upper))
    rotation, upper = rotation * signs, upper * signs[:, None]
    scales = np.diag(upper)
    shear = upper / scales[:, None]
    angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return {
        "rotation_deg": float(angle),
        "scales": tuple(float(s) for s in scales),
        "shears": (float(shear[0, 1]), float(shear[0, 2]), float(shear[1, 2])),
    }
