"""The second stage: a few regularised steps up the image similarity, from the network's field or from nothing.

Each step pulls the moving image through the field u so far, takes the gradient of the similarity with respect to a
small displacement v that is applied first, u o (id + v), smooths it, limits its length, composes, and smooths the
field. So forces live on the fixed grid, and what is smoothed is what is felt there.

Source:
    P. A. Yushkevich et al., "Fast automatic segmentation of hippocampal subfields and medial temporal lobe subregions
    in 3 Tesla and 7 Tesla T2-weighted MRI", Alzheimer's & Dementia 2016 (greedy: compositive steps with smoothed
    forces). The limit on the steps, the backtracking and the repair of folds are this project's.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import UsageError
from lightcrcf.geometry.alignment_kernels import block_mean, downsample
from lightcrcf.geometry.compiled import ready
from lightcrcf.geometry.determinant import determinants_at, jacobian_determinant
from lightcrcf.geometry.kernels import compose, upsample, warp
from lightcrcf.geometry.refinement_kernels import (
    correlation_force,
    correlation_terms,
    gaussian_taps,
    shorten,
    smooth,
)
from lightcrcf.pipeline.schedule import Level, Plan, Schedule

__all__ = ["Refined", "refine"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_FLOOR = 1e-6  # of the product of variances of unit-range images
_LEAST_WEIGHTS = 1e-3  # of all windows of an image that shows nothing
_CONTRAST_SIGMA = 0.7
_TYPICAL = 0.99  # the share of foreground vectors that are left as long as they are
_FOREGROUND = 0.05
_LEAST_DETERMINANT = 0.05
_STALLED = 1e-5  # relative gain of a step below which a level ends
_HALVINGS = 3
_NEAR = 2  # voxels around one that is about to fold that are held back
_RELIEFS, _FEW_FOLDS = 6, 10_000  # how often folds are smoothed away in the end, and how many at most


@dataclass(frozen=True, eq=False)
class Refined:
    """What the refinement found.

    Args:
        displacement: (3, D, H, W) at the finest scale that was run, in voxels of its grid.
        scale: that scale.
        metric: what was raised: "lncc", the mean squared local correlation, each window weighed by the standard
            deviation of the fixed image in it, or "mse", minus the mean squared difference.
        objective_before, objective_after: at the finest scale.
        steps: done at each level.
        seconds: spent at each level.
        folding_percent: voxels whose Jacobian determinant is not positive.
    """

    displacement: Float32
    scale: int
    metric: str
    objective_before: float
    objective_after: float
    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    folding_percent: float

    def record(self, plan: Plan) -> dict[str, Any]:
        """For `run.json`: the levels that were asked for, and what became of them; the same for the same input."""
        levels = [{**asdict(level), "steps_done": n} for level, n in zip(plan.schedule, self.steps, strict=True)]
        return {
            "start": "network" if plan.network else "nothing",
            "levels": levels,
            "finest_scale": self.scale,
            "objective": self.metric,
            "objective_before": self.objective_before,
            "objective_after": self.objective_after,
            "folding_percent": self.folding_percent,
        }


def refine(
    fixed: Float32,
    moving: Float32,
    displacement: Float32 | None,
    *,
    schedule: Schedule,
    pool: Shape = (2, 2, 2),
    fixed_mask: Float32 | None = None,
    moving_mask: Float32 | None = None,
) -> Refined:
    """Improve the alignment of `moving` with `fixed`.

    Args:
        fixed, moving: (D, H, W), unit range, on one grid.
        displacement: (3, ceil(D / 2), ceil(H / 2), ceil(W / 2)), voxels of the half grid; None starts from zero. A
            schedule that begins coarser starts from its means: of the network's field the gist, not the detail.
        schedule: levels from coarse to fine.
        pool: factor between two resolutions along each axis, 2, or 1 for an axis that is never pooled.
        fixed_mask, moving_mask: (D, H, W) on the same grid, 0 where voxels do not count, such as in lesions; the
            moving one is moved along.

    Returns:
        A field that is never worse than the start by its own objective, nor folds in more voxels.

    Raises:
        UsageError: for an empty schedule, one that goes from fine to coarse, or ends coarser than the start.

    Example:
        >>> x, y, z = np.indices((12, 14, 16), dtype=np.float32)
        >>> fixed, moving = (np.exp(-((x - 6) ** 2 + (y - 7) ** 2 + (z - c) ** 2) / 18) for c in (7.5, 8.5))
        >>> refined = refine(fixed, moving, None, schedule=(Level(1, 10, metric="mse"),))
        >>> refined.objective_after > refined.objective_before
        True
    """
    _check(schedule, 8 if displacement is None else 2)
    fixed, moving = ready(fixed), ready(moving)
    first = schedule[0].scale
    scale = first if displacement is None else 2
    zero = np.zeros((3, *_coarse_shape(fixed.shape, scale, pool)), np.float32)
    field = zero if displacement is None else displacement
    start, start_scale = field, scale
    while scale < first:
        field, scale = downsample(field, pool), 2 * scale
    steps: list[int] = []
    seconds: list[float] = []
    for level in schedule:
        began = time.perf_counter()
        stage = _Stage(fixed, moving, fixed_mask, moving_mask, level, pool)
        field = _finer(field, scale, level.scale, fixed.shape, pool)
        scale = level.scale
        field, after, done = stage.climb(field)
        steps.append(done)
        seconds.append(time.perf_counter() - began)
    start = _finer(start, start_scale, scale, fixed.shape, pool)
    folded_before = _folded(start)
    climbed = field
    field, folded = _relieved(field, folded_before)
    before, after = stage.objective(start), after if field is climbed else stage.objective(field)
    if after < before or folded > folded_before:
        field, after, folded = start, before, folded_before
    percent = 100.0 * folded / field[0].size
    return Refined(field, scale, schedule[-1].metric, before, after, tuple(steps), tuple(seconds), percent)


def _check(schedule: Schedule, end: int) -> None:
    scales = [level.scale for level in schedule]
    if not scales or scales != sorted(scales, reverse=True) or not set(scales) <= {1, 2, 4, 8} or scales[-1] > end:
        raise UsageError(
            "schedule",
            expected=f"scales out of 8, 4, 2, 1 from coarse to fine, down to {end} at least",
            got=", ".join(map(str, scales)) or "no level",
            remedy="correct the schedule",
        )


def _factors(scale: int, pool: Shape) -> Shape:
    a, b, c = (scale if p == 2 else 1 for p in pool)
    return a, b, c


def _coarse_shape(shape: tuple[int, ...], scale: int, pool: Shape) -> Shape:
    a, b, c = (-(-n // f) for n, f in zip(shape, _factors(scale, pool), strict=True))
    return a, b, c


def _finer(field: Float32, scale: int, target: int, shape: tuple[int, ...], pool: Shape) -> Float32:
    while scale > target:
        scale //= 2
        field = upsample(field, _coarse_shape(shape, scale, pool), pool)
    return field


def _folded(field: Float32) -> int:
    return int(np.count_nonzero(jacobian_determinant(field) <= 0))


def _relieved(field: Float32, allowed: int) -> tuple[Float32, int]:
    """`field`, smoothed around its folds, further and further, until no more than `allowed` voxels fold.

    Going over to a finer grid can fold a voxel, and so few must not cost the whole refinement. Tells how many are left.
    """
    taps, smoothed = gaussian_taps((1.0, 1.0, 1.0)), np.empty_like(field)
    for radius in range(1, _RELIEFS + 1):
        bad = np.flatnonzero(jacobian_determinant(field) <= 0)
        if len(bad) <= allowed or len(bad) > _FEW_FOLDS:
            return field, len(bad)
        smooth(field, taps, smoothed)
        near = _around(bad, radius + 1, field.shape[1:])
        field = field.copy() if radius == 1 else field
        field.reshape(3, -1)[:, near] = smoothed.reshape(3, -1)[:, near]
    return field, _folded(field)


@dataclass(eq=False)
class _Channel:
    """What is compared at one resolution, its share in the objective, and what the force needs of it."""

    fixed: Float32
    moving: Float32
    share: float
    moved: Float32
    terms: Float32
    weights: float = 1.0  # of all windows together

    @classmethod
    def of(cls, fixed: Float32, moving: Float32, share: float) -> _Channel:
        """Before the first look."""
        return cls(fixed, moving, share, np.empty_like(moving), np.empty((3, *fixed.shape), np.float32))


def _local_contrast(fixed: Float32, moving: Float32) -> tuple[Float32, Float32]:
    """The standard deviation under a small Gaussian: edges and texture, whichever side is brighter."""
    taps, deviations = gaussian_taps((_CONTRAST_SIGMA,) * 3), []
    for image in (fixed, moving):
        means = np.empty((3, *image.shape), np.float32)
        smooth(np.stack([image, image * image, image]), taps, means)
        deviations.append(np.sqrt(np.maximum(means[1] - means[0] * means[0], 0)))
    largest = np.float32(max(1e-6, *(float(d.max()) for d in deviations)))
    return deviations[0] / largest, deviations[1] / largest


class _Stage:
    """Both images at one resolution, and buffers that all steps share."""

    def __init__(
        self,
        fixed: Float32,
        moving: Float32,
        fixed_mask: Float32 | None,
        moving_mask: Float32 | None,
        level: Level,
        pool: Shape,
    ) -> None:
        factors = _factors(level.scale, pool)

        def scaled(image: Float32) -> Float32:
            return image if level.scale == 1 else block_mean(image, factors)

        self.level = level
        images = scaled(fixed), scaled(moving)
        self.channels = [_Channel.of(*images, 1.0)]
        if level.contrast > 0:
            self.channels.append(_Channel.of(*_local_contrast(*images), level.contrast))
        self.fixed_mask = None if fixed_mask is None else scaled(fixed_mask)
        self.moving_mask = None if moving_mask is None else scaled(moving_mask)
        # Memory that is asked for anew in each step would cost as much time as the kernels that fill it.
        self.force, self.update, self.composed, self.other = (
            np.empty((3, *images[0].shape), np.float32) for _ in range(4)
        )
        self.force_taps, self.field_taps = (gaussian_taps((s, s, s)) for s in (level.force_sigma, level.field_sigma))
        self.sample = images[0][::3, ::3, ::3] > _FOREGROUND
        if level.metric == "mse":
            self.channels[0].terms[:] = np.array([1, -1, 0], np.float32).reshape(3, 1, 1, 1)

    def objective(self, field: Float32) -> float:
        """Of `field`; leaves behind what `pull` needs."""
        for channel in self.channels:
            warp(channel.moving[None], field, channel.moved[None])
        self.weight = self.fixed_mask
        if self.moving_mask is not None:
            weight = warp(self.moving_mask[None], field)[0]
            self.weight = weight if self.fixed_mask is None else weight * self.fixed_mask
        if self.level.metric == "mse":
            return -_mean_square(self.channels[0].fixed, self.channels[0].moved, self.weight)
        mean = 0.0
        for channel in self.channels:
            total, weights = correlation_terms(
                channel.fixed, channel.moved, self.weight, self.level.radius, _FLOOR, channel.terms
            )
            channel.weights = max(weights, _LEAST_WEIGHTS)
            mean += channel.share * total / channel.weights
        return mean / sum(channel.share for channel in self.channels)

    def pull(self) -> float:
        """The smoothed force at the field of the last `objective`, in `update`; its typical length is returned."""
        radius = 0 if self.level.metric == "mse" else self.level.radius
        for number, channel in enumerate(self.channels):
            out = self.update if number else self.force
            correlation_force(channel.fixed, channel.moved, self.weight, channel.terms, radius, out)
            if number:
                self.update *= np.float32(channel.share * self.channels[0].weights / channel.weights)
                self.force += self.update
        smooth(self.force, self.force_taps, self.update)
        sample = self.update[:, ::3, ::3, ::3][:, self.sample]
        if not sample.size:
            return 0.0
        return float(np.sqrt(np.quantile((sample * sample).sum(axis=0), _TYPICAL)))

    def climb(self, field: Float32) -> tuple[Float32, float, int]:
        """Steps that raise the objective, until they are done, it stalls, or shorter steps do not help either.

        Returns:
            the field, its objective, and how many steps were taken.
        """
        best, length, done, halvings = self.objective(field), self.level.step, 0, 0
        typical = None
        while done < self.level.steps and halvings <= _HALVINGS:
            if typical is None:
                typical = self.pull()
            if typical <= 0:
                break
            # `update` keeps its length, so that a step that fails is tried again shorter.
            shorten(self.update, length / typical, length, self.force)
            candidate = self.step(field)
            score = self.objective(candidate) if candidate is not None else -np.inf
            if candidate is None or score <= best:
                length, halvings = length / 2, halvings + 1
                continue
            stalled = score - best < _STALLED * abs(best)
            self.other, field, best, done = field if done else np.empty_like(field), candidate, score, done + 1
            if stalled:
                break
            typical = None
        return field, best, done

    def step(self, field: Float32) -> Float32 | None:
        """field o (id + force), smoothed; None if that folds."""
        smooth(compose(field, self.force, self.composed), self.field_taps, self.other)
        return _unfolded(self.other, field, self.composed[0])


def _around(voxels: NDArray[np.intp], radius: int, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Flat indices of all voxels in cubes around some, each once."""
    reach, stride = np.arange(-radius, radius + 1), int(np.prod(shape))
    for n in shape:
        stride //= n
        place = voxels // stride % n
        voxels = np.unique((voxels - place * stride)[:, None] + np.clip(place[:, None] + reach, 0, n - 1) * stride)
    return voxels


