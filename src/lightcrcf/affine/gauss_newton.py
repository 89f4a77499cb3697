"""Gauss-Newton fitting of an affine to the correlation of two images, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.pyramid import Level, Pair
from lightcrcf.geometry.alignment_kernels import correlation_sums, normal_equations

__all__ = [
    "ENOUGH_OVERLAP",
    "FAMILIES",
    "Fit",
    "System",
    "both_ways",
    "correlations",
    "exponential",
    "fit",
    "generators",
    "strain_of",
]

Float64 = NDArray[np.float64]

# How many generators each family of transforms uses, in the order of `generators`.
FAMILIES = {"translation": 3, "rigid": 6, "similarity": 7, "affine": 12}
# No anatomy is stretched by more than this along any direction.
_LARGEST_STRETCH = 2.0
# Share of the smaller foreground that must overlap, and that suffices for a correlation to count in full.
_LEAST_OVERLAP, ENOUGH_OVERLAP = 0.1, 0.5
_NO_CONTRAST = 1e-9


@dataclass(frozen=True, eq=False)
class Fit:
    """An affine, (4, 4) fixed RAS mm to moving RAS mm, what it costs (0 is perfect), and the steps that led to it."""

    matrix: Float64
    cost: float = np.inf
    iterations: int = 0


@dataclass(frozen=True, eq=False)
class System:
    """The cost at one affine, and its Gauss-Newton system: hessian @ step = descent."""

    cost: float
    hessian: Float64
    descent: Float64

    @classmethod
    def refused(cls, size: int) -> System:
        """Where there is nothing to compare."""
        return cls(np.inf, np.eye(size), np.zeros(size))


SystemAt = Callable[[Pair, Float64, Float64, float], System]
"""The system of a pair at a matrix (4, 4), of small motions (n, 4, 4) composed after it, and with a prior."""


def fit(
    pair: Pair,
    start: Fit,
    family: str,
    *,
    iterations: int,
    tolerance_mm: float,
    prior: float = 0.0,
    system: SystemAt | None = None,
) -> Fit:
    """Improve `start` by Levenberg-Marquardt steps in one family of transforms.

    The cost is the mean of both directions' 1 - correlation squared, plus `prior` times the squared logarithmic strain;
    of several pairs it is the mean by their shares.
    Correlation squared is what least squares explain of one image by the other, scaled and shifted; the scale and the
    shift are eliminated from the system (Kaufman's variable projection).

    Args:
        pair: the images.
        start: where to begin; its steps are counted on.
        family: "translation", "rigid", "similarity" or "affine".
        iterations: at most so many steps, refused ones included.
        tolerance_mm: stop once a step moves the foreground by no more than about this.
        prior: cost of strain.
        system: of another cost than that of the correlation.

    Source:
        Golub and Pereyra, Separable nonlinear least squares, Inverse Problems 2003.
    """
    radius_mm, centre = pair.fixed.radius_mm, pair.fixed.centroid_mm

    def system_at(matrix: Float64) -> tuple[System, Float64]:
        units = generators(matrix[:3, :3] @ centre + matrix[:3, 3], radius_mm)[: FAMILIES[family]]
        return _together(pair, matrix, units, prior, system), units

    matrix, damping = start.matrix, 1e-3
    (now, units), steps = system_at(matrix), 0
    while steps < iterations and np.isfinite(now.cost) and damping < 1e3:
        steps += 1
        damped = now.hessian + np.diag(damping * np.diag(now.hessian) + 1e-9)
        step = np.linalg.solve(damped, now.descent)
        trial = exponential(np.tensordot(step, units, axes=1)) @ matrix
        new, new_units = system_at(trial)
        if new.cost < now.cost:
            matrix, now, units, damping = trial, new, new_units, damping * 0.1
        else:
            damping = max(damping, 1e-4) * 10
        if np.abs(step).max() < tolerance_mm:
            break
    return Fit(matrix, now.cost, start.iterations + steps)


def generators(centre_mm: Float64, radius_mm: float) -> Float64:
    """(12, 4, 4) small motions about `centre_mm`: 3 translations, 3 rotations, 1 scale, 5 stretches and shears.

    Each moves points at `radius_mm` by about 1 mm, which conditions the system. Products of their exponentials have a
    positive determinant: alignment cannot mirror.

    Example:
        >>> turn = exponential(generators(np.zeros(3), 1.0)[5] * np.pi / 2)
        >>> bool(np.allclose(turn @ [1, 0, 0, 1], [0, 1, 0, 1]))
        True
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
    """(4, 4) matrix exponential, by scaling, a Taylor series and squaring."""
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(axis=1).max(), 1e-30)))) + 3)
    small = matrix / 2.0**halvings
    result = term = np.eye(4)
    for n in range(1, 10):
        term = term @ small / n
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result


def strain_of(matrix: Float64, units: Float64) -> tuple[Float64, Float64]:
    """(9,) logarithmic strain of `matrix` (4, 4), and (n, 9) how each of `units` (n, 4, 4) adds to it."""
    values, vectors = np.linalg.eigh(matrix[:3, :3] @ matrix[:3, :3].T)
    strain = ((vectors * 0.5 * np.log(values)) @ vectors.T).ravel()
    return strain, (units + units.transpose(0, 2, 1))[:, :3, :3].reshape(len(units), 9) / 2


