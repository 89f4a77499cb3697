"""Pseudo-contrasts: simulated scans of a brain in other contrasts, from its T1 and its labels.

A map from the T1's intensities to the other contrast's, which is not monotone; offsets of deep structures, which no
such map can give; texture, a bias field, noise, and slices as thick as such scans have. Made to measure registration
across contrasts with labels: they are easier than real scans, since most of what they show is a function of the T1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.refinement_kernels import gaussian
from lightcrcf.volumes import Volume

__all__ = ["CONTRASTS", "Contrast", "pseudo_contrast", "smoothed"]

Float32 = NDArray[np.float32]
Labels = NDArray[Any]

# Neuromorphometrics codes.
_WHITE, _LATERAL = (44, 45), (51, 52)
_LOBAR = range(81, 96)  # white matter of other labels, which divide it
_CORTEX = 100  # from here on
_STRUCTURES = {
    "pallidum": (55, 56), "putamen": (57, 58), "thalamus": (59, 60), "caudate": (36, 37), "ventral": (61, 62),
    "hippocampus": (47, 48, 31, 32), "cerebellum": (38, 39, 71, 72, 73), "cerebellar white": (40, 41), "stem": (35,),
    "limbic": (100, 101, 138, 139, 166, 167, 102, 103, 172, 173, 170, 171, 116, 117),
}  # fmt: skip
_ORBITAL = (146, 147, 104, 105, 136, 137, 178, 179, 124, 125)
_DROPOUT_MM, _DROPPED = (22.0, 14.0, 9.0), 0.75  # right, anterior, superior: where air above the palate spoils EPI
_BIAS_MM = 45.0
_TEXTURE = 0.02


@dataclass(frozen=True)
class Contrast:
    """Tissue intensities and acquisition of a simulated scan.

    Args:
        shades: of what is darker than liquor, liquor, grey and white matter, and what is brighter.
        offsets: that structures add, by their names here.
        slice_mm, in_plane_mm: size of a voxel along the superior axis and the others; below 1.5 in plane only a blur.
        noise: standard deviation.
        bias: strongest logarithm of the bias field.
        lesions: whether white matter has bright spots, as in age.
        dropout: whether the signal fades above the palate.
        rician: whether noise is that of magnitudes, or else smooth and of either sign, as in CT.
    """

    shades: tuple[float, float, float, float, float]
    offsets: dict[str, float] = field(default_factory=dict)
    slice_mm: float = 3.0
    in_plane_mm: float = 1.0
    noise: float = 0.025
    bias: float = 0.3
    lesions: bool = False
    dropout: bool = False
    rician: bool = True


CONTRASTS = {
    "T2": Contrast(
        (0.30, 1.0, 0.62, 0.42, 0.38),
        {"pallidum": -0.18, "putamen": -0.07, "thalamus": -0.03, "ventral": -0.08, "hippocampus": 0.03, "stem": 0.02,
         "cerebellum": -0.02, "cerebellar white": -0.02},
    ),
    "FLAIR": Contrast(
        (0.05, 0.10, 0.75, 0.58, 0.55),
        {"pallidum": -0.12, "putamen": -0.03, "thalamus": -0.06, "ventral": -0.03, "hippocampus": 0.06, "limbic": 0.06,
         "stem": 0.03, "cerebellum": -0.03, "cerebellar white": 0.02},
        slice_mm=4.0, noise=0.03, lesions=True,
    ),
    "CT": Contrast(
        (0.12, 0.10, 0.475, 0.36, 0.35),
        {"pallidum": 0.03, "putamen": 0.02, "caudate": 0.02, "stem": -0.02},
        slice_mm=2.5, noise=0.04, bias=0.0, rician=False,
    ),
    "PD": Contrast((0.3, 0.88, 0.92, 0.70, 0.66), {"pallidum": -0.08, "thalamus": -0.03}),
    "EPI": Contrast(
        (0.1, 1.0, 0.66, 0.48, 0.45),
        {"pallidum": -0.25, "putamen": -0.1, "ventral": -0.12},
        in_plane_mm=3.0, noise=0.03, bias=0.37, dropout=True,
    ),
}  # fmt: skip


def pseudo_contrast(image: Volume, labels: Volume, name: str, seed: int, *, around: float = 0.0) -> Volume:
    """Simulate a scan of a brain or head in contrast `CONTRASTS[name]`.

    Args:
        image: T1 of the brain alone, 0 outside, of about 1 mm; or of a head.
        labels: Neuromorphometrics codes, on the same grid.
        name: of the contrast.
        seed: the same numbers give the same image.
        around: of a head, how bright is outside of the brain what is as bright as white matter in the T1: .6 where fat
            is bright, .12 where its signal is suppressed; 0 for a brain alone.
    """
    contrast, random = CONTRASTS[name], np.random.default_rng(seed)
    image, labels = image.canonical(), labels.canonical()
    shown, mask = _shown(contrast, image, labels, random, around)
    sizes = image.grid.spacing_mm.copy()
    if contrast.in_plane_mm > 1.5:
        sizes[:2] = contrast.in_plane_mm
    sizes[2] = contrast.slice_mm
    factors = sizes / image.grid.spacing_mm
    blur = tuple(float(0.38 * f) if f > 1 else 0.3 for f in factors)  # what a voxel's profile blurs
    grid = _coarser(image.grid, factors)
    step = (image.grid.inverse @ grid.affine)[:3]
    shown, mask = (resample(x, grid.shape, step) for x in smoothed(blur, shown, mask))
    noisy = _noisy(contrast, shown, random)
    data = np.where(mask > 0.5, np.maximum(noisy, np.float32(0.01)), 0)
    return Volume((1000 * data).astype(np.int16), grid, f"pseudo-{name}")


def _shown(
    contrast: Contrast, image: Volume, labels: Volume, random: np.random.Generator, around: float
) -> tuple[Float32, Float32]:
    """Return the tissues in the other contrast, and the mask of the brain with a soft edge, at full resolution."""
    data, codes = image.data.astype(np.float32), labels.data
    mask = np.ones_like(data) if around else (data > 0).astype(np.float32)
    mean, share = smoothed((0.55,) * 3, data, mask)
    tissue = np.where(mask > 0, mean / np.maximum(share, np.float32(0.2)), 0)
    knots = _knots(contrast, tissue, codes)
    shown = np.interp(tissue, *knots).astype(np.float32)
    if around:
        (inside,) = smoothed((1.0,) * 3, (codes > 0).astype(np.float32))
        rest = np.float32(around) * np.minimum(tissue / np.float32(knots[0][-2]), np.float32(1.5))
        shown = inside * shown + (1 - inside) * rest
    for structure, offset in contrast.offsets.items():
        where = np.isin(codes, _STRUCTURES[structure]).astype(np.float32)
        shown += np.float32(offset) * smoothed((1.0,) * 3, where)[0]
    if contrast.lesions:
        shown += _lesions(codes, random)
    texture = _noise_of(data.shape, 1.5, random)
    shown *= 1 + np.float32(_TEXTURE) * texture
    if contrast.bias:
        shown *= np.exp(np.float32(contrast.bias) * _bias(image.grid, random))
    if contrast.dropout:
        shown *= 1 - np.float32(_DROPPED) * _fading(image.grid, codes)
    (soft,) = smoothed((0.4,) * 3, mask)
    return shown * soft, mask


def _knots(contrast: Contrast, tissue: Float32, codes: Labels) -> tuple[list[float], list[float]]:
    """Return intensities of the T1, and the intensities they map to."""
    ventricle = np.isin(codes, _LATERAL).astype(np.float32)
    core = window_mean(ventricle[None], 1)[0] > 0.999
    least, liquor = (float(x) for x in np.percentile(tissue[core], (2, 60)))
    of_white = np.isin(codes, _WHITE)
    if not of_white.any():
        of_white = np.isin(codes, _LOBAR)
    grey, white = float(np.median(tissue[codes >= _CORTEX])), float(np.median(tissue[of_white]))
    dark, *shades = contrast.shades
    low = 0.6 * least
    return [0, low / 2, low, liquor, grey, white, 1.2 * white], [dark, dark, shades[0], *shades]


def _lesions(codes: Labels, random: np.random.Generator) -> Float32:
    """Return bright lesions of white matter, most of them around the ventricles."""
    (white,) = smoothed((1.0,) * 3, np.isin(codes, _WHITE).astype(np.float32))
    (near,) = smoothed((4.0,) * 3, np.isin(codes, _LATERAL).astype(np.float32))
    spots = np.clip(1.5 * (_noise_of(codes.shape, 2.0, random) - 2 + 6 * near), 0, 1)
    return np.asarray(0.25 * white * spots, np.float32)


def _fading(grid: Grid, codes: Labels) -> Float32:
    """Return the signal loss, 0 to 1, in an ellipsoid around the orbital gyri."""
    centre = np.argwhere(np.isin(codes, _ORBITAL)).mean(axis=0)
    sizes = np.array(_DROPOUT_MM) / grid.spacing_mm
    squares = [((np.arange(n) - c) / s) ** 2 for n, c, s in zip(grid.shape, centre, sizes, strict=True)]
    distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    return np.asarray(np.exp(-distance), np.float32)


def _bias(grid: Grid, random: np.random.Generator) -> Float32:
    """Return a smooth field between -1 and 1: random numbers some way apart, with cubic curves between."""
    spacing = _BIAS_MM / grid.spacing_mm
    knots = random.normal(size=[int(np.ceil(n / s)) + 4 for n, s in zip(grid.shape, spacing, strict=True)])
    step = np.hstack([np.diag(1 / spacing), np.full((3, 1), 1.5)])
    curve = resample(knots.astype(np.float32), grid.shape, step, interpolation="cubic")
    return np.asarray(curve / np.abs(curve).max(), np.float32)


def _noisy(contrast: Contrast, shown: Float32, random: np.random.Generator) -> Float32:
    if not contrast.rician:
        return shown + np.float32(contrast.noise) * _noise_of(shown.shape, 0.6, random)
    real, imaginary = random.normal(0, contrast.noise, (2, *shown.shape)).astype(np.float32)
    return np.asarray(np.hypot(shown + real, imaginary), np.float32)


def _noise_of(shape: tuple[int, ...], sigma: float, random: np.random.Generator) -> Float32:
    """Smooth noise of variance 1."""
    (noise,) = smoothed((sigma,) * 3, random.standard_normal(shape, np.float32))
    return np.asarray(noise / noise.std(), np.float32)


def smoothed(sigma: tuple[float, ...], *images: Float32) -> list[Float32]:
    """Smooth by a Gaussian; border voxels are repeated."""
    return list(gaussian(np.stack(images), (sigma[0], sigma[1], sigma[2])))


def _coarser(grid: Grid, factors: NDArray[np.float64]) -> Grid:
    """Return a grid with larger voxels and the same origin."""
    a, b, c = (int(np.ceil(n / f)) for n, f in zip(grid.shape, factors, strict=True))
    scale = np.diag([*factors, 1.0])
    scale[:3, 3] = (factors - 1) / 2
    return Grid((a, b, c), grid.affine @ scale)
