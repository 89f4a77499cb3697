"""Affine alignment of any two volumes: many starts, coarse to fine, never worse than the headers' own alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.pipeline.affine_fit import Fit, correlations, fit
from lightcrcf.pipeline.affine_images import Pair, Source, pyramids, trusted
from lightcrcf.pipeline.affine_starts import Start, starts
from lightcrcf.pipeline.foreground import Content
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes.volume import Volume

__all__ = ["Alignment", "align"]

Float64 = NDArray[np.float64]

# Cost of strain, in units of 1 - correlation squared: a stretch by a tenth along one axis costs 0.001.
_PRIOR = 0.1
# Starts of each kind (upright, turned) that are refined at the coarse level, and that go on to the middle one.
_COARSE, _MIDDLE = 6, 3
# Below this local cost an upright alignment is right; wrong ones were never seen below 0.8 in brains.
_SURE = 0.5
# Headers are right about the orientation more often than not: a turned alignment must be better by this factor.
_TURNED_MUST_GAIN = 0.9
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
        start: which start won; "header" alone if the headers' own alignment was kept or refined.
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
    fixed: Volume, moving: Volume, *, fixed_mask: Volume | None = None, moving_mask: Volume | None = None
) -> Alignment:
    """The affine that brings `moving` onto `fixed`: two images of one kind and contrast, however they lie.

    Starts are compared at about 10 mm and refined by global correlation; the best few go on to 5 mm, where the local
    correlation chooses; the last steps are at 2.5 mm, with samples weighted by how well their surroundings agree.
    The same images give the same result whatever the order of their axes and the number of threads.

    Args:
        fixed, moving: the images, on any grids.
        fixed_mask, moving_mask: on the grid of their image, nonzero where it may be used.

    Raises:
        InputError: if an image is constant, a mask is on another grid or leaves nothing, or nothing can be compared.
    """
    sources = Source.prepare(fixed, fixed_mask), Source.prepare(moving, moving_mask)
    coarse, middle, fine = pyramids(*sources)
    start, best = _search(coarse, middle)
    if not np.isfinite(best.cost):
        raise InputError(
            f"{fixed.source} and {moving.source}",
            expected="images that have anatomy in common",
            got="nothing to compare in any orientation",
            remedy="check that both show the same part of the body, and the masks",
        )
    local = fine.localised()
    best = fit(trusted(middle.localised(), best.matrix), best, "affine", iterations=10, tolerance_mm=0.1, prior=_PRIOR)
    best = fit(trusted(local, best.matrix), best, "affine", iterations=10, tolerance_mm=0.05, prior=_PRIOR)
    before, after = (float(s) for s in correlations(local, np.stack([np.eye(4), best.matrix])))
    if after <= before:
        start, best, after = Start(np.eye(4), "header", True), Fit(np.eye(4)), before
    spacing = float(np.prod(fine.fixed.grid.spacing_mm) ** (1 / 3))
    return Alignment(
        affine=Affine(best.matrix),
        similarity_before=before,
        similarity_after=after,
        measure=f"correlation of locally normalised images at {spacing:.1f} mm, mean of both directions",
        start=start.name,
        iterations=best.iterations,
        **_shape(best.matrix),
        fixed_content=sources[0].content,
        moving_content=sources[1].content,
    )


def _search(coarse: Pair, middle: Pair) -> tuple[Start, Fit]:
    """The start that leads to the best local correlation at the middle level, and where it led."""
    local = middle.localised()
    best = Start(np.eye(4), "header", True), Fit(np.eye(4))
    for upright in (True, False):
        candidates = starts(coarse, upright=upright)
        similarity = correlations(coarse, np.stack([s.matrix for s in candidates]))
        chosen = [candidates[n] for n in np.argsort(-similarity, kind="stable")[:_COARSE]]
        refined = [(s, fit(coarse, Fit(s.matrix), "rigid", iterations=15, tolerance_mm=0.5)) for s in chosen]
        for start, at in _distinct(refined, coarse)[:_MIDDLE]:
            at = fit(middle, at, "rigid", iterations=10, tolerance_mm=0.3)
            at = fit(middle, at, "affine", iterations=15, tolerance_mm=0.3, prior=_PRIOR)
            at = fit(local, at, "affine", iterations=15, tolerance_mm=0.3, prior=_PRIOR)
            if at.cost < best[1].cost * (1 if upright == best[0].upright else _TURNED_MUST_GAIN):
                best = start, at
        if best[1].cost < _SURE:
            break
    return best


def _distinct(refined: list[tuple[Start, Fit]], pair: Pair) -> list[tuple[Start, Fit]]:
    """Best first, without those that came to the same place."""
    radius_mm = pair.fixed.radius_mm()
    corners = np.ones((4, 4))
    corners[:3] = pair.fixed.centroid_mm()[:, None] + radius_mm * np.eye(3, 4)
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
