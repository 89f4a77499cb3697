"""Similarity measures of the refinement: local correlation, and local variance explained across contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.explained_kernels import explained_basis, explained_force, explained_terms
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.refinement_kernels import correlation_force, correlation_terms, gaussian_taps, smooth

__all__ = ["EPSILON", "Channel", "CorrelationChannel", "ExplainedVarianceChannel", "local_deviation"]

Float32 = NDArray[np.float32]

EPSILON = 1e-6  # of the product of variances of unit-range images
_MIN_WEIGHTS = 1e-3  # of all windows of an image that shows nothing
_MIN_WEIGHT = 1e-3  # of the voxels around one that count


class Channel(Protocol):
    """A pair of images and their similarity."""

    fixed: Float32
    moving: Float32
    moved: Float32
    share: float  # weight in the objective
    weights: float  # sum over all windows

    def move(self, field: Float32 | None) -> None:
        """Warp the moving image by a field, None for the identity."""
        ...

    def compare(self, weight: Float32 | None, radius: int) -> tuple[float, float]:
        """Return the mean similarity of fixed and moved image, and its share of what noise allows."""
        ...

    def force(self, weight: Float32 | None, radius: int, out: Float32) -> None:
        """Compute the gradient of the last comparison into `out`, (3, D, H, W), no part of its terms."""
        ...


class _Pair:
    """Both images and the warped one."""

    def __init__(self, fixed: Float32, moving: Float32, share: float) -> None:
        self.fixed, self.moving, self.share, self.weights = fixed, moving, share, 1.0
        self.moved = np.empty_like(moving, order="C")

    def move(self, field: Float32 | None) -> None:
        """Warp the moving image by a field, None for the identity."""
        if field is None:
            self.moved[:] = self.moving
        else:
            warp(self.moving[None], field, self.moved[None])


class CorrelationChannel(_Pair):
    """Squared local correlation.

    Args:
        fixed, moving: (D, H, W).
        share: weight in the objective.
        terms: (3, D, H, W), keeps what the force needs.
        noise: as for `correlation_terms`.
    """

    def __init__(self, fixed: Float32, moving: Float32, share: float, terms: Float32, noise: float = 0.0) -> None:
        super().__init__(fixed, moving, share)
        self._terms, self._noise = terms, noise

    def compare(self, weight: Float32 | None, radius: int) -> tuple[float, float]:
        """See `Channel`."""
        total, weights, most = correlation_terms(
            self.fixed, self.moved, weight, radius, EPSILON, self._terms, self._noise
        )
        self.weights = max(weights, _MIN_WEIGHTS)
        return total / self.weights, total / max(most, _MIN_WEIGHTS)

    def force(self, weight: Float32 | None, radius: int, out: Float32) -> None:
        """See `Channel`."""
        correlation_force(self.fixed, self.moved, weight, self._terms, radius, out)


class ExplainedVarianceChannel(_Pair):
    """Share of the local variance of the moving image that 1, f and f² of the fixed one explain.

    Args:
        fixed, moving: (D, H, W).
        share: weight in the objective.
        terms: (4, D, H, W), keeps what the force needs.
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
        """See `Channel`. Weights may move, so that with any the basis is computed again."""
        if weight is not None or self._based_on != (False, radius):
            explained_basis(self.fixed, weight, radius, self._basis)
            self._based_on = (weight is not None, radius)
        total, weights, most = explained_terms(
            self.fixed, self.moved, weight, self._basis, radius, self._terms, self._noise
        )
        self.weights = max(weights, _MIN_WEIGHTS)
        return total / self.weights, total / max(most, _MIN_WEIGHTS)

    def force(self, weight: Float32 | None, radius: int, out: Float32) -> None:
        """See `Channel`."""
        explained_force(self.fixed, self.moved, weight, self._terms, radius, out)


def local_deviation(
    images: Sequence[Float32], masks: Sequence[Float32 | None], sigma: float = 0.7
) -> tuple[Float32, Float32]:
    """Return the local standard deviation of two images under a Gaussian: edges and texture of either sign.

    What a mask takes out has none, and neither does its edge.

    Args:
        images: (D, H, W).
        masks: of each, 0 where voxels do not count, or None.
        sigma: of the Gaussian, voxels.
    """
    taps, deviations = gaussian_taps((sigma,) * 3), []
    for image, mask in zip(images, masks, strict=True):
        weight = np.ones_like(image) if mask is None else mask
        means = np.empty((3, *image.shape), np.float32)
        smooth(np.stack([weight * image, weight * image * image, weight]), taps, means)
        means[:2] /= np.maximum(means[2], _MIN_WEIGHT)
        deviations.append(np.sqrt(np.maximum(means[1] - means[0] * means[0], 0)))
    largest = np.float32(max(1e-6, *(float(d.max()) for d in deviations)))
    return deviations[0] / largest, deviations[1] / largest
