"""Gauss-Newton fitting of an affine to the correlation of two images, in both directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import gram, scores
from lightcrcf.pipeline.affine_images import Level

__all__ = ["Fit", "Pair", "correlations", "fit"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# How many generators each family of transforms uses, in the order of `generators`.
FAMILIES = {"translation": 3, "rigid": 6, "similarity": 7, "affine": 12}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images at one resolution.

    Args:
        fixed, moving: the images.
        keep: whether what lies outside the other image's grid counts as background, rather than not at all.
    """

    fixed: Level
    moving: Level
    keep: bool


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted affine: (4, 4) fixed RAS mm to moving RAS mm, its cost (0 is perfect) and the steps it took."""

    matrix: Float64
    cost: float
    iterations: int


def generators(centre_mm: Float64, radius_mm: float) -> Float64:
    """(12, 4, 4) small motions about `centre_mm`: 3 translations, 3 rotations, 1 scale, 5 stretches and shears.

    Each moves points at `radius_mm` by about 1 mm, which conditions the normal equations. Every product of their
    exponentials has a positive determinant: alignment cannot mirror.
    """
    units = np.zeros((12, 4, 4))
    units[[0, 1, 2], [0, 1, 2], 3] = radius_mm
    for n, (a, b) in enumerate(((1, 2), (2, 0), (0, 1))):
        units[3 + n, a, b], units[3 + n, b, a] = -1, 1
        units[9 + n, a, b], units[9 + n, b, a] = 1, 1
    units[6, :3, :3] = np.eye(3)
    units[7, :3, :3] = np.diag([1, -1, 0])
    units[8, :3, :3] = np.diag([-0.5, -0.5, 1])
    units[3:, :3, 3] = -units[3:, :3, :3] @ centre_mm
    return units / radius_mm


def exponential(matrix: Float64) -> Float64:
    """(4, 4) matrix exponential by scaling and squaring a Taylor series of order 8."""
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(axis=1).max(), 1e-30)))) + 3)
    small = matrix / 2.0**halvings
    result = term = np.eye(4)
    for n in range(1, 9):
        term = term @ small / n
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result


@dataclass(frozen=True, eq=False)
class _System:
    """Cost at one affine, and its Gauss-Newton system in the 12 generators."""

    cost: float
    hessian: Float64
    descent: Float64


def _direction(reference: Level, other: Level, matrix: Float64, changes: Float64, keep: bool) -> _System:
    """Compare at the samples of `reference`; matrix: (4, 4) its mm to other's mm, changes: (n, 4, 4) its derivatives."""
    to_index, from_index = other.grid.inverse, reference.grid.affine
    sums = gram(
        reference.image, reference.samples, other.image, other.valid, (to_index @ matrix @ from_index)[:3], keep
    )
    jacobian = (to_index @ changes @ from_index)[:, :3].reshape(len(changes), 12)
    if sums[13, 13] < 0.1 * np.count_nonzero(reference.samples):
        return _System(np.inf, np.eye(len(changes)), np.zeros(len(changes)))
    centred = sums - np.outer(sums[:, 13], sums[13]) / sums[13, 13]
    var_m, var_f, cov = centred[12, 12], centred[14, 14], centred[12, 14]
    if min(var_m, var_f) <= 1e-9 * sums[13, 13]:
        return _System(np.inf, np.eye(len(changes)), np.zeros(len(changes)))
    scale = cov / var_m
    hessian = scale**2 / var_f * (centred[:12, :12] - np.outer(centred[:12, 12], centred[12, :12]) / var_m)
    descent = scale / var_f * (centred[:12, 14] - centred[:12, 12] * scale)
    cost = 1 - np.sign(cov) * cov**2 / (var_m * var_f)
    return _System(float(cost), jacobian @ hessian @ jacobian.T, jacobian @ descent)


def _system(pair: Pair, matrix: Float64, units: Float64, prior: float) -> _System:
    """Half of each direction's 1 - correlation squared, and the prior on stretching."""
    back = np.linalg.inv(matrix)
    parts = (
        _direction(pair.fixed, pair.moving, matrix, units @ matrix, pair.keep),
        _direction(pair.moving, pair.fixed, back, -back @ units, pair.keep),
    )
    values, vectors = np.linalg.eigh(matrix[:3, :3] @ matrix[:3, :3].T)
    strain = (vectors * 0.5 * np.log(values)) @ vectors.T
    stretches = (units + units.transpose(0, 2, 1))[:, :3, :3].reshape(len(units), 9) / 2
    return _System(
        (parts[0].cost + parts[1].cost) / 2 + prior * float((strain**2).sum()),
        (parts[0].hessian + parts[1].hessian) / 2 + prior * stretches @ stretches.T,
        (parts[0].descent + parts[1].descent) / 2 - prior * stretches @ strain.ravel(),
    )


def fit(pair: Pair, matrix: Float64, family: str, *, iterations: int, tolerance_mm: float, prior: float = 0.0) -> Fit:
    """Improve `matrix` by Levenberg-Marquardt steps in one family of transforms.

    Args:
        pair: the images.
        matrix: (4, 4) start, fixed RAS mm to moving RAS mm.
        family: "translation", "rigid", "similarity" or "affine".
        iterations: at most so many steps, refused ones included.
        tolerance_mm: stop once a step moves no point within the brain's reach by more than about this.
    """
    reach, centre = pair.fixed.radius_mm(), pair.fixed.centroid_mm()
    size = FAMILIES[family]

    def system(at: Float64) -> tuple[_System, Float64]:
        units = generators(at[:3, :3] @ centre + at[:3, 3], reach)[:size]
        return _system(pair, at, units, prior), units

    (now, units), damping, steps = system(matrix), 1e-3, 0
    if not np.isfinite(now.cost):
        return Fit(matrix, now.cost, 0)
    while steps < iterations:
        steps += 1
        damped = now.hessian + np.diag(damping * np.diag(now.hessian) + 1e-9)
        step = np.linalg.solve(damped, now.descent)
        trial = exponential(np.tensordot(step, units, axes=1)) @ matrix
        new, new_units = system(trial)
        small = np.abs(step).max() < tolerance_mm
        if new.cost < now.cost:
            matrix, now, units, damping = trial, new, new_units, damping * 0.1
        else:
            damping = max(damping, 1e-4) * 10
        if small or damping > 1e3:
            break
    return Fit(matrix, now.cost, steps)


def correlations(pair: Pair, matrices: Float64) -> Float64:
    """(n,) correlation under each of (n, 4, 4) affines, mean of both directions; -1 where undefined."""
    total = np.zeros(len(matrices))
    for reference, other, towards in (
        (pair.fixed, pair.moving, matrices),
        (pair.moving, pair.fixed, np.linalg.inv(matrices)),
    ):
        index = (other.grid.inverse @ towards @ reference.grid.affine)[:, :3]
        total += _correlation(scores(reference.image, reference.samples, other.image, other.valid, index, pair.keep)) / 2
    return total


def _correlation(sums: Float64) -> Float64:
    n, f, m, ff, mm, fm = np.maximum(sums, [1e-30] + [-np.inf] * 5).T
    var_f, var_m, cov = ff - f * f / n, mm - m * m / n, fm - f * m / n
    defined = (var_f > 1e-9 * n) & (var_m > 1e-9 * n)
    return np.where(defined, cov / np.sqrt(np.where(defined, var_f * var_m, 1.0)), -1.0)
