"""Affine registration of two volumes: multi-start, coarse to fine, never worse than the alignment of the headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import Fit, correlations
from lightcrcf.affine.head_outline import align_by_outline
from lightcrcf.affine.initialization import Start
from lightcrcf.affine.joint_histogram import ContrastSimilarity, information
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.affine.search import PairPyramid, SearchResult
from lightcrcf.affine.selection import Candidate, select_alignment
from lightcrcf.errors import InputError
from lightcrcf.preprocessing.foreground import HEAD_AND_BRAIN, ImageType
from lightcrcf.preprocessing.validity import Extent, compare_extremes, examine
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes.volume import Volume

__all__ = ["Alignment", "align"]

Float64 = NDArray[np.float64]

# Below this correlation an alignment of a brain with a head is rejected. Heads without usable contrast inside reached
# 0.06 at most, 0.13 from the right start; correct alignments of sound heads start at 0.35.
_MIN_CORRELATION = 0.2
# Agreement of the brain's surface with the head's outline; correct alignments start at 0.28.
_MIN_OUTLINE_AGREEMENT = 0.2


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine alignment with its similarity and parameters.

    Args:
        affine: fixed RAS mm to moving RAS mm; its determinant is positive.
        similarity_before: similarity under the alignment of the headers.
        similarity_after: similarity under `affine`, never below `similarity_before`.
        measure: description of the similarity measure.
        cross_contrast: whether the images have different contrasts and were aligned by a measure that allows for it.
        contrast: correlation under `affine`, plain and after intensity mapping; the weighted mean of several pairs.
        contrasts: the same for each pair.
        start: name of the winning start; "header" if the alignment of the headers was kept or refined, "outline" if
            the brain was aligned with the outline of the head.
        iterations: Gauss-Newton steps from this start.
        rotation_deg: angle in degrees of the rotation in rotation @ diag(scales) @ shear.
        scales: (3,) scales along right, anterior and superior.
        shears: (3,) entries xy, xz, yz of the unit upper triangular shear.
        fixed_type, moving_type: image types.
    """

    affine: Affine
    similarity_before: float
    similarity_after: float
    measure: str
    cross_contrast: bool
    contrast: ContrastSimilarity
    contrasts: tuple[ContrastSimilarity, ...]
    start: str
    iterations: int
    rotation_deg: float
    scales: tuple[float, float, float]
    shears: tuple[float, float, float]
    fixed_type: ImageType
    moving_type: ImageType


def align(
    fixed: Volume,
    moving: Volume,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    extents: tuple[Extent, Extent] | None = None,
    transform: str = "affine",
    further: Sequence[tuple[AlignmentImage, AlignmentImage]] = (),
    weights: Sequence[float] = (1.0,),
) -> Alignment:
    """Compute the affine that aligns `moving` with `fixed`, whatever their initial orientation.

    Starts are refined at about 10 mm by global correlation. The best few are refined at 5 mm, where local correlation
    selects one. The last steps are at 2.5 mm, with samples weighted by local agreement.
    If the correlation there is low, or much higher after intensity mapping, the images have different contrasts, and
    `search_cross_contrast` aligns them. If that fails for a skull-stripped brain and a whole head, the brain is aligned
    with the outline of the head. The result depends neither on the order of axes nor on the number of threads.

    Args:
        fixed, moving: (D, H, W) images, on any grids.
        fixed_mask, moving_mask: on the grid of their image, nonzero where voxels may be used.
        extents: validity of both images, if `validity.examine` was called before.
        transform: "rigid", "similarity" (rigid and isotropic scale) or "affine".
        further: more contrasts of the same two subjects in the same two spaces, on any grids. Starts and outline come
            from the first pair; every other measure is the weighted mean of all pairs. If that finds different
            contrasts, all pairs are aligned across contrasts; pairs of equal contrast lose little by it.
        weights: of all pairs, the first pair first; they sum to 1.

    Raises:
        InputError: if an image is constant, a mask is on another grid or leaves nothing, or nothing can be compared.
    """
    if extents is None:
        (fixed, fixed_extent), (moving, moving_extent) = examine(fixed), examine(moving)
        extents = compare_extremes(fixed_extent, moving_extent)
    sources = (
        AlignmentImage.prepare(fixed, fixed_mask, extents[0]),
        AlignmentImage.prepare(moving, moving_mask, extents[1]),
    )
    images = PairPyramid.build(*sources, further, weights)
    best = select_alignment(images, transform)
    if not np.isfinite(best.found.fit.cost):
        raise InputError(
            f"{fixed.source} and {moving.source}",
            expected="images that have anatomy in common",
            got="nothing to compare in any orientation",
            remedy="check that both show the same part of the body, and the masks",
        )
    by_outline = None
    if not best.cross_contrast and best.found.similarity < _MIN_CORRELATION:
        by_outline = _outline_alignment(*sources, transform)
    return _alignment(images, best, by_outline or _keep_better_of_header(best), sources)


