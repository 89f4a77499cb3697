"""Levenberg-Marquardt optimisation of an affine by the squared correlation of two images, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.pyramid import LevelPair, PyramidLevel
from lightcrcf.geometry.alignment_kernels import correlation_sums, normal_equations

__all__ = [
    "DEGREES_OF_FREEDOM",
    "FULL_OVERLAP",
    "Fit",
    "System",
    "correlations",
    "exponential",
    "fit",
    "generators",
    "logarithmic_strain",
    "symmetric_system",
]

Float64 = NDArray[np.float64]

# Number of leading `generators` that each family of transforms uses.
DEGREES_OF_FREEDOM = {"translation": 3, "rigid": 6, "similarity": 7, "affine": 12}
# Largest stretch along any direction; anatomy never needs more.
_MAX_STRETCH = 2.0
# Overlap as a fraction of the smaller foreground: the minimum, and the minimum without reduced correlations.
_MIN_OVERLAP, FULL_OVERLAP = 0.1, 0.5
_MIN_VARIANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Fit:
    """An affine, (4, 4) from fixed to moving RAS mm, its cost (0 at best), and the number of steps to it."""

    matrix: Float64
    cost: float = np.inf
    iterations: int = 0


@dataclass(frozen=True, eq=False)
class System:
    """Cost and Gauss-Newton system at one affine: hessian @ step = descent."""

    cost: float
    hessian: Float64
    descent: Float64

    @classmethod
    def invalid(cls, size: int) -> System:
        """Return a system of infinite cost, for too little overlap or contrast."""
        return cls(np.inf, np.eye(size), np.zeros(size))


SystemFunction = Callable[[LevelPair, Float64, Float64, float], System]
"""System of a pair at a matrix (4, 4), for generators (n, 4, 4) composed after it, and for a strain prior."""


def fit(
    pair: LevelPair,
    start: Fit,
    family: str,
    *,
    iterations: int,
    tolerance_mm: float,
    prior: float = 0.0,
    system: SystemFunction | None = None,
) -> Fit:
    """Minimise the cost from `start` by Levenberg-Marquardt steps in one family of transforms.

    The cost is 1 - correlation squared, averaged over both directions and by weight over all pairs, plus `prior` times
    the squared logarithmic strain. The squared correlation is the fraction of variance that a linear regression of one
    image on the other explains; its slope and intercept are eliminated (Kaufman's variable projection).

    Args:
        pair: the images.
        start: initial affine; its number of steps is added to.
        family: "translation", "rigid", "similarity" or "affine".
        iterations: largest number of steps, rejected ones included.
        tolerance_mm: stop when a step moves the foreground by less than about this.
        prior: weight of the strain prior.
        system: cost to minimise; squared correlation by default.

    Source:
        Golub and Pereyra, Separable nonlinear least squares, Inverse Problems 2003.
    """
    radius_mm, centre = pair.fixed.radius_mm, pair.fixed.centroid_mm

    def system_at(matrix: Float64) -> tuple[System, Float64]:
        basis = generators(matrix[:3, :3] @ centre + matrix[:3, 3], radius_mm)[: DEGREES_OF_FREEDOM[family]]
        return _weighted_system(pair, matrix, basis, prior, system), basis

    matrix, damping = start.matrix, 1e-3
    (now, basis), steps = system_at(matrix), 0
    while steps < iterations and np.isfinite(now.cost) and damping < 1e3:
        steps += 1
        damped = now.hessian + np.diag(damping * np.diag(now.hessian) + 1e-9)
        step = np.linalg.solve(damped, now.descent)
        trial = exponential(np.tensordot(step, basis, axes=1)) @ matrix
        new, trial_generators = system_at(trial)
        if new.cost < now.cost:
            matrix, now, basis, damping = trial, new, trial_generators, damping * 0.1
        else:
            damping = max(damping, 1e-4) * 10
        if np.abs(step).max() < tolerance_mm:
            break
    return Fit(matrix, now.cost, start.iterations + steps)


def generators(centre_mm: Float64, radius_mm: float) -> Float64:
    """Return (12, 4, 4) generators about `centre_mm`: 3 translations, 3 rotations, 1 scale, 5 stretches and shears.

    Each moves points at `radius_mm` by about 1 mm, which conditions the system. Products of their exponentials have a
    positive determinant, so that no alignment is a reflection.

    Example:
        >>> turn = exponential(generators(np.zeros(3), 1.0)[5] * np.pi / 2)
        >>> bool(np.allclose(turn @ [1, 0, 0, 1], [0, 1, 0, 1]))
        True
    """
    basis = np.zeros((12, 4, 4))
    basis[[0, 1, 2], [0, 1, 2], 3] = radius_mm
    for n, (a, b) in enumerate(((1, 2), (2, 0), (0, 1))):
        basis[3 + n, a, b], basis[3 + n, b, a] = -1, 1
        basis[9 + n, a, b], basis[9 + n, b, a] = 1, 1
    basis[6, :3, :3] = np.eye(3)
    basis[7, :3, :3] = np.diag([1, -1, 0])
    basis[8, :3, :3] = np.diag([-0.5, -0.5, 1])
    basis[3:, :3, 3] = -basis[3:, :3, :3] @ centre_mm
    return basis / radius_mm


def exponential(matrix: Float64) -> Float64:
    """Compute the (4, 4) matrix exponential by scaling, a Taylor series and squaring."""
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(axis=1).max(), 1e-30)))) + 3)
    small = matrix / 2.0**halvings
    result = term = np.eye(4)
    for n in range(1, 10):
        term = term @ small / n
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result


def logarithmic_strain(matrix: Float64, basis: Float64) -> tuple[Float64, Float64]:
    """Return the (9,) logarithmic strain of `matrix` (4, 4), and its (n, 9) derivatives by the generators (n, 4, 4)."""
    values, vectors = np.linalg.eigh(matrix[:3, :3] @ matrix[:3, :3].T)
    strain = ((vectors * 0.5 * np.log(values)) @ vectors.T).ravel()
    return strain, (basis + basis.transpose(0, 2, 1))[:, :3, :3].reshape(len(basis), 9) / 2


def _weighted_system(
    pair: LevelPair, matrix: Float64, basis: Float64, prior: float, system: SystemFunction | None
) -> System:
    """Average the systems of all pairs by their weights.

    A further pair without overlap has the cost of independent images.
    """
    uninformative = 1.0 if system is None else 0.0  # of 1 - correlation squared, and of minus the information
    first, *more = ((system or _correlation_system)(each, matrix, basis, prior) for each in pair.all_pairs)
    if not more or not np.isfinite(first.cost):
        return first
    costs = [each.cost if np.isfinite(each.cost) else uninformative for each in (first, *more)]
    defined = [
        (p.weight, each) for p, each in zip(pair.all_pairs, (first, *more), strict=True) if np.isfinite(each.cost)
    ]
    return System(
        sum(p.weight * cost for p, cost in zip(pair.all_pairs, costs, strict=True)),
        np.asarray(sum(weight * each.hessian for weight, each in defined)),
        np.asarray(sum(weight * each.descent for weight, each in defined)),
    )


def _correlation_system(pair: LevelPair, matrix: Float64, basis: Float64, prior: float) -> System:
    """Compute the system of the squared correlation. basis: (n, 4, 4) generators, composed after `matrix`."""
    return symmetric_system(pair, matrix, basis, prior, _one_sided_system)


OneSidedSystem = Callable[[PyramidLevel, PyramidLevel, Float64, Float64, float], System]


def symmetric_system(
    pair: LevelPair, matrix: Float64, basis: Float64, prior: float, direction: OneSidedSystem
) -> System:
    """Average the systems of both directions, and add the strain prior.

    Args:
        pair: the images.
        matrix: (4, 4) from fixed to moving mm.
        basis: (n, 4, 4) generators, composed after `matrix`.
        prior: weight of the strain prior.
        direction: system at the samples of a reference image. It takes the reference, the other image, the matrix
            between them, its (n, 4, 4) derivatives, and the smallest overlap in litres.
    """
    values = np.linalg.eigvalsh(matrix[:3, :3] @ matrix[:3, :3].T)
    if not 1 / _MAX_STRETCH**2 <= values[0] <= values[2] <= _MAX_STRETCH**2:
        return System.invalid(len(basis))
    inverse = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    min_overlap = _MIN_OVERLAP * min(pair.fixed.litres, pair.moving.litres)
    at_fixed, at_moving = pair.directions
    forward = direction(*at_fixed, matrix, basis @ matrix, min_overlap)
    backward = direction(*at_moving, inverse, -inverse @ basis, min_overlap)
    strain, stretches = logarithmic_strain(matrix, basis)
    return System(
        (forward.cost + backward.cost) / 2 + prior * float(strain @ strain),
        (forward.hessian + backward.hessian) / 2 + prior * stretches @ stretches.T,
        (forward.descent + backward.descent) / 2 - prior * stretches @ strain,
    )


def _one_sided_system(
    reference: PyramidLevel, other: PyramidLevel, matrix: Float64, derivatives: Float64, min_overlap: float
) -> System:
    """Compute the system at the samples of `reference`. derivatives: (n, 4, 4) of `matrix`; min_overlap: litres."""
    to_index, from_index = other.grid.inverse, reference.grid.affine
    index = (to_index @ matrix @ from_index)[:3]
    sums = normal_equations(reference.image, reference.samples, other.image, other.valid, index, other.blank_outside)
    weight = sums[13, 13]
    if weight * reference.litres_per_weight < min_overlap:
        return System.invalid(len(derivatives))
    centred = sums - np.outer(sums[:, 13], sums[13]) / weight
    var_m, var_f, cov = centred[12, 12], centred[14, 14], centred[12, 14]
    if min(var_m, var_f) <= _MIN_VARIANCE * weight:
        return System.invalid(len(derivatives))
    scale = cov / var_m
    hessian = scale**2 / var_f * (centred[:12, :12] - np.outer(centred[:12, 12], centred[12, :12]) / var_m)
    descent = scale / var_f * (centred[:12, 14] - centred[:12, 12] * scale)
    jacobian = (to_index @ derivatives @ from_index)[:, :3].reshape(len(derivatives), 12)
    cost = float(1 - np.sign(cov) * cov**2 / (var_m * var_f))
    return System(cost, jacobian @ hessian @ jacobian.T, jacobian @ descent)


def correlations(pair: LevelPair, matrices: Float64) -> Float64:
    """Return the (n,) correlations under (n, 4, 4) affines, averaged over both directions and by weight over all pairs.

    They fall linearly to 0 where less than half of the smaller foreground overlaps.
    """
    return np.asarray(sum(each.weight * _correlations(each, matrices) for each in pair.all_pairs), dtype=np.float64)


def _correlations(pair: LevelPair, matrices: Float64) -> Float64:
    """Return the (n,) correlations of the first pair."""
    full_overlap = FULL_OVERLAP * min(pair.fixed.litres, pair.moving.litres)
    total = np.zeros(len(matrices))
    for (reference, other), towards in zip(pair.directions, (matrices, np.linalg.inv(matrices)), strict=True):
        index = (other.grid.inverse @ towards @ reference.grid.affine)[:, :3]
        sums = correlation_sums(
            reference.image, reference.samples, other.image, other.valid, index, other.blank_outside
        )
        mm, m, fm, weight, f, ff = np.maximum(sums, [0, -np.inf, -np.inf, 1e-30, -np.inf, 0]).T
        var_m, var_f, cov = mm - m * m / weight, ff - f * f / weight, fm - f * m / weight
        defined = np.minimum(var_m, var_f) > _MIN_VARIANCE * weight
        correlation = np.where(defined, cov / np.sqrt(np.where(defined, var_m * var_f, 1.0)), 0.0)
        total += correlation * np.minimum(weight * reference.litres_per_weight / full_overlap, 1.0)
    return total / 2
