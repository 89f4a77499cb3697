"""Affine alignment of any two volumes: many starts, coarse to fine, never worse than the headers' own alignment."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from lightcrcf.pipeline.affine_fit import Fit, Pair, correlations, fit
from lightcrcf.pipeline.affine_images import Level, Source, localised, pyramid
from lightcrcf.pipeline.foreground import Content
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes.volume import Volume

__all__ = ["Alignment", "align"]

Float64 = NDArray[np.float64]

@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine alignment and how well it went.

    Args:
        affine: fixed RAS mm to moving RAS mm.
        similarity_before, similarity_after: correlation of the images under the headers' own alignment, and after.
        measure: what the similarity is, in words.
        start: which start won ("header" if the headers' own alignment was kept as it is).
        iterations: least-squares steps of the winning path.
        rotation_deg: angle of the rotation part.
        scales: (3,) stretches along the principal directions, smallest first.
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
    fixed_content: Content
    moving_content: Content


PRIOR = 0.1
TURN = 0.9


def align(
    fixed: Volume, moving: Volume, *, fixed_mask: Volume | None = None, moving_mask: Volume | None = None
) -> Alignment:
    sources = Source.prepare(fixed, fixed_mask), Source.prepare(moving, moving_mask)
    blank = [s.content.masked for s in sources]
    spacing = max(s.spacing_mm() for s in sources)
    levels = [pyramid(s, spacing, outline=not s.content.masked or all(blank)) for s in sources]
    coarse, middle, fine = (Pair(f, m, all(blank)) for f, m in zip(*levels, strict=True))
    names, matrices = starts(coarse, blank[0] != blank[1])
    similarity = correlations(coarse, matrices)
    order = np.argsort(-similarity, kind="stable")[:8]
    order = [*[o for o in range(len(names)) if names[o][1]][:2], *order]
    fits = [(names[o], fit(coarse, matrices[o], "rigid", iterations=15, tolerance_mm=0.5)) for o in order]
    fits.sort(key=lambda x: x[1].cost)
    fits = [f for f in fits if f[0][1]][:2] + [f for f in fits if not f[0][1]][:2]
    best = []
    middle_local = Pair(localised(middle.fixed), localised(middle.moving), middle.keep)
    for name, f in fits:
        f = fit(middle, f.matrix, "rigid", iterations=10, tolerance_mm=0.3)
        f = fit(middle, f.matrix, "affine", iterations=15, tolerance_mm=0.3, prior=PRIOR)
        f = fit(middle_local, f.matrix, "affine", iterations=15, tolerance_mm=0.3, prior=PRIOR)
        best.append((name, f))
        if DEBUG: print(name, f.cost, fit(middle, f.matrix, "affine", iterations=0, tolerance_mm=1).cost)
    name, f = min(best, key=lambda x: x[1].cost / 2 * (TURN if x[0][1] else 1))
    fine_local = Pair(localised(fine.fixed), localised(fine.moving), fine.keep)
    f = fit(fine_local, f.matrix, "affine", iterations=10, tolerance_mm=0.05, prior=PRIOR)
    before, after = correlations(fine_local, np.stack([np.eye(4), f.matrix]))
    matrix = f.matrix if after > before else np.eye(4)
    u, s, vt = np.linalg.svd(matrix[:3, :3])
    angle = np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1)))
    return Alignment(Affine(matrix), before, after, "corr", name[0], f.iterations, angle, tuple(s[::-1]), sources[0].content, sources[1].content)


DEBUG = False


def starts(pair: Pair, mixed: bool):
    cf, cm = pair.fixed.centroid_mm(), pair.moving.centroid_mm()
    names, matrices = [("header", True)], [np.eye(4)]
    offsets = [np.zeros(3)]
    if mixed:
        offsets = [np.array(o) * 30.0 for o in product((-2, -1, 0, 1, 2), repeat=3)]
    for n, r in enumerate(cube_rotations()):
        for o in offsets:
            m = np.eye(4)
            m[:3, :3] = r
            m[:3, 3] = cm - r @ cf + o
            names.append((f"centroid, rotation {n}", n == 0))
            matrices.append(m)
    return names, np.stack(matrices)


def cube_rotations() -> list[Float64]:
    out = []
    for p in permutations(range(3)):
        for s in product((1, -1), repeat=3):
            m = np.zeros((3, 3))
            m[range(3), p] = s
            if np.linalg.det(m) > 0:
                out.append(m)
    return out
