"""Affine alignment of any two volumes: many starts, coarse to fine, never worse than the headers' own alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.pipeline.affine_fit import Fit, correlations, fit
from lightcrcf.pipeline.affine_images import Pair, Source, pyramids, trusted
from lightcrcf.pipeline.affine_outline import inscribed
from lightcrcf.pipeline.affine_starts import Start, starts
from lightcrcf.pipeline.foreground import Content
from lightcrcf.pipeline.known import Extent, compared, examine
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes.volume import Volume

__all__ = ["Alignment", "align"]

Float64 = NDArray[np.float64]

# Cost of strain, in units of 1 - correlation squared: a stretch by a tenth along one axis costs 0.0005.
_PRIOR = 0.05
# Starts of each kind (upright, turned) that are refined at the coarse level, and that go on to the middle one.
_COARSE, _MIDDLE = 6, 3
# Below this local cost an upright alignment is right; right ones of brains were seen up to 0.35, wrong ones from 0.6.
# Where no outline is compared (a masked image against one that is not), 0.72 and 0.92.
_SURE, _SURE_WITHOUT_OUTLINE = 0.5, 0.8
# Headers are right about the orientation more often than not: the similarity of a turned alignment must be better by
# this.
_TURNED_MUST_GAIN = 0.05
# A brain against a head whose inside tells nothing correlates below this, wherever it lies: 0.06 at most was seen, and
# 0.13 after starting at the right place; where the inside is sound, right alignments were seen from 0.35.
_TELLING = 0.2
# Brains in heads were seen to agree with the outline from 0.28.
_INSCRIBED = 0.2
# Alignments that differ by less than this share of the radius are one.
_SAME = 0.1


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine alignment and how well it went.

    Args:
        affine: fixed RAS mm to moving RAS mm; its determinant is positive.
        similarity_before: similarity under the headers' own alignment.
        similarity_after: similarity under `affine`, never below `similarity_before`.
        measure: what the similarity is, in words.
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
) -> Alignment:
    """The affine that brings `moving` onto `fixed`: two images of one kind and contrast, however they lie.

    Starts are compared at about 10 mm and refined by global correlation; the best few go on to 5 mm, where the local
    correlation chooses; the last steps are at 2.5 mm, with samples weighted by how well their surroundings agree.
    Where that finds no likeness between a skull-stripped brain and a whole head, the outline of the head decides.
    The same images give the same result whatever the order of their axes and the number of threads.

    Args:
        fixed, moving: the images, on any grids.
        fixed_mask, moving_mask: on the grid of their image, nonzero where it may be used.
        extents: of both, if they were examined before (`known.examine`).

    Raises:
        InputError: if an image is constant, a mask is on another grid or leaves nothing, or nothing can be compared.
    """
    if extents is None:
        (fixed, here), (moving, there) = examine(fixed), examine(moving)
        extents = compared(here, there)
    sources = Source.prepare(fixed, fixed_mask, extents[0]), Source.prepare(moving, moving_mask, extents[1])
    levels = pyramids(*sources)
    local = levels[2].localised()
    before = float(correlations(local, np.eye(4)[None])[0])
    best = _best(levels, local)
    if not np.isfinite(best.fit.cost):
        raise InputError(
            f"{fixed.source} and {moving.source}",
            expected="images that have anatomy in common",
            got="nothing to compare in any orientation",
            remedy="check that both show the same part of the body, and the masks",
        )
    spacing = float(np.prod(local.fixed.grid.spacing_mm) ** (1 / 3))
    measure = f"correlation of locally normalised images at {spacing:.1f} mm, mean of both directions"
    outlined = _outlined(*sources) if best.similarity < _TELLING else None
    if outlined is not None:
        best, before = outlined
        measure = (
            "agreement of the brain's surface with its usual depth under the head's outline, 1 / (1 + mean square)"
        )
    elif best.similarity <= before:
        best = _Found(Start(np.eye(4), "header", True), Fit(np.eye(4)), before)
    return Alignment(
        affine=Affine(best.fit.matrix),
        similarity_before=before,
        similarity_after=best.similarity,
        measure=measure,
        start=best.start.name,
        iterations=best.fit.iterations,
        **_shape(best.fit.matrix),
        fixed_content=sources[0].content,
        moving_content=sources[1].content,
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Where a start led, and the similarity there: the local correlation of the images at the finest level."""

    start: Start
    fit: Fit
    similarity: float


