"""What is compared at one resolution of the refinement: a pair of images or several, each with its masks and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.explained_kernels import locally_explained
from lightcrcf.geometry.gradients import squared_local_correlation, window_mean
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.step_kernels import accumulate
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.channels import FLOOR, Channel, Correlated, Explained, local_contrast
from lightcrcf.refinement.schedule import Level

__all__ = ["Compared", "Images", "factors"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_LEAST_WEIGHT = 1e-3  # of the voxels around one that count
_RIMS = 3  # voxels around what counts that are made up, so that interpolation has something to read
_FOREGROUND = 0.05


def factors(scale: int, pool: Shape) -> Shape:
    """Between full resolution and `scale`, along each axis."""
    a, b, c = (scale if p == 2 else 1 for p in pool)
    return a, b, c


@dataclass(frozen=True, eq=False)
class Images:
    """A pair that a refinement compares, on one grid.

    Args:
        fixed, moving: (D, H, W) at full resolution, unit range.
        fixed_mask, moving_mask: of each, 0 where voxels do not count, or None.
        noise: of both images; None for none.
        masked: of each, whether everything outside its anatomy was set to one value, 0 here.
        across: whether they are of two contrasts; None for what the schedule says.
        share: of this pair in what all pairs together tell; those of all sum to 1.
    """

    fixed: Float32
    moving: Float32
    fixed_mask: Float32 | None = None
    moving_mask: Float32 | None = None
    noise: Noise | None = None
    masked: tuple[bool, bool] = (False, False)
    across: bool | None = None
    share: float = 1.0

    def swapped(self) -> Images:
        """As seen from the moving image."""
        noise = None if self.noise is None else self.noise.swapped()
        return replace(
            self, fixed=self.moving, moving=self.fixed, fixed_mask=self.moving_mask, moving_mask=self.fixed_mask,
            noise=noise, masked=self.masked[::-1],
        )  # fmt: skip

    def scaled(
        self, blocks: Shape, background: float
    ) -> tuple[tuple[Float32, Float32], tuple[Float32 | None, Float32 | None]]:
        """Both images and the weights of their voxels as means of blocks, with `Level.background`."""
        pairs = ((self.fixed, self.fixed_mask), (self.moving, self.moving_mask))
        scaled = [_scaled(image, mask, blocks) for image, mask in pairs]
        weights = [
            _weighed(image, weight, background) if masked else weight
            for (image, weight), masked in zip(scaled, self.masked, strict=True)
        ]
        return (scaled[0][0], scaled[1][0]), (weights[0], weights[1])


def _scaled(image: Float32, mask: Float32 | None, blocks: Shape) -> tuple[Float32, Float32 | None]:
    """An image and its mask as means of blocks of voxels; only voxels that count are in the image's.

    Around what counts the image goes on as the mean of what is near, so that nothing that does not count is blended in
    between voxels.
    """
    one = blocks == (1, 1, 1)
    if mask is None:
        return image if one else block_mean(image, blocks), None
    counts = mask if one else block_mean(mask, blocks)
    sums = image * mask if one else block_mean(image * mask, blocks)
    known = counts > _LEAST_WEIGHT
    scaled: Float32 = np.divide(sums, counts, out=np.zeros_like(sums), where=known)
    for _ in range(_RIMS):
        near, share = window_mean(np.stack([scaled, known.astype(np.float32)]), 1)
        rim = ~known & (share > _LEAST_WEIGHT)
        scaled[rim] = near[rim] / share[rim]
        known |= rim
    return scaled, counts


def _weighed(image: Float32, weight: Float32 | None, background: float) -> Float32 | None:
    """`weight`, times `background` where a masked image was set to 0."""
    if background == 1:
        return weight
    inside = np.where(image > 0, np.float32(1), np.float32(background))
    return inside if weight is None else inside * weight


class Compared:
    """A pair at one resolution, and how alike the images are under the field of the last `objective`.

    Args:
        given: at full resolution.
        level: of the schedule.
        pool: factor between two resolutions along each axis.

    `terms` holds what the force needs until the next comparison.
    """

    def __init__(self, given: Images, level: Level, pool: Shape) -> None:
        self.level = level = level if given.across is None else level.comparing(across=given.across)
        blocks, self.share = factors(level.scale, pool), given.share
        voxels = float(np.prod(blocks))
        self.noise = given.noise.at(voxels) if given.noise else 0.0
        self._each_noise = given.noise.each_at(voxels) if given.noise else (0.0, 0.0)
        images, masks = given.scaled(blocks, level.background)
        self.fixed_mask, self.moving_mask = masks
        self._moved_mask = None if self.moving_mask is None else np.empty_like(self.moving_mask)
        self.terms = np.empty((4 if level.metric == "explained" else 3, *images[0].shape), np.float32)
        self.channels = self._channels(images, masks)
        self.sample = images[0][::3, ::3, ::3] > _FOREGROUND
        self._voxels = max(int(np.count_nonzero(images[0] > _FOREGROUND)), 1)
        self._steepness = _squared_gradient(images[0]) / self._voxels if level.metric == "mse" else 0.0

    def _channels(self, images: tuple[Float32, Float32], masks: tuple[Float32 | None, Float32 | None]) -> list[Channel]:
        level, channels = self.level, list[Channel]()
        if level.metric == "explained":
            channels.append(Explained(*images, 1.0, self.terms, self._each_noise))
        else:
            channels.append(Correlated(*images, 1.0, self.terms, self.noise))
        if level.contrast > 0:  # which has little noise
            contrasts = local_contrast(images, masks, level.contrast_sigma)
            channels.append(Correlated(*contrasts, level.contrast, np.empty_like(self.terms[:3])))
        return channels

    def objective(self, field: Float32 | None) -> float:
        """Of `field`, or where None of no displacement; leaves behind what `force` needs.

        And in `attained`, with squared correlations, the share of what the images could reach but for their noise.
        """
        for channel in self.channels:
            channel.move(field)
        self.weight = self._weight(field)
        # What of `sample` both images show: where one ends no force is, and none must count as a weak one.
        self.counted = self.counts(self.sample)
        if self.level.metric == "mse":
            self.attained = -_mean_square(self.channels[0].fixed, self.channels[0].moved, self.weight)
            return self.attained
        mean = self.attained = 0.0
        for channel in self.channels:
            likeness, attained = channel.compare(self.weight, self.level.radius)
            mean += channel.share * likeness
            self.attained += channel.share * attained
        shares = sum(channel.share for channel in self.channels)
        self.attained /= shares
        return mean / shares

    def _weight(self, field: Float32 | None) -> Float32 | None:
        """Of each voxel, both masks together."""
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

    def counts(self, sample: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which voxels of a sample both images show, every third along each axis."""
        return sample if self.weight is None else sample & (self.weight[::3, ::3, ::3] > 0)

    def force(self, out: Float32) -> None:
        """Of the last comparison, to `out`, (3, D, H, W), not where `terms` are; these are overwritten too."""
        scratch, radius = self.terms[:3], self.level.radius
        if self.level.metric == "mse":
            scratch[:], radius = np.array([1, -1, 0], np.float32).reshape(3, 1, 1, 1), 0
        for number, channel in enumerate(self.channels):
            channel.force(self.weight, radius, scratch if number else out)
            if number:
                accumulate(out, 1.0, scratch, channel.share * self.channels[0].weights / channel.weights)

    @property
    def unit(self) -> float:
        """Of a force: the mean weight of a window, or for "mse" the mean squared gradient of the fixed image."""
        if self.level.metric == "mse":
            return self._steepness
        share = int(np.count_nonzero(self.counted)) / max(int(np.count_nonzero(self.sample)), 1)
        return self.channels[0].weights / max(self._voxels * share, 1)

    def likeness(self, moved: Float32) -> Float32:
        """(D, H, W), from 0 to 1: how alike the fixed and a moved image are around each voxel."""
        fixed, radius = self.channels[0].fixed, self.level.radius
        if self.level.metric == "explained":
            return locally_explained(fixed, moved, radius)
        return squared_local_correlation(fixed, moved, radius, FLOOR)


def _squared_gradient(image: Float32) -> float:
    """The sum of the squared gradients at all voxels."""
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
