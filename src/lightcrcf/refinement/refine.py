"""The second stage: a few regularised steps up the image similarity, from the network's field or from nothing.

From coarse to fine; `refine_level` takes the steps of one resolution.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import UsageError
from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.compiled import ready
from lightcrcf.geometry.determinant import jacobian_determinant, voxels_around
from lightcrcf.geometry.kernels import invert, upsample
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.images import Images, factors
from lightcrcf.refinement.level import Stage
from lightcrcf.refinement.schedule import Level, Plan, Schedule

__all__ = ["Refined", "refine", "refine_together"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_WORTH = 0.9  # the share of the objective that another field must leave: those that help left .91 and more
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
        steps: done at each level, by all looks together.
        seconds: spent at each level.
        folding_percent: voxels whose Jacobian determinant is not positive.
        agree: whether what all looks became went on, and not the best of them alone; None if there was one look.
        another_counts: whether another field took part in the choice among looks; None if there was none.
    """

    displacement: Float32
    scale: int
    metric: str
    objective_before: float
    objective_after: float
    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    folding_percent: float
    agree: bool | None = None
    another_counts: bool | None = None

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
            "looks_agree": self.agree,
            "template_counts": self.another_counts,
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
    noise: Noise | None = None,
    masked: tuple[bool, bool] = (False, False),
    another: Float32 | None = None,
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
        noise: of both images; measured at this resolution by default.
        masked: of each image, whether everything outside its anatomy was set to one value; see `Level.background`.
        another: like `displacement`, found by other means: where looks become one it counts as much as all of them,
            unless it disagrees so much that nothing agrees in between.

    Returns:
        A field that is never worse than the start by its own objective, nor folds in more voxels.

    Raises:
        UsageError: for an empty schedule, one that goes from fine to coarse, or ends coarser than the start.

    Example:
        >>> from lightcrcf.refinement.schedule import Level
        >>> x, y, z = np.indices((12, 14, 16), dtype=np.float32)
        >>> fixed, moving = (np.exp(-((x - 6) ** 2 + (y - 7) ** 2 + (z - c) ** 2) / 18) for c in (7.5, 8.5))
        >>> refined = refine(fixed, moving, None, schedule=(Level(1, 10, metric="mse"),))
        >>> refined.objective_after > refined.objective_before
        True
    """
    noise = noise or Noise.of(fixed, moving)
    images = Images(fixed, moving, fixed_mask, moving_mask, noise, masked)
    return refine_together([images], displacement, schedule=schedule, pool=pool, another=another)


def refine_together(
    pairs: Sequence[Images],
    displacement: Float32 | None,
    *,
    schedule: Schedule,
    pool: Shape = (2, 2, 2),
    another: Float32 | None = None,
) -> Refined:
    """Improve the alignment of several pairs of images by one field: other contrasts of the same two persons.

    Args:
        pairs: all on one grid, of unit range; the first one leads. Their shares sum to 1.
        displacement, schedule, pool, another: as for `refine`.

    Returns:
        As `refine` does; two copies of one pair, each with half the share, give what the pair alone gives, to the bit.

    Raises:
        UsageError: as `refine`.
    """
    _check(schedule, 8 if displacement is None else 2)
    pairs = [replace(pair, fixed=ready(pair.fixed), moving=ready(pair.moving)) for pair in pairs]
    search, shape = _Search(pairs, pool, schedule[0].scale, displacement), pairs[0].fixed.shape
    steps, seconds = list[int](), list[float]()
    for level, following in zip(schedule, [*schedule[1:], None], strict=True):
        began = time.perf_counter()
        stage, done = search.climb(level)
        if len(ways := _ways(level)) > 1 and (following is None or _ways(following) != ways):
            search.join(stage, ways, another)
        steps.append(done)
        seconds.append(time.perf_counter() - began)
    start = None if displacement is None else _finer(displacement, 2, search.scale, shape, pool)
    folded_before = 0 if start is None else _folded(start)
    found = search.fields[0]
    field, folded = _relieved(found, folded_before)
    before, after = stage.objective(start), search.scores[0] if field is found else stage.objective(field)
    if after < before or folded > folded_before:
        field, after, folded = np.zeros_like(field) if start is None else start, before, folded_before
    percent = 100.0 * folded / field[0].size
    told = (search.agree, search.another_counts)
    return Refined(
        field, search.scale, schedule[-1].metric, before, after, tuple(steps), tuple(seconds), percent, *told
    )


class _Search:
    """The fields of all looks on their way from level to level, and what became of them.

    Args:
        pairs: fixed and moving images, with all that is known of them.
        pool: factor between two resolutions along each axis.
        first: scale of the first level.
        displacement: to start from, at half resolution; None for nothing.
    """

    def __init__(
        self,
        pairs: Sequence[Images],
        pool: Shape,
        first: int,
        displacement: Float32 | None,
    ) -> None:
        self.pairs, self.pool, self.shape = pairs, pool, pairs[0].fixed.shape
        self.scale = first if displacement is None else max(first, 2)
        if displacement is None:
            self.fields = [np.zeros((3, *_coarse_shape(self.shape, first, pool)), np.float32)]
        else:
            self.fields = [_at(displacement.copy(), self.scale, self.shape, pool)]
        self.scores: list[float] = []  # objective of each field, seen from where its look was
        self.agree: bool | None = None
        self.another_counts: bool | None = None
        self._best: tuple[Float32, float] | None = None  # look, until what all became has settled

    def climb(self, level: Level) -> tuple[Stage, int]:
        """All looks at a level; the stage of the forward ones and the number of steps."""
        looks = level.looks()
        if len(self.fields) < len(looks):
            self.fields = [invert(self.fields[0]) if backward else self.fields[0].copy() for backward, _ in looks]
        fields = [_finer(field, self.scale, level.scale, self.shape, self.pool) for field in self.fields]
        self.scale = level.scale
        stage = back = Stage(self.pairs, level, self.pool)
        if level.both_ways:
            back = Stage([pair.swapped() for pair in self.pairs], level, self.pool)
        climbs = [
            (back if backward else stage).climb(field, *sigmas)
            for field, (backward, sigmas) in zip(fields, looks, strict=True)
        ]
        self.fields, self.scores = [field for field, *_ in climbs], [score for _, score, _ in climbs]
        if self._best is not None and _short_of(level.worth, self._best[1], self.scores[0]):
            look, score = self._best
            self.fields, self.scores, self.agree = [look], [score], False
        self._best = None
        return stage, sum(done for *_, done in climbs)

    def join(self, stage: Stage, ways: list[bool], another: Float32 | None) -> None:
        """Make one field of all looks, and of `another` if it helps."""
        forward = [invert(field) if backward else field for field, backward in zip(self.fields, ways, strict=True)]
        more = None if another is None else _at(another, self.scale, self.shape, self.pool)
        scores = [
            stage.objective(field) if backward else score
            for field, score, backward in zip(forward, self.scores, ways, strict=True)
        ]
        best = int(np.argmax(scores))
        self._best, self.agree = (forward[best], scores[best]), True
        merged, self.another_counts = _merged(stage, forward, more)
        self.fields = [_relieved(merged, 0)[0]]
        self.scores = [stage.objective(self.fields[0])]


def _check(schedule: Schedule, end: int) -> None:
    scales = [level.scale for level in schedule]
    if not scales or scales != sorted(scales, reverse=True) or not set(scales) <= {1, 2, 4, 8} or scales[-1] > end:
        raise UsageError(
            "schedule",
            expected=f"scales out of 8, 4, 2, 1 from coarse to fine, down to {end} at least",
            got=", ".join(map(str, scales)) or "no level",
            remedy="correct the schedule",
        )


def _ways(level: Level) -> list[bool]:
    """Of each look at a level, whether it is from the moving image: fields go on where these stay the same."""
    return [backward for backward, _ in level.looks()]


def _short_of(share: float, wanted: float, objective: float) -> bool:
    """Whether an objective is less than a share of another; where both are negative, so much further below zero."""
    return share > 0 and objective < (share * wanted if wanted > 0 else wanted / share)


def _merged(stage: Stage, looks: list[Float32], another: Float32 | None) -> tuple[Float32, bool | None]:
    """All looks as one, and `another` among them unless it spoils what they have found; and whether it counts."""
    merged = stage.most_alike(looks)
    if another is None:
        return merged, None
    more = stage.most_alike([*looks, *[another] * len(looks)])
    if _short_of(_WORTH, stage.objective(merged), stage.objective(more)):
        return merged, False
    return more, True


def _coarse_shape(shape: tuple[int, ...], scale: int, pool: Shape) -> Shape:
    a, b, c = (-(-n // f) for n, f in zip(shape, factors(scale, pool), strict=True))
    return a, b, c


def _finer(field: Float32, scale: int, target: int, shape: tuple[int, ...], pool: Shape) -> Float32:
    while scale > target:
        scale //= 2
        field = upsample(field, _coarse_shape(shape, scale, pool), pool)
    return field


def _at(field: Float32, target: int, shape: tuple[int, ...], pool: Shape) -> Float32:
    """A field of half resolution at `target`."""
    scale = 2
    while scale < target:
        field, scale = downsample(field, pool), 2 * scale
    return _finer(field, scale, target, shape, pool)


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
        near = voxels_around(bad, radius + 1, field.shape[1:])
        field = field.copy() if radius == 1 else field
        field.reshape(3, -1)[:, near] = smoothed.reshape(3, -1)[:, near]
    return field, _folded(field)