def _alignment(
    images: PairPyramid,
    best: Candidate,
    chosen: tuple[SearchResult, float, str],
    sources: tuple[AlignmentImage, AlignmentImage],
) -> Alignment:
    """Return the alignment of a search result, the similarity under the headers, and the name of the measure."""
    found, before, measure = chosen
    matrix = found.fit.matrix
    each = ContrastSimilarity.of_each(images.fine, images.local_fine, matrix) if len(images.fine.all_pairs) > 1 else ()
    contrast = (best if found is best.found else Candidate(images, found, best.cross_contrast)).contrast
    return Alignment(
        affine=Affine(matrix),
        similarity_before=before,
        similarity_after=found.similarity,
        measure=measure,
        cross_contrast=best.cross_contrast,
        contrast=contrast,
        contrasts=each or (contrast,),
        start=found.start.name,
        iterations=found.fit.iterations,
        **_decompose(matrix),
        fixed_type=sources[0].image_type,
        moving_type=sources[1].image_type,
    )


def _keep_better_of_header(best: Candidate) -> tuple[SearchResult, float, str]:
    """Return the candidate, or the headers if they are no worse; the similarity under the headers; and its measure."""
    images, headers = best.images, np.eye(4)
    spacing = float(np.prod(images.local_fine.fixed.grid.spacing_mm) ** (1 / 3))
    if best.cross_contrast:
        before = information(images.fine, headers)
        measure = f"normalised mutual information at {spacing:.1f} mm, mean of both directions"
    else:
        before = float(correlations(images.local_fine, headers[None])[0])
        measure = f"correlation of locally normalised images at {spacing:.1f} mm, mean of both directions"
    kept = best.found.similarity <= before
    found = SearchResult(Start(headers, "header", True), Fit(headers), before) if kept else best.found
    return found, before, measure


def _outline_alignment(
    fixed: AlignmentImage, moving: AlignmentImage, transform: str
) -> tuple[SearchResult, float, str] | None:
    """Align a brain with a head's outline, as `_keep_better_of_header`; None for other image types, or if it fails."""
    kinds = fixed.image_type.kind, moving.image_type.kind
    if set(kinds) != HEAD_AND_BRAIN or fixed.mask or moving.mask:
        return None
    head_moves = kinds[1] == "whole head or body"
    brain, head = (fixed, moving) if head_moves else (moving, fixed)
    outline = align_by_outline(brain, head, transform)
    if outline.agreement < _MIN_OUTLINE_AGREEMENT:
        return None
    matrix = outline.matrix if head_moves else np.asarray(np.linalg.inv(outline.matrix), dtype=np.float64)
    found = SearchResult(
        Start(matrix, "outline", True), Fit(matrix, 1 / outline.agreement - 1, outline.iterations), outline.agreement
    )
    measure = "agreement of the brain's surface with its usual depth under the head's outline, 1 / (1 + mean square)"
    return found, outline.agreement_before, measure


def _decompose(matrix: Float64) -> dict[str, Any]:
    """Decompose the linear part into rotation @ diag(scales) @ unit upper triangle, by QR."""
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
