"""Objective of the refinement at one level: the similarity of all pairs of images, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.explained_kernels import locally_explained
from lightcrcf.geometry.gradients import squared_local_correlation
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.step_kernels import accumulate
from lightcrcf.refinement.channels import (
    EPSILON,
    Channel,
    CorrelationChannel,
    ExplainedVarianceChannel,
    local_deviation,
)  # fmt: skip
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.resolution import factors
from lightcrcf.refinement.schedule import Level

__all__ = ["Objective", "PairObjective"]

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Shape = tuple[int, int, int]

_FOREGROUND = 0.05
_MIN_UNIT = 1e-12  # of a force; less is of images that show nothing


class Objective:
    """The weighted mean of the similarities of all pairs.

    Args:
        pairs: of images at full resolution; the first one's units are those of forces.
        level: of the schedule.
        pool: downsampling factor between two levels along each axis.
    """

    def __init__(self, pairs: Sequence[Images], level: Level, pool: Shape) -> None:
        self.pairs = [PairObjective(pair, level, pool) for pair in pairs]
        self._first = self.pairs[0]
        self.valid_samples: Mask = self._first.sample

    @property
    def workspace(self) -> Float32:
        """(3, D, H, W), which each evaluation overwrites: the force needs what is in it."""
        return self._first.terms[:3]

    @property
    def force_unit(self) -> float:
        """In which forces count as strong or weak; see `PairObjective.force_unit`."""
        return self._first.force_unit

    def evaluate(self, field: Float32 | None) -> float:
        """Compute the similarity under a displacement, and keep what `force` needs.

        Each pair counts by its share, and by how much of the first fixed image's foreground it covers.

        Args:
            field: (3, D, H, W) voxels; None for no displacement.
        """
        values = [pair.evaluate(field) for pair in self.pairs]
        if len(self.pairs) == 1:
            self.valid_samples = self._first.valid_samples
            return values[0]
        valid = [pair.valid(self._first.sample) for pair in self.pairs]
        self.valid_samples = np.logical_or.reduce(valid)
        covered = [p.share * max(int(np.count_nonzero(v)), 1) for p, v in zip(self.pairs, valid, strict=True)]
        return float(sum(c / sum(covered) * value for c, value in zip(covered, values, strict=True)))

    def force(self, out: Float32, scratch: Float32) -> None:
        """Compute the gradient at the field of the last evaluation with respect to a displacement applied first.

        Args:
            out: (3, D, H, W), gets the sum over the pairs by their shares, each in units of its own.
            scratch: (3, D, H, W), overwritten; may be `workspace`.
        """
        self._first.force(out)
        share = self._first.share
        for pair in self.pairs[1:]:
            pair.force(scratch)
            accumulate(out, share, scratch, pair.share * self._first.force_unit / max(pair.force_unit, _MIN_UNIT))
            share = 1.0


class PairObjective:
    """The similarity of one pair.

    Args:
        images: at full resolution.
        level: of the schedule.
        pool: downsampling factor between two levels along each axis.

    `terms` holds what the force needs until the next evaluation.
    """

    def __init__(self, images: Images, level: Level, pool: Shape) -> None:
        self.level = level = level if images.across is None else level.comparing(across=images.across)
        blocks, self.share = factors(level.scale, pool), images.share
        voxels = float(np.prod(blocks))
        self.noise = images.noise.at(voxels) if images.noise else 0.0
        self._each_noise = images.noise.each_at(voxels) if images.noise else (0.0, 0.0)
        pair, masks = images.scaled(blocks, level.background)
        self.fixed_mask, self.moving_mask = masks
        self._moved_mask = None if self.moving_mask is None else np.empty_like(self.moving_mask, order="C")
        self.terms = np.empty((4 if level.metric == "explained" else 3, *pair[0].shape), np.float32)
        self.channels = self._channels(pair, masks)
        self.sample = pair[0][::3, ::3, ::3] > _FOREGROUND
        self._voxels = max(int(np.count_nonzero(pair[0] > _FOREGROUND)), 1)
        self._mean_squared_gradient = _squared_gradient(pair[0]) / self._voxels if level.metric == "mse" else 0.0

    def _channels(self, images: tuple[Float32, Float32], masks: tuple[Float32 | None, Float32 | None]) -> list[Channel]:
        level, channels = self.level, list[Channel]()
        if level.metric == "explained":
            channels.append(ExplainedVarianceChannel(*images, 1.0, self.terms, self._each_noise))
        else:
            channels.append(CorrelationChannel(*images, 1.0, self.terms, self.noise))
        if level.contrast > 0:  # which has little noise
            contrasts = local_deviation(images, masks, level.contrast_sigma)
            channels.append(CorrelationChannel(*contrasts, level.contrast, np.empty_like(self.terms[:3])))
        return channels

    def evaluate(self, field: Float32 | None) -> float:
        """Compute the similarity under a displacement, and keep what `force` needs.

        `attained` becomes its share of what noise allows; of "mse", the similarity itself.

        Args:
            field: (3, D, H, W) voxels; None for no displacement.
        """
        for channel in self.channels:
            channel.move(field)
        self.weight = self._weight(field)
        # Of `sample` only what both images show: where one ends there is no force, which must not count as a weak one.
        self.valid_samples = self.valid(self.sample)
        if self.level.metric == "mse":
            self.attained = -_mean_square(self.channels[0].fixed, self.channels[0].moved, self.weight)
            return self.attained
        mean = self.attained = 0.0
        for channel in self.channels:
            similarity, attained = channel.compare(self.weight, self.level.radius)
            mean += channel.share * similarity
            self.attained += channel.share * attained
        shares = sum(channel.share for channel in self.channels)
        self.attained /= shares
        return mean / shares

    def _weight(self, field: Float32 | None) -> Float32 | None:
        """The product of both masks."""
        if self.moving_mask is None or self._moved_mask is None:
            return self.fixed_mask
        weight = self._moved_mask
        if field is None:
            weight[:] = self.moving_mask
        else:
            warp(self.moving_mask[None], field, weight[None])
        if self.fixed_mask is not None:
            weight *= self.fixed_mask
        return weight

    def valid(self, sample: Mask) -> Mask:
        """Return which voxels of a sample, every third along each axis, both images show."""
        return sample if self.weight is None else sample & (self.weight[::3, ::3, ::3] > 0)

    def force(self, out: Float32) -> None:
        """Compute the gradient at the field of the last evaluation.

        Args:
            out: (3, D, H, W), no part of `terms`; these are overwritten too.
        """
        scratch, radius = self.terms[:3], self.level.radius
        if self.level.metric == "mse":
            scratch[:], radius = np.array([1, -1, 0], np.float32).reshape(3, 1, 1, 1), 0
        for number, channel in enumerate(self.channels):
            channel.force(self.weight, radius, scratch if number else out)
            if number:
                accumulate(out, 1.0, scratch, channel.share * self.channels[0].weights / channel.weights)

    @property
    def force_unit(self) -> float:
        """The mean weight of a window, or for "mse" the mean squared gradient of the fixed image."""
        if self.level.metric == "mse":
            return self._mean_squared_gradient
        share = int(np.count_nonzero(self.valid_samples)) / max(int(np.count_nonzero(self.sample)), 1)
        return self.channels[0].weights / max(self._voxels * share, 1)

    def local_similarity(self, moved: Float32) -> Float32:
        """Return the similarity of the fixed and a moved image around each voxel, (D, H, W), from 0 to 1."""
        fixed, radius = self.channels[0].fixed, self.level.radius
        if self.level.metric == "explained":
            return locally_explained(fixed, moved, radius)
        return squared_local_correlation(fixed, moved, radius, EPSILON)


def _squared_gradient(image: Float32) -> float:
    """Sum over all voxels."""
    return sum(
        float(np.square(np.gradient(image, axis=axis)).sum(dtype=np.float64))
        for axis in range(3)
        if image.shape[axis] > 1
    )


def _mean_square(fixed: Float32, moved: Float32, weight: Float32 | None) -> float:
    error = fixed - moved
    error *= error
    if weight is None:
        return float(error.mean(dtype=np.float64))
    return float((error * weight).sum(dtype=np.float64) / max(float(weight.sum(dtype=np.float64)), 1.0))
