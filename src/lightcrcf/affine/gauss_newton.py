"""Levenberg-Marquardt optimisation of an affine by the squared correlation of two images, in both directions.

The native core computes; this module passes it the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.affine.pyramid import LevelPair, PyramidLevel
from lightcrcf.geometry.arrays import contiguous

__all__ = [
    "DEGREES_OF_FREEDOM",
    "Fit",
    "ImageList",
    "Measure",
    "System",
    "affine_system",
    "correlations",
    "exponential",
    "fit",
    "generators",
    "logarithmic_strain",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Measure = Literal["correlation", "information"]

# Number of leading `generators` that each family of transforms uses.
DEGREES_OF_FREEDOM = {"translation": 3, "rigid": 6, "similarity": 7, "affine": 12}


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


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images of pairs as the core takes them, four a pair: fixed, moving, and what is compared with samples of each.

    Args:
        volumes: values, samples and validity of each image, (D, H, W) float32.
        affines: (n, 4, 4), voxels to RAS mm.
        settings: (n, 4): whether points outside of the grid are blank, litres of the foreground, litres per unit of
            sample weight, and the weight of the pair.
    """

    volumes: list[Float32]
    affines: Float64
    settings: Float64

    @classmethod
    def of(cls, *pairs: LevelPair) -> ImageList:
        """List the images of pairs, and of their further ones."""
        images: list[tuple[PyramidLevel, float]] = []
        for pair in (each for one in pairs for each in one.all_pairs):
            (fixed, read_by_fixed), (moving, read_by_moving) = pair.directions
            images += [(level, pair.weight) for level in (fixed, moving, read_by_fixed, read_by_moving)]
        volumes = [contiguous(array) for level, _ in images for array in (level.image, level.samples, level.valid)]
        settings = [(level.blank_outside, level.litres, level.litres_per_weight, weight) for level, weight in images]
        return cls(volumes, np.stack([level.grid.affine for level, _ in images]), np.array(settings, np.float64))

    @property
    def arguments(self) -> tuple[list[Float32], Float64, Float64]:
        """Return the arrays in the core's order."""
        return self.volumes, self.affines, self.settings


def fit(
    pair: LevelPair,
    start: Fit,
    family: str,
    *,
    iterations: int,
    tolerance_mm: float,
    prior: float = 0.0,
    measure: Measure = "correlation",
) -> Fit:
    """Minimise the cost from `start` by Levenberg-Marquardt steps in one family of transforms.

    The cost is 1 - correlation squared, averaged over both directions and by weight over all pairs, plus `prior` times
    the squared logarithmic strain. The squared correlation is the fraction of variance that a linear regression of one
    image on the other explains; its slope and intercept are eliminated (Kaufman's variable projection).

    Args:
        pair: the images.
        start: initial affine; its number of steps is added to.
        family: "translation", "rigid", "similarity" or "affine".
        iterations: largest number of steps, rejected ones included; at most 1000.
        tolerance_mm: stop when a step moves the foreground by less than about this.
        prior: weight of the strain prior.
        measure: "correlation", or "information" to minimise minus the mutual information in nats instead.

    Source:
        Golub and Pereyra, Separable nonlinear least squares, Inverse Problems 2003.
    """
    matrix = np.array(start.matrix, np.float64)
    images = ImageList.of(pair).arguments
    cost, steps = _core.affine_fit(
        *images,
        list(pair.fixed.centroid_mm),
        pair.fixed.radius_mm,
        DEGREES_OF_FREEDOM[family],
        iterations,
        tolerance_mm,
        prior,
        measure == "information",
        matrix,
    )
    return Fit(matrix, cost, start.iterations + steps)


def affine_system(
    pair: LevelPair, matrix: Float64, basis: Float64, prior: float, measure: Measure = "correlation"
) -> System:
    """Compute the cost that `fit` minimises, and its Gauss-Newton system.

    Args:
        pair: the images.
        matrix: (4, 4) from fixed to moving mm.
        basis: (n, 4, 4) generators, composed after `matrix`.
        prior, measure: as for `fit`.

    Returns:
        The system, of infinite cost for too little overlap or contrast.
    """
    size = len(basis)
    hessian, descent = np.empty((size, size)), np.empty(size)
    images, numbers = ImageList.of(pair).arguments, (contiguous(matrix, np.float64), contiguous(basis, np.float64))
    cost = _core.affine_system(*images, *numbers, prior, measure == "information", hessian, descent)
    return System(cost, hessian, descent)


def generators(centre_mm: Float64, radius_mm: float) -> Float64:
    """Return (12, 4, 4) generators about `centre_mm`: 3 translations, 3 rotations, 1 scale, 5 stretches and shears.

    Each moves points at `radius_mm` by about 1 mm, which conditions the system. Products of their exponentials have a
    positive determinant, so that no alignment is a reflection.

    Example:
        >>> turn = exponential(generators(np.zeros(3), 1.0)[5] * np.pi / 2)
        >>> bool(np.allclose(turn @ [1, 0, 0, 1], [0, 1, 0, 1]))
        True
    """
    basis = np.empty((12, 4, 4))
    _core.affine_generators(list(centre_mm), radius_mm, basis)
    return basis


def exponential(matrix: Float64) -> Float64:
    """Compute the (4, 4) matrix exponential by scaling, a Taylor series and squaring."""
    out = np.empty((4, 4))
    _core.matrix_exponential(contiguous(matrix, np.float64), out)
    return out


def logarithmic_strain(matrix: Float64, basis: Float64) -> tuple[Float64, Float64]:
    """Return the (9,) logarithmic strain of `matrix` (4, 4), and its (n, 9) derivatives by the generators (n, 4, 4)."""
    strain, derivatives = np.empty(9), np.empty((len(basis), 9))
    _core.logarithmic_strain(contiguous(matrix, np.float64), contiguous(basis, np.float64), strain, derivatives)
    return strain, derivatives


def correlations(pair: LevelPair, matrices: Float64) -> Float64:
    """Return the (n,) correlations under (n, 4, 4) affines, averaged over both directions and by weight over all pairs.

    They fall linearly to 0 where less than half of the smaller foreground overlaps.
    """
    out = np.empty(len(matrices))
    _core.affine_correlations(*ImageList.of(pair).arguments, contiguous(matrices, np.float64), out)
    return out
