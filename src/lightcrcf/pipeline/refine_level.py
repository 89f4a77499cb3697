"""One resolution of the refinement: regularised steps up the image similarity.

Each step pulls the moving image through the field u so far, takes the gradient of the similarity with respect to a
small displacement v that is applied first, u o (id + v), smooths it, adds a share of the steps before, limits its
length, composes, smooths the field, and evens out changes of volume. So forces live on the fixed grid, and what is
smoothed is what is felt there. What makes a field smooth, and why: docs/decisions/0016-smoothness.md.

Source:
    P. A. Yushkevich et al., "Fast automatic segmentation of hippocampal subfields and medial temporal lobe subregions
    in 3 Tesla and 7 Tesla T2-weighted MRI", Alzheimer's & Dementia 2016 (greedy: compositive steps with smoothed
    forces). Momentum is B. T. Polyak's ("Some methods of speeding up the convergence of iteration methods", 1964). The
    limit on the steps, the shorter ones after a fall of the objective and the repair of folds are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.determinant import determinants_at, even_out, jacobian_determinant, voxels_around
from lightcrcf.geometry.explained_kernels import locally_explained
from lightcrcf.geometry.gradients import squared_local_correlation, window_mean
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.geometry.step_kernels import accumulate, compose_step
from lightcrcf.geometry.threads import use_threads
from lightcrcf.pipeline.channels import FLOOR, Channel, Correlated, Explained, local_contrast
from lightcrcf.pipeline.noise import Noise
from lightcrcf.pipeline.schedule import Level

__all__ = ["Images", "Stage", "factors"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_LEAST_WEIGHT = 1e-3  # of the voxels around one that count
_RIMS = 3  # voxels around what counts that are made up, so that interpolation has something to read
_AROUND, _DECISIVE = 1.5, 0.2  # over how many voxels likeness is compared, twice, and a difference that counts
_TYPICAL = 0.99  # the share of foreground vectors that are left as long as they are
_FOREGROUND = 0.05
_LEAST_DETERMINANT = 0.05
_STALLED = 1e-5  # relative change of the objective by a step below which a level ends
_LEAST_SHARE = 1 / 4  # of the usual length of a step
# Of the evening out of volumes: once, and each time where that is not enough; nothing smooths in between.
_EVEN_ONCE, _EVEN_EACH, _EVEN_TIMES = 0.65, 0.4, 8
_ALONE = 2**15  # voxels of a grid: up to here waking a second thread takes longer than it saves
# How far what is about to fold goes back, and how many voxels around it; after three tries only for what folds.
_TRIES, _BACK = 3, ((0.5, 2), (0.5, 2), (0.5, 2), (1.0, 2), (1.0, 3), (1.0, 4))


def factors(scale: int, pool: Shape) -> Shape:
    """Between full resolution and `scale`, along each axis."""
    a, b, c = (scale if p == 2 else 1 for p in pool)
    return a, b, c


@dataclass(frozen=True, eq=False)
class Images:
    """What a refinement compares, on one grid.

    Args:
        fixed, moving: (D, H, W) at full resolution, unit range.
        fixed_mask, moving_mask: of each, 0 where voxels do not count, or None.
        noise: of both images; None for none.
        masked: of each, whether everything outside its anatomy was set to one value, 0 here.
    """

    fixed: Float32
    moving: Float32
    fixed_mask: Float32 | None = None
    moving_mask: Float32 | None = None
    noise: Noise | None = None
    masked: tuple[bool, bool] = (False, False)

    def swapped(self) -> Images:
        """As seen from the moving image."""
        noise = None if self.noise is None else self.noise.swapped()
        return Images(self.moving, self.fixed, self.moving_mask, self.fixed_mask, noise, self.masked[::-1])

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


class Stage:
    """Both images at one resolution, and buffers that all steps share.

    Args:
        given: what is compared, at full resolution.
        level: of the schedule.
        pool: factor between two resolutions along each axis.

    Memory that is touched for the first time costs about as much time as the kernels that fill it. Beside the field and
    the velocity two buffers are enough: `one` holds the terms of the last objective, then the smoothed force, then the
    composed field; `other` the force, then the step, then the candidate, and the field before once that is taken.
    """

    def __init__(self, given: Images, level: Level, pool: Shape) -> None:
        blocks = factors(level.scale, pool)
        self.level = level
        voxels = float(np.prod(blocks))
        self.noise = given.noise.at(voxels) if given.noise else 0.0
        self.each_noise = given.noise.each_at(voxels) if given.noise else (0.0, 0.0)
        images, masks = given.scaled(blocks, level.background)
        self.fixed_mask, self.moving_mask = masks
        self.moved_mask = None if self.moving_mask is None else np.empty_like(self.moving_mask)
        self.other, self.velocity = (np.empty((3, *images[0].shape), np.float32) for _ in range(2))
        self._terms = np.empty((4 if level.metric == "explained" else 3, *images[0].shape), np.float32)
        self.one = self._terms[:3]
        self.channels = self._channels(images, masks)
        self._smooth_by(level.force_sigma, level.field_sigma)
        self.sample = images[0][::3, ::3, ::3] > _FOREGROUND
        self.voxels = max(int(np.count_nonzero(images[0] > _FOREGROUND)), 1)
        self.steepness = _squared_gradient(images[0]) / self.voxels if level.metric == "mse" else 0.0

    def _channels(self, images: tuple[Float32, Float32], masks: Sequence[Float32 | None]) -> list[Channel]:
        """What the level compares; `pull` takes the first one's terms before it writes to `one`."""
        level, channels = self.level, list[Channel]()
        if level.metric == "explained":
            channels.append(Explained(*images, 1.0, self._terms, self.each_noise))
        else:
            channels.append(Correlated(*images, 1.0, self._terms, self.noise))
        if level.contrast > 0:  # which has little noise
            contrasts = local_contrast(images, masks, level.contrast_sigma)
            channels.append(Correlated(*contrasts, level.contrast, np.empty_like(self.one)))
        return channels

    def _smooth_by(self, *sigmas: float) -> None:
        self.force_taps, self.field_taps = (gaussian_taps((s, s, s)) for s in sigmas)

    def objective(self, field: Float32 | None) -> float:
        """Of `field`, or where None of no displacement; leaves behind what `pull` needs.

        And in `attained`, with squared correlations, the share of what the images could reach but for their noise.
        """
        for channel in self.channels:
            channel.move(field)
        self.weight = self.fixed_mask
        if self.moving_mask is not None and self.moved_mask is not None:
            self.weight = self.moved_mask
            if field is None:
                self.weight[:] = self.moving_mask
            else:
                warp(self.moving_mask[None], field, self.weight[None])
            if self.fixed_mask is not None:
                self.weight *= self.fixed_mask
        # What of `sample` both images show: where one ends no force is, and none must count as a weak one.
        self.counted = self.sample if self.weight is None else self.sample & (self.weight[::3, ::3, ::3] > 0)
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

    def pull(self) -> float:
        """The smoothed force at the field of the last `objective`, in `one`; its typical length is returned."""
        radius = self.level.radius
        if self.level.metric == "mse":
            self.one[:], radius = np.array([1, -1, 0], np.float32).reshape(3, 1, 1, 1), 0
        for number, channel in enumerate(self.channels):
            channel.force(self.weight, radius, self.one if number else self.other)
            if number:
                accumulate(self.other, 1.0, self.one, channel.share * self.channels[0].weights / channel.weights)
        smooth(self.other, self.force_taps, self.one)
        sample = self.one[:, ::3, ::3, ::3][:, self.counted]
        if not sample.size:
            return 0.0
        return float(np.sqrt(np.quantile((sample * sample).sum(axis=0), _TYPICAL)))

    def climb(self, field: Float32, *sigmas: float) -> tuple[Float32, float, int]:
        """Steps that raise the objective, until they are done, it stays as it is, or the field would fold.

        Args:
            field: (3, D, H, W) voxels of this resolution; overwritten.
            sigmas: of the Gaussians of forces and field, instead of the level's.

        Returns:
            the field, its objective, and how many steps were taken.
        """
        if sigmas:
            self._smooth_by(*sigmas)
        with use_threads(1 if field[0].size <= _ALONE else None):
            return self._climb(field)

    def _climb(self, field: Float32) -> tuple[Float32, float, int]:
        score, carried, done, share = self.objective(field), 0.0, 0, 1.0
        while done < self.level.steps:
            typical = self.pull()
            if typical <= 0:
                break
            accumulate(self.velocity, carried, self.one, share * self._rate(typical))
            carried, before = self.level.momentum, score
            candidate = self.step(field)
            if candidate is None:
                break
            self.other, field, done = field, candidate, done + 1
            score = self.objective(field)
            if abs(score - before) < _STALLED * abs(score):
                break
            if score < before:  # too far: where images are alike already, forces turn within little
                share = max(share / 2, _LEAST_SHARE)
        return field, score, done

    def _rate(self, typical: float) -> float:
        """What forces are multiplied by: strong ones become steps of `level.step` voxels, weaker ones shorter steps."""
        unit = self.steepness
        if self.level.metric != "mse":
            share = int(np.count_nonzero(self.counted)) / max(int(np.count_nonzero(self.sample)), 1)
            unit = self.channels[0].weights / max(self.voxels * share, 1)
        return self.level.step / max(typical, self.level.force * unit)

    def step(self, field: Float32) -> Float32 | None:
        """field o (id + v), v the velocity, smoothed and evened out; in `other`, or None if that folds."""
        compose_step(field, self.velocity, 1.0, self.level.step, self.one)
        smooth(self.one, self.field_taps, self.other)
        determinants = self.one[0]
        for rate in _rates(self.level.volume):
            even_out(self.other, jacobian_determinant(self.other, determinants), rate)
        return _unfolded(self.other, field, determinants)

    def likeness(self, moved: Float32) -> Float32:
        """(D, H, W), from 0 to 1: how alike the fixed and a moved image are around each voxel."""
        fixed, radius = self.channels[0].fixed, self.level.radius
        if self.level.metric == "explained":
            return locally_explained(fixed, moved, radius)
        return squared_local_correlation(fixed, moved, radius, FLOOR)

    def most_alike(self, fields: Sequence[Float32]) -> Float32:
        """Of several fields, place by place the one that makes the images most alike around; mixed where more do.

        Their shares grow with the exponential of the local correlation squared, as in a softmax.
        """
        channel, taps = self.channels[0], gaussian_taps((_AROUND,) * 3)
        moved, around = np.empty_like(channel.moving), np.empty_like(fields[0])
        likeness = np.zeros((-(-len(fields) // 3), 3, *moved.shape), np.float32)
        by_field = likeness.reshape(-1, *moved.shape)[: len(fields)]
        for field, like in zip(fields, by_field, strict=True):
            warp(channel.moving[None], field, moved[None])
            like[:] = self.likeness(moved)
        for three in likeness:
            smooth(three, taps, around)
            smooth(around, taps, three)
        shares = np.exp((by_field - by_field.max(axis=0)) / np.float32(_DECISIVE))
        shares /= shares.sum(axis=0)
        mixed: Float32 = np.einsum("ndhw,ncdhw->cdhw", shares, fields)
        return mixed


def _rates(volume: float) -> list[float]:
    """How volumes are evened out by `volume` in all: at once, or in so many smaller steps that stay stable.

    Example:
        >>> _rates(0.0), _rates(0.6), _rates(0.8), len(_rates(50.0))
        ([], [0.6], [0.4, 0.4], 8)
    """
    if volume <= _EVEN_ONCE:
        return [volume] if volume > 0 else []
    times = min(int(np.ceil(volume / _EVEN_EACH)), _EVEN_TIMES)
    return [min(volume / times, _EVEN_EACH)] * times


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


def _unfolded(candidate: Float32, field: Float32, determinants: Float32) -> Float32 | None:
    """`candidate`, in place, taken back towards `field` wherever it is about to fold; None if it still folds more.

    Halfway at first, then all the way and further around. Where `field` is no better, the step stays: smoothing undoes
    the folds of a start. `determinants` is overwritten.
    """
    if jacobian_determinant(candidate, determinants).min() > _LEAST_DETERMINANT:
        return candidate
    vectors, earlier, flat = candidate.reshape(3, -1), field.reshape(3, -1), determinants.reshape(-1)
    for number, (share, radius) in enumerate(_BACK):
        low = np.flatnonzero(flat <= _LEAST_DETERMINANT)
        bad = low[flat[low] < determinants_at(field, low)]
        if not len(bad) or (number >= _TRIES and not (flat[low] <= 0).any()):
            return candidate
        near = voxels_around(bad, radius, field.shape[1:])
        vectors[:, near] += np.float32(share) * (earlier[:, near] - vectors[:, near])
        changed = voxels_around(bad, radius + 1, field.shape[1:])
        flat[changed] = determinants_at(candidate, changed)
    folded = np.count_nonzero(flat <= 0)
    return candidate if folded <= np.count_nonzero(jacobian_determinant(field, determinants) <= 0) else None