def _together(pair: Pair, matrix: Float64, units: Float64, prior: float, system: SystemAt | None) -> System:
    """The systems of all pairs by their shares.

    A further pair that has nothing to compare at this place costs what images cost that tell nothing of each other.
    """
    nothing = 1.0 if system is None else 0.0  # of 1 - correlation squared, and of minus the information
    first, *more = ((system or _system)(each, matrix, units, prior) for each in pair.every)
    if not more or not np.isfinite(first.cost):
        return first
    costs = [each.cost if np.isfinite(each.cost) else nothing for each in (first, *more)]
    told = [(p.share, each) for p, each in zip(pair.every, (first, *more), strict=True) if np.isfinite(each.cost)]
    return System(
        sum(p.share * cost for p, cost in zip(pair.every, costs, strict=True)),
        np.asarray(sum(share * each.hessian for share, each in told)),
        np.asarray(sum(share * each.descent for share, each in told)),
    )


def _system(pair: Pair, matrix: Float64, units: Float64, prior: float) -> System:
    """Both directions and the prior. units: (n, 4, 4), to be composed after `matrix`."""
    return both_ways(pair, matrix, units, prior, _direction)


Direction = Callable[[Level, Level, Float64, Float64, float], System]


def both_ways(pair: Pair, matrix: Float64, units: Float64, prior: float, direction: Direction) -> System:
    """The mean of a cost in both directions, plus the prior.

    Args:
        pair: the images.
        matrix: (4, 4) fixed to moving mm.
        units: (n, 4, 4) small motions, to be composed after `matrix`.
        prior: cost of strain.
        direction: compares at the samples of a reference: it takes this, the other image, the matrix between them, its
            (n, 4, 4) derivatives, and the litres that must overlap.
    """
    values = np.linalg.eigvalsh(matrix[:3, :3] @ matrix[:3, :3].T)
    if not 1 / _LARGEST_STRETCH**2 <= values[0] <= values[2] <= _LARGEST_STRETCH**2:
        return System.refused(len(units))
    back = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    least = _LEAST_OVERLAP * min(pair.fixed.litres, pair.moving.litres)
    at_fixed, at_moving = pair.directions
    there = direction(*at_fixed, matrix, units @ matrix, least)
    here = direction(*at_moving, back, -back @ units, least)
    strain, stretches = strain_of(matrix, units)
    return System(
        (there.cost + here.cost) / 2 + prior * float(strain @ strain),
        (there.hessian + here.hessian) / 2 + prior * stretches @ stretches.T,
        (there.descent + here.descent) / 2 - prior * stretches @ strain,
    )


def _direction(reference: Level, other: Level, matrix: Float64, changes: Float64, least: float) -> System:
    """Compare at the samples of `reference`. changes: (n, 4, 4) derivatives of `matrix`, mm to mm; least: litres."""
    to_index, from_index = other.grid.inverse, reference.grid.affine
    index = (to_index @ matrix @ from_index)[:3]
    sums = normal_equations(reference.image, reference.samples, other.image, other.valid, index, other.blank)
    weight = sums[13, 13]
    if weight * reference.litres_per_weight < least:
        return System.refused(len(changes))
    centred = sums - np.outer(sums[:, 13], sums[13]) / weight
    var_m, var_f, cov = centred[12, 12], centred[14, 14], centred[12, 14]
    if min(var_m, var_f) <= _NO_CONTRAST * weight:
        return System.refused(len(changes))
    scale = cov / var_m
    hessian = scale**2 / var_f * (centred[:12, :12] - np.outer(centred[:12, 12], centred[12, :12]) / var_m)
    descent = scale / var_f * (centred[:12, 14] - centred[:12, 12] * scale)
    jacobian = (to_index @ changes @ from_index)[:, :3].reshape(len(changes), 12)
    cost = float(1 - np.sign(cov) * cov**2 / (var_m * var_f))
    return System(cost, jacobian @ hessian @ jacobian.T, jacobian @ descent)


def correlations(pair: Pair, matrices: Float64) -> Float64:
    """(n,) correlation of the images under each of (n, 4, 4) affines, mean of both directions, and of all pairs.

    It fades to 0 where less than half of the smaller foreground overlaps.
    """
    return np.asarray(sum(each.share * _correlations(each, matrices) for each in pair.every), dtype=np.float64)


def _correlations(pair: Pair, matrices: Float64) -> Float64:
    """Of the first pair alone."""
    enough = ENOUGH_OVERLAP * min(pair.fixed.litres, pair.moving.litres)
    total = np.zeros(len(matrices))
    for (reference, other), towards in zip(pair.directions, (matrices, np.linalg.inv(matrices)), strict=True):
        index = (other.grid.inverse @ towards @ reference.grid.affine)[:, :3]
        sums = correlation_sums(reference.image, reference.samples, other.image, other.valid, index, other.blank)
        mm, m, fm, weight, f, ff = np.maximum(sums, [0, -np.inf, -np.inf, 1e-30, -np.inf, 0]).T
        var_m, var_f, cov = mm - m * m / weight, ff - f * f / weight, fm - f * m / weight
        defined = np.minimum(var_m, var_f) > _NO_CONTRAST * weight
        correlation = np.where(defined, cov / np.sqrt(np.where(defined, var_m * var_f, 1.0)), 0.0)
        total += correlation * np.minimum(weight * reference.litres_per_weight / enough, 1.0)
    return total / 2