def _mean_square(fixed: Float32, moved: Float32, weight: Float32 | None) -> float:
    error = fixed - moved
    error *= error
    if weight is None:
        return float(error.mean(dtype=np.float64))
    return float((error * weight).sum(dtype=np.float64) / max(float(weight.sum(dtype=np.float64)), 1.0))


def _unfolded(candidate: Float32, field: Float32, determinants: Float32) -> Float32 | None:
    """`candidate`, in place, halfway back to `field` wherever it is about to fold; None if it still folds more.

    Where `field` is no better, the step stays: smoothing undoes the folds of a start. `determinants` is overwritten.
    """
    if jacobian_determinant(candidate, determinants).min() > _LEAST_DETERMINANT:
        return candidate
    vectors, earlier, flat = candidate.reshape(3, -1), field.reshape(3, -1), determinants.reshape(-1)
    seen = low = np.flatnonzero(flat <= _LEAST_DETERMINANT)
    for _ in range(_HALVINGS):
        bad = low[flat[low] < determinants_at(field, low)]
        if not len(bad):
            return candidate
        near = _around(bad, _NEAR, field.shape[1:])
        vectors[:, near] += np.float32(0.5) * (earlier[:, near] - vectors[:, near])
        changed = _around(bad, _NEAR + 1, field.shape[1:])
        flat[changed] = determinants_at(candidate, changed)
        seen = np.union1d(seen, changed)
        low = seen[flat[seen] <= _LEAST_DETERMINANT]
    folded = np.count_nonzero(flat <= 0)
    return candidate if folded <= np.count_nonzero(jacobian_determinant(field, determinants) <= 0) else None
