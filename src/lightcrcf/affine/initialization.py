"""Starts of the affine registration: the headers, centroids in every orientation, and the best translations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.affine.pyramid import LevelPair, PyramidLevel
from lightcrcf.geometry.kernels import resample

__all__ = ["Start", "best_translations", "rotations", "starts"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Number of `rotations` that are symmetries of the cube.
_CUBE = 24
# Translations are searched if one foreground is longer than the other by more than this.
_MIN_SIZE_DIFFERENCE_MM = 25.0
# Translations per rotation, radius in voxels of non-maximum suppression, and least overlap of the smaller image.
_TRANSLATIONS, _SUPPRESSION_RADIUS, _MIN_INSIDE = 6, 1, 0.7


@dataclass(frozen=True, eq=False)
class Start:
    """An initial matrix (4, 4) from fixed to moving RAS mm, its name, and whether it keeps the headers' orientation."""

    matrix: Float64
    name: str
    upright: bool


def starts(pair: LevelPair, *, upright: bool) -> list[Start]:
    """List the starts that keep the headers' orientation, or those that do not.

    These are the alignment of the headers, and the alignment of centroids under each of `rotations`. If one foreground
    is much larger than the other, its centroid is no good estimate: then the translations of the smaller one with the
    highest correlation are added, for each rotation of the cube.
    """
    if upright:
        translated = [Start(matrix, "best placement", True) for matrix in _translation_starts(pair, np.eye(3))]
        centred = Start(_align_centroids(pair.fixed, pair.moving, np.eye(3)), "centres", True)
        return [Start(np.eye(4), "header", True), centred, *translated]
    result = []
    for number, rotation in enumerate(rotations()[1:], start=1):
        name = f"turned by {np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))):.0f}°"
        result.append(Start(_align_centroids(pair.fixed, pair.moving, rotation), f"centres, {name}", False))
        if number < _CUBE:
            result += [Start(m, f"best placement, {name}", False) for m in _translation_starts(pair, rotation)]
    return result


def _translation_starts(pair: LevelPair, rotation: Float64) -> list[Float64]:
    """Return the best translations, (4, 4) from fixed to moving mm, if one foreground is much longer than the other."""
    gap = np.sort(pair.fixed.extent_mm) - np.sort(pair.moving.extent_mm)
    if np.abs(gap).max() < _MIN_SIZE_DIFFERENCE_MM:
        return []
    if pair.fixed.litres < pair.moving.litres:
        return best_translations(pair.fixed, pair.moving, rotation)
    return [np.asarray(np.linalg.inv(m), np.float64) for m in best_translations(pair.moving, pair.fixed, rotation.T)]


def _align_centroids(a: PyramidLevel, b: PyramidLevel, rotation: Float64) -> Float64:
    """Return the (4, 4) matrix from a's mm to b's mm with this rotation that aligns the centroids."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = b.centroid_mm - rotation @ a.centroid_mm
    return matrix


def best_translations(small: PyramidLevel, large: PyramidLevel, rotation: Float64) -> list[Float64]:
    """Find the translations, in whole voxels of `large`, at which the rotated `small` correlates best with it.

    Returns:
        At most `_TRANSLATIONS` matrices (4, 4) from small's mm to large's mm, best first.

    Source:
        Padfield, Masked object registration in the Fourier domain, IEEE Trans. Image Processing 2012.
    """
    voxel, matrix = large.grid.affine[:3, :3], _align_centroids(small, large, rotation)
    size = np.abs(np.linalg.inv(voxel) @ rotation @ small.grid.affine[:3, :3]) @ np.array(small.grid.shape)
    d, h, w = (int(n) for n in np.ceil(size) + 1)
    shape = (d, h, w)
    corner = large.centroid_mm - voxel @ ((np.array(shape) - 1) / 2)
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = voxel, corner
    index = (small.grid.inverse @ np.linalg.inv(matrix) @ frame)[:3]
    image, weight = (resample(plane, shape, index) for plane in (small.image, small.foreground))
    correlation = _correlations_at_shifts(image, weight, large.image, large.valid)
    result = []
    for _ in range(_TRANSLATIONS):
        best = np.unravel_index(int(correlation.argmax()), correlation.shape)
        if correlation[best] <= 0:
            break
        shift = np.array([b - n * (b >= n - t) for b, n, t in zip(best, correlation.shape, shape, strict=True)])
        candidate = matrix.copy()
        candidate[:3, 3] += large.grid.world(shift) - corner
        result.append(candidate)
        neighbours = np.ix_(
            *[
                np.arange(b - _SUPPRESSION_RADIUS, b + _SUPPRESSION_RADIUS + 1) % n
                for b, n in zip(best, correlation.shape, strict=True)
            ]
        )
        correlation[neighbours] = -1
    return result


def _correlations_at_shifts(image: Float32, weight: Float32, other: Float32, valid: Float32) -> Float64:
    """Return the masked correlation at each shift (negative shifts at the end); -1 with too little overlap."""
    size = [a + b - 1 for a, b in zip(image.shape, other.shape, strict=True)]

    def transform(plane: Float32) -> NDArray[np.complex128]:
        return np.fft.rfftn(plane.astype(np.float64), size, axes=(0, 1, 2))

    w, wf, wff = (transform(weight * power).conj() for power in (np.float32(1), image, image * image))
    v, vm, vmm = (transform(valid * power) for power in (np.float32(1), other, other * other))
    n, f, ff, m, mm, fm = (
        np.fft.irfftn(p, size, axes=(0, 1, 2)) for p in (w * v, wf * v, wff * v, w * vm, w * vmm, wf * vm)
    )
    inside = n > _MIN_INSIDE * float(weight.sum())
    n = np.maximum(n, 1e-6)
    power = (ff - f * f / n) * (mm - m * m / n)
    return np.where(inside & (power > (1e-6 * n) ** 2), (fm - f * m / n) / np.sqrt(np.maximum(power, 1e-12)), -1.0)


def rotations() -> list[Float64]:
    """Return 96 rotations (3, 3): the 24 of the cube, the identity first, then those with 45 degrees about each axis.

    No orientation is farther than 45 degrees from one of them.

    Example:
        >>> turns = rotations()
        >>> len(turns), turns[0].tolist()
        (96, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    """
    matrices = np.empty((96, 4, 4))
    _core.affine_rotations(matrices)
    return list(matrices[:, :3, :3].copy())
