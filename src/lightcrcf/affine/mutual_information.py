"""The last steps of an alignment across contrasts: Fisher scoring on mutual information, in both directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import System, both_ways
from lightcrcf.affine.pyramid import Level, Pair
from lightcrcf.affine.recolored import TOP, one_way
from lightcrcf.geometry.histogram_kernels import fisher_sums

__all__ = ["information_system"]

Float64 = NDArray[np.float64]

# Bins, and the standard deviation in bins of the Gaussian that smooths the histogram.
_BINS, _SIGMA = 32, 1.0
# Share of all samples that each pair of bins holds beforehand, so that logarithms are finite.
_BEFOREHAND = 1e-7


def information_system(pair: Pair, matrix: Float64, units: Float64, prior: float) -> System:
    """The cost, minus the mutual information in nats, and its system for `affine_fit.fit`.

    With L = log p(f, m) / (p(f) p(m)) at each sample, its slope s = dL/dm and g = s dm/dmatrix, the descent is the mean
    of g, and the Hessian the mean of g g^T, as in Fisher scoring: the information is the mean of L, and to first order
    its table does not move.

    Source:
        Viola and Wells, Alignment by maximization of mutual information, IJCV 1997.
    """
    return both_ways(pair, matrix, units, prior, _direction)


def _direction(reference: Level, other: Level, matrix: Float64, changes: Float64, least: float) -> System:
    """Compare at the samples of `reference`, as `affine_fit` does by correlation."""
    joint = one_way(reference, other, matrix, _BINS)
    weight = float(joint.sum())
    if weight * reference.litres_per_weight < max(least, 1e-30):
        return System.refused(len(changes))
    ratio, information = _log_ratio(joint)
    slopes = np.gradient(ratio, TOP / (_BINS - 1), axis=1)
    to_index, from_index = other.grid.inverse, reference.grid.affine
    index = (to_index @ matrix @ from_index)[:3]
    descent, hessian = fisher_sums(
        reference.image, reference.samples, other.image, other.valid, index, other.blank, slopes, TOP
    )
    jacobian = (to_index @ changes @ from_index)[:, :3].reshape(len(changes), 12)
    return System(-information, jacobian @ hessian @ jacobian.T / weight, jacobian @ descent / weight)


def _log_ratio(joint: Float64) -> tuple[Float64, float]:
    """(bins, bins) log p(f, m) / (p(f) p(m)) of the smoothed histogram, and its mean, the mutual information."""
    smooth = _GAUSSIAN @ joint @ _GAUSSIAN.T
    share = smooth / smooth.sum() + _BEFOREHAND
    share /= share.sum()
    ratio = np.log(share) - np.log(share.sum(axis=1))[:, None] - np.log(share.sum(axis=0))
    return ratio, float((share * ratio).sum())


def _gaussian(bins: int, sigma: float) -> Float64:
    """(bins, bins) matrix that smooths a line by a Gaussian, and loses nothing at its ends."""
    at = np.arange(bins)
    weight = np.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    return np.asarray(weight / weight.sum(axis=0))


_GAUSSIAN = _gaussian(_BINS, _SIGMA)
