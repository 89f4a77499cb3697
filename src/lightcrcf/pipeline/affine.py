"""Affine alignment of any two volumes: many starts, coarse to fine, never worse than the headers' own alignment."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.alignment_kernels import block_mean, box_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.pipeline.affine_fit import Fit, Level, Pair, centroid, correlations, fit
from lightcrcf.pipeline.foreground import Content, content, foreground, litres, thin_out
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes.volume import Volume

__all__ = ["Alignment", "align"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Finest samples to a foreground: about 2 mm for a brain, 3 mm for a head, 1 mm for a hippocampus.
_SAMPLES = 160_000


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


def align(
    fixed: Volume, moving: Volume, *, fixed_mask: Volume | None = None, moving_mask: Volume | None = None
) -> Alignment:
    fixed_pyramid = _pyramid(fixed)
    moving_pyramid = _pyramid(moving)
    pairs = [Pair(f, m, 1.0, 1.0, True) for f, m in zip(fixed_pyramid, moving_pyramid, strict=True)]
    names, matrices = starts(pairs[0])
    similarity = correlations(pairs[0], matrices)
    order = np.argsort(-similarity, kind="stable")[:6]
    order = [0, *[o for o in order if o != 0]]
    fits = [(names[o], fit(pairs[0], matrices[o], "rigid", iterations=15, tolerance_mm=0.5)) for o in order]
    fits.sort(key=lambda x: x[1].cost)
    best = []
    for name, f in fits[:2]:
        f = fit(pairs[1], f.matrix, "rigid", iterations=10, tolerance_mm=0.3)
        f = fit(pairs[1], f.matrix, "affine", iterations=15, tolerance_mm=0.3)
        best.append((name, f))
    name, f = min(best, key=lambda x: x[1].cost)
    f = fit(pairs[2], f.matrix, "affine", iterations=10, tolerance_mm=0.05)
    before, after = correlations(pairs[2], np.stack([np.eye(4), f.matrix]))
    matrix = f.matrix if after > before else np.eye(4)
    u, s, vt = np.linalg.svd(matrix[:3, :3])
    angle = np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1)))
    return Alignment(Affine(matrix), before, after, "corr", name, f.iterations, angle, tuple(s[::-1]), None, None)


def _pyramid(volume: Volume) -> list[Level]:
    volume = volume.canonical()
    probe, grid = thin_out(volume, voxels=100_000)
    mask = foreground(probe)
    if not mask.any():
        raise InputError(
            volume.source, expected="an image with some contrast", got="one value everywhere", remedy="check the file"
        )
    spacing = (litres(mask, grid) * 1e6 / _SAMPLES) ** (1 / 3)
    image, grid = thin_out(volume, spacing_mm=spacing)
    mask = foreground(image)
    base = image[~mask].mean() if not mask.all() else 0
    top = np.percentile(image[mask], 99.5)
    image = np.clip((image - base) / (top - base), 0, 1.2).astype(np.float32)
    levels = []
    for factor in (1, 2, 4):
        if factor > 1:
            v = Volume(image, grid)
            image, g2 = thin_out(v, spacing_mm=spacing * factor)
            fs = [round(b / a) for a, b in zip(grid.spacing_mm, g2.spacing_mm)]
            mask = block_mean(mask.astype(np.float32), tuple(fs)) >= 0.5
            grid = g2
        r = tuple(max(1, round(2.5 * spacing * (1 if factor == 1 else factor / 2) / s)) for s in grid.spacing_mm)
        samples = (box_mean(mask.astype(np.float32), r) > 1e-6).astype(np.float32)
        levels.append(Level(image, samples, np.ones_like(samples), grid))
    return levels[::-1]


def starts(pair: Pair) -> tuple[list[str], Float64]:
    cf, cm = pair.fixed.grid.world(centroid(pair.fixed)), pair.moving.grid.world(centroid(pair.moving))
    names, matrices = ["header"], [np.eye(4)]
    for n, r in enumerate(cube_rotations()):
        m = np.eye(4)
        m[:3, :3] = r
        m[:3, 3] = cm - r @ cf
        names.append(f"centroid, rotation {n}")
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
