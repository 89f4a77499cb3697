"""Where affine alignment may begin: the headers' own alignment, and centres put together in every orientation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.pyramid import Level, Pair
from lightcrcf.geometry.kernels import resample

__all__ = ["Start", "placements", "rotations", "starts"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# How many of `rotations` take a cube to itself.
_CUBE = 24
# A foreground that is longer than the other one by more than this may hold it anywhere.
_SLACK_MM = 25.0
# Best placements for each rotation, how many voxels apart, and the share of the smaller image that must be inside.
_PLACEMENTS, _APART, _INSIDE = 6, 1, 0.7


@dataclass(frozen=True, eq=False)
class Start:
    """(4, 4) fixed RAS mm to moving RAS mm, its name, and whether the headers' orientation is kept."""

    matrix: Float64
    name: str
    upright: bool


def starts(pair: Pair, *, upright: bool) -> list[Start]:
    """The starts that keep the headers' orientation, or those that do not.

    These are the header's own alignment, and the centres put together under each of `rotations`. Where one foreground
    is much larger than the other one, its centre means little: then the smaller one is also put where it correlates
    best, at the best few places for each rotation of a cube.
    """
    if upright:
        placed = [Start(matrix, "best placement", True) for matrix in _placed(pair, np.eye(3))]
        together = Start(_together(pair.fixed, pair.moving, np.eye(3)), "centres", True)
        return [Start(np.eye(4), "header", True), together, *placed]
    result = []
    for number, rotation in enumerate(rotations()[1:], start=1):
        name = f"turned by {np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))):.0f}°"
        result.append(Start(_together(pair.fixed, pair.moving, rotation), f"centres, {name}", False))
        if number < _CUBE:
            result += [Start(m, f"best placement, {name}", False) for m in _placed(pair, rotation)]
    return result


def _placed(pair: Pair, rotation: Float64) -> list[Float64]:
    """The best placements, (4, 4) from fixed to moving mm, if one foreground is much longer than the other."""
    gap = np.sort(pair.fixed.extent_mm) - np.sort(pair.moving.extent_mm)
    if np.abs(gap).max() < _SLACK_MM:
        return []
    if pair.fixed.litres < pair.moving.litres:
        return placements(pair.fixed, pair.moving, rotation)
    return [np.asarray(np.linalg.inv(m), np.float64) for m in placements(pair.moving, pair.fixed, rotation.T)]


def _together(a: Level, b: Level, rotation: Float64) -> Float64:
    """(4, 4) from a's mm to b's: the rotation, and centre to centre."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = b.centroid_mm - rotation @ a.centroid_mm
    return matrix


def placements(small: Level, large: Level, rotation: Float64) -> list[Float64]:
    """Where `small`, rotated, correlates best with `large`, of all shifts by whole voxels of `large`.

    Returns:
        at most `_PLACEMENTS` matrices (4, 4) from small's mm to large's, best first.

    Source:
        Padfield, Masked object registration in the Fourier domain, IEEE Trans. Image Processing 2012.
    """
    step, matrix = large.grid.affine[:3, :3], _together(small, large, rotation)
    reach = np.abs(np.linalg.inv(step) @ rotation @ small.grid.affine[:3, :3]) @ np.array(small.grid.shape)
    d, h, w = (int(n) for n in np.ceil(reach) + 1)
    shape = (d, h, w)
    corner = large.centroid_mm - step @ ((np.array(shape) - 1) / 2)
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = step, corner
    index = (small.grid.inverse @ np.linalg.inv(matrix) @ frame)[:3]
    image, weight = (resample(plane, shape, index) for plane in (small.image, small.foreground))
    correlation = _correlations_at_shifts(image, weight, large.image, large.valid)
    result = []
    for _ in range(_PLACEMENTS):
        best = np.unravel_index(int(correlation.argmax()), correlation.shape)
        if correlation[best] <= 0:
            break
        shift = np.array([b - n * (b >= n - t) for b, n, t in zip(best, correlation.shape, shape, strict=True)])
        moved = matrix.copy()
        moved[:3, 3] += large.grid.world(shift) - corner
        result.append(moved)
        near = np.ix_(
            *[np.arange(b - _APART, b + _APART + 1) % n for b, n in zip(best, correlation.shape, strict=True)]
        )
        correlation[near] = -1
    return result


def _correlations_at_shifts(image: Float32, weight: Float32, other: Float32, valid: Float32) -> Float64:
    """Correlation of `image` under `weight` with `other` at each shift (negative ones at the end); -1 off the grid."""
    size = [a + b - 1 for a, b in zip(image.shape, other.shape, strict=True)]

    def transform(plane: Float32) -> NDArray[np.complex128]:
        return np.fft.rfftn(plane.astype(np.float64), size, axes=(0, 1, 2))

    w, wf, wff = (transform(weight * power).conj() for power in (np.float32(1), image, image * image))
    v, vm, vmm = (transform(valid * power) for power in (np.float32(1), other, other * other))
    n, f, ff, m, mm, fm = (
        np.fft.irfftn(p, size, axes=(0, 1, 2)) for p in (w * v, wf * v, wff * v, w * vm, w * vmm, wf * vm)
    )
    inside = n > _INSIDE * float(weight.sum())
    n = np.maximum(n, 1e-6)
    power = (ff - f * f / n) * (mm - m * m / n)
    return np.where(inside & (power > (1e-6 * n) ** 2), (fm - f * m / n) / np.sqrt(np.maximum(power, 1e-12)), -1.0)


def rotations() -> list[Float64]:
    """96 rotations (3, 3): the 24 of a cube, the identity first, then those with 45 degrees about each axis.

    No orientation is farther than 45 degrees from one of them.

    Example:
        >>> turns = rotations()
        >>> len(turns), turns[0].tolist()
        (96, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    """
    signed = (
        np.array(signs, dtype=np.float64)[:, None] * np.eye(3)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    )
    cube = [matrix for matrix in signed if np.linalg.det(matrix) > 0]
    half = np.sqrt(0.5)
    eighths = [np.eye(3)]
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = half, -half, half, half
        eighths.append(turn)
    return [matrix @ eighth for eighth in eighths for matrix in cube]
