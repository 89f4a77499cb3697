"""What is compared at one resolution of the refinement: images, and what is made of them, each with its measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.explained_kernels import explained_basis, explained_force, explained_terms
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.refinement_kernels import correlation_force, correlation_terms, gaussian_taps, smooth

__all__ = ["FLOOR", "Channel", "Correlated", "Explained", "local_contrast"]

Float32 = NDArray[np.float32]

FLOOR = 1e-6  # of the product of variances of unit-range images
_LEAST_WEIGHTS = 1e-3  # of all windows of an image that shows nothing
_LEAST_WEIGHT = 1e-3  # of the voxels around one that count


class Channel(Protocol):
    """A pair of images, and how alike they are."""

    fixed: Float32
    moving: Float32
    moved: Float32
    share: float  # in the objective
    weights: float  # of all windows together

    def move(self, field: Float32 | None) -> None:
        """Move the moving image through a field, or not at all."""
        ...

    def compare(self, weight: Float32 | None, radius: int) -> tuple[float, float]:
        """The mean likeness of fixed and moved image, and its share of the most that noise allows."""
        ...

    def force(self, weight: Float32 | None, radius: int, out: Float32) -> None:
        """Of the last comparison, to `out`, (3, D, H, W), where its terms must not be: threads read each other's."""
        ...


class _Pair:
    """Both images, and the moved one."""

    def __init__(self, fixed: Float32, moving: Float32, share: float) -> None:
        self.fixed, self.moving, self.share, self.weights = fixed, moving, share, 1.0
        self.moved = np.empty_like(moving)

    def move(self, field: Float32 | None) -> None:
        """Move the moving image through a field, or not at all."""
        if field is None:
            self.moved[:] = self.moving
        else:
            warp(self.moving[None], field, self.moved[None])


class Correlated(_Pair):
    """By squared local correlation.

    Args:
        fixed, moving: (D, H, W).
        share: in the objective.
        terms: (3, D, H, W), for what the force needs.
        noise: as for `correlation_terms`.
    """

    def __init__(self, fixed: Float32, moving: Float32, share: float, terms: Float32, noise: float = 0.0) -> None:
        super().__init__(fixed, moving, share)
        self._terms, self._noise = terms, noise

    def compare(self, weight: Float32 | None, radius: int) -> tuple[float, float]:
        """As for any channel."""
        total, weights, most = correlation_terms(
            self.fixed, self.moved, weight, radius, FLOOR, self._terms, self._noise
        )
        self.weights = max(weights, _LEAST_WEIGHTS)
        return total / self.weights, total / max(most, _LEAST_WEIGHTS)

    def force(self, weight: Float32 | None, radius: int, out: Float32) -> None:
        """As for any channel."""
        correlation_force(self.fixed, self.moved, weight, self._terms, radius, out)


class Explained(_Pair):
    """By how much of the moving image the fixed one explains, across contrasts.

    Args:
        fixed, moving: (D, H, W).
        share: in the objective.
        terms: (4, D, H, W), for what the force needs.
        noise: as for `explained_terms`.
    """

    def __init__(
        self, fixed: Float32, moving: Float32, share: float, terms: Float32, noise: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        super().__init__(fixed, moving, share)
        self._terms, self._noise = terms, noise
        self._basis = np.empty((5, *fixed.shape), np.float32)
        self._based_on: tuple[bool, int] | None = None  # whether there were weights, and the radius

    def compare(self, weight: Float32 | None, radius: int) -> tuple[float, float]:
        """As for any channel. Weights may move, so that with any the basis is made anew."""
        if weight is not None or self._based_on != (False, radius):
            explained_basis(self.fixed, weight, radius, self._basis)
            self._based_on = (weight is not None, radius)
        total, weights, most = explained_terms(
            self.fixed, self.moved, weight, self._basis, radius, self._terms, self._noise
        )
        self.weights = max(weights, _LEAST_WEIGHTS)
        return total / self.weights, total / max(most, _LEAST_WEIGHTS)

    def force(self, weight: Float32 | None, radius: int, out: Float32) -> None:
        """As for any channel."""
        explained_force(self.fixed, self.moved, weight, self._terms, radius, out)


def local_contrast(
    images: Sequence[Float32], masks: Sequence[Float32 | None], sigma: float = 0.7
) -> tuple[Float32, Float32]:
    """The standard deviation under a small Gaussian: edges and texture, whichever side is brighter.

    What a mask takes out shows none, and neither does its edge.
    """
    taps, deviations = gaussian_taps((sigma,) * 3), []
    for image, mask in zip(images, masks, strict=True):
        weight = np.ones_like(image) if mask is None else mask
        means = np.empty((3, *image.shape), np.float32)
        smooth(np.stack([weight * image, weight * image * image, weight]), taps, means)
        means[:2] /= np.maximum(means[2], _LEAST_WEIGHT)
        deviations.append(np.sqrt(np.maximum(means[1] - means[0] * means[0], 0)))
    largest = np.float32(max(1e-6, *(float(d.max()) for d in deviations)))
    return deviations[0] / largest, deviations[1] / largest