def _best(levels: tuple[Pair, Pair, Pair], local: Pair) -> _Found:
    """The best alignment in the headers' orientation, unless it is poor and one in another orientation is better."""
    middle_local = levels[1].localised()
    start, at = _search(levels, middle_local, upright=True)
    upright = _polished(start, at, middle_local, local)
    if at.cost < (_SURE if local.outlines else _SURE_WITHOUT_OUTLINE):
        return upright
    turned = _polished(*_search(levels, middle_local, upright=False), middle_local, local)
    return turned if turned.similarity > upright.similarity + _TURNED_MUST_GAIN else upright


def _outlined(fixed: Source, moving: Source) -> tuple[_Found, float] | None:
    """The brain in the head's outline and the agreement of the headers; None if these are not a brain and a head."""
    kinds = fixed.content.kind, moving.content.kind
    if set(kinds) != {"skull-stripped brain", "whole head or body"} or fixed.mask or moving.mask:
        return None
    head_moves = kinds[1] == "whole head or body"
    laid = inscribed(fixed, moving) if head_moves else inscribed(moving, fixed)
    if laid.agreement < _INSCRIBED:
        return None
    matrix = laid.matrix if head_moves else np.asarray(np.linalg.inv(laid.matrix), dtype=np.float64)
    found = Fit(matrix, 1 / laid.agreement - 1, laid.iterations)
    return _Found(Start(matrix, "outline", True), found, laid.agreement), laid.agreement_before


def _search(levels: tuple[Pair, Pair, Pair], local: Pair, *, upright: bool) -> tuple[Start, Fit]:
    """The start that leads to the best local correlation at the middle level, and where it led."""
    coarse, middle, _ = levels
    candidates = starts(coarse, upright=upright)
    similarity = correlations(coarse, np.stack([s.matrix for s in candidates]))
    chosen = [candidates[n] for n in np.argsort(-similarity, kind="stable")[:_COARSE]]
    refined = [(s, fit(coarse, Fit(s.matrix), "rigid", iterations=15, tolerance_mm=0.5)) for s in chosen]
    found = []
    for start, at in _distinct(refined, coarse)[:_MIDDLE]:
        at = fit(middle, at, "rigid", iterations=10, tolerance_mm=0.3)
        at = fit(middle, at, "affine", iterations=15, tolerance_mm=0.3, prior=_PRIOR)
        found.append((start, fit(local, at, "affine", iterations=15, tolerance_mm=0.3, prior=_PRIOR)))
    return min(found, key=lambda f: f[1].cost)


def _polished(start: Start, at: Fit, middle: Pair, fine: Pair) -> _Found:
    """The last steps, at samples that agree, of locally normalised images."""
    at = fit(trusted(middle, at.matrix), at, "affine", iterations=10, tolerance_mm=0.1, prior=_PRIOR)
    at = fit(trusted(fine, at.matrix), at, "affine", iterations=10, tolerance_mm=0.05, prior=_PRIOR)
    return _Found(start, at, float(correlations(fine, at.matrix[None])[0]))


def _distinct(refined: list[tuple[Start, Fit]], pair: Pair) -> list[tuple[Start, Fit]]:
    """Best first, without those that came to the same place."""
    radius_mm = pair.fixed.radius_mm
    corners = np.ones((4, 4))
    corners[:3] = pair.fixed.centroid_mm[:, None] + radius_mm * np.eye(3, 4)
    kept: list[tuple[Start, Fit]] = []
    for start, at in sorted(refined, key=lambda r: r[1].cost):
        if all(np.abs((at.matrix - other.matrix) @ corners).max() > _SAME * radius_mm for _, other in kept):
            kept.append((start, at))
    return kept


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
