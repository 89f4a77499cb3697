"""Fisher scoring of mutual information, in both directions: the last steps of an alignment across contrasts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import System, symmetric_system
from lightcrcf.affine.joint_histogram import TOP, one_sided_histogram
from lightcrcf.affine.pyramid import LevelPair, PyramidLevel
from lightcrcf.geometry.histogram_kernels import fisher_sums

__all__ = ["information_system"]

Float64 = NDArray[np.float64]

# Bins, and the standard deviation in bins of the Gaussian that smooths the histogram.
_BINS, _SIGMA = 32, 1.0
# Prior probability of each pair of bins, so that logarithms are finite.
_PRIOR_PROBABILITY = 1e-7


def information_system(pair: LevelPair, matrix: Float64, basis: Float64, prior: float) -> System:
    """Compute the system of minus the mutual information in nats, for `gauss_newton.fit`.

    With L = log p(f, m) / (p(f) p(m)) at each sample, its slope s = dL/dm and g = s dm/dmatrix, the descent is the mean
    of g, and the Hessian the mean of g g^T (Fisher scoring). The information is the mean of L; the derivative of the
    histogram itself vanishes to first order.

    Source:
        Viola and Wells, Alignment by maximization of mutual information, IJCV 1997.
    """
    return symmetric_system(pair, matrix, basis, prior, _one_sided_system)


def _one_sided_system(
    reference: PyramidLevel, other: PyramidLevel, matrix: Float64, derivatives: Float64, min_overlap: float
) -> System:
    """Compute the system at the samples of `reference`, as for the correlation."""
    joint = one_sided_histogram(reference, other, matrix, _BINS)
    weight = float(joint.sum())
    if weight * reference.litres_per_weight < max(min_overlap, 1e-30):
        return System.invalid(len(derivatives))
    ratio, information = _log_ratio(joint)
    slopes = np.gradient(ratio, TOP / (_BINS - 1), axis=1)
    to_index, from_index = other.grid.inverse, reference.grid.affine
    index = (to_index @ matrix @ from_index)[:3]
    descent, hessian = fisher_sums(
        reference.image, reference.samples, other.image, other.valid, index, other.blank_outside, slopes, TOP
    )
    jacobian = (to_index @ derivatives @ from_index)[:, :3].reshape(len(derivatives), 12)
    return System(-information, jacobian @ hessian @ jacobian.T / weight, jacobian @ descent / weight)


def _log_ratio(joint: Float64) -> tuple[Float64, float]:
    """Return (bins, bins) log p(f, m) / (p(f) p(m)) of the smoothed histogram, and its mean, the mutual information."""
    smooth = _GAUSSIAN @ joint @ _GAUSSIAN.T
    probability = smooth / smooth.sum() + _PRIOR_PROBABILITY
    probability /= probability.sum()
    ratio = np.log(probability) - np.log(probability.sum(axis=1))[:, None] - np.log(probability.sum(axis=0))
    return ratio, float((probability * ratio).sum())


def _gaussian(bins: int, sigma: float) -> Float64:
    """Return the (bins, bins) matrix of a Gaussian filter that preserves sums."""
    at = np.arange(bins)
    weight = np.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    return np.asarray(weight / weight.sum(axis=0))


_GAUSSIAN = _gaussian(_BINS, _SIGMA)
