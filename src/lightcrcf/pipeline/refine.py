"""The second stage: a few regularised steps up the image similarity, from the network's field or from nothing.

From coarse to fine; `refine_level` takes the steps of one resolution.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import UsageError
from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.compiled import ready
from lightcrcf.geometry.determinant import jacobian_determinant, voxels_around
from lightcrcf.geometry.kernels import invert, upsample
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.pipeline.refine_level import Stage, factors
from lightcrcf.pipeline.schedule import Level, Plan, Schedule

__all__ = ["Refined", "refine"]

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
        another: like `displacement`, found by other means: where looks become one it counts as much as all of them,
            unless it disagrees so much that nothing agrees in between.

    Returns:
        A field that is never worse than the start by its own objective, nor folds in more voxels.

    Raises:
        UsageError: for an empty schedule, one that goes from fine to coarse, or ends coarser than the start.

    Example:
        >>> from lightcrcf.pipeline.schedule import Level
        >>> x, y, z = np.indices((12, 14, 16), dtype=np.float32)
        >>> fixed, moving = (np.exp(-((x - 6) ** 2 + (y - 7) ** 2 + (z - c) ** 2) / 18) for c in (7.5, 8.5))
        >>> refined = refine(fixed, moving, None, schedule=(Level(1, 10, metric="mse"),))
        >>> refined.objective_after > refined.objective_before
        True
    """
    _check(schedule, 8 if displacement is None else 2)
    fixed, moving = ready(fixed), ready(moving)
    first = schedule[0].scale
    if displacement is None:
        fields, scale = [np.zeros((3, *_coarse_shape(fixed.shape, first, pool)), np.float32)], first
    else:
        fields, scale = [_at(displacement.copy(), max(first, 2), fixed.shape, pool)], max(first, 2)
    steps, seconds, counts, alone = list[int](), list[float](), None, None
    for level, following in zip(schedule, [*schedule[1:], None], strict=True):
        began = time.perf_counter()
        looks, ways = level.looks(), _ways(level)
        if len(fields) < len(looks):
            fields = [invert(fields[0]) if backward else fields[0].copy() for backward in ways]
        fields = [_finer(field, scale, level.scale, fixed.shape, pool) for field in fields]
        scale = level.scale
        stage = Stage(fixed, moving, fixed_mask, moving_mask, level, pool)
        back = Stage(moving, fixed, moving_mask, fixed_mask, level, pool) if level.both_ways else stage
        climbs = [
            (back if backward else stage).climb(field, *sigmas)
            for field, (backward, sigmas) in zip(fields, looks, strict=True)
        ]
        (fields, after), alone = _worthy(level, climbs, alone), None
        if len(looks) > 1 and (following is None or _ways(following) != ways):
            forward = [invert(field) if backward else field for field, backward in zip(fields, ways, strict=True)]
            more = None if another is None else _at(another, level.scale, fixed.shape, pool)
            alone = _best(stage, forward)
            merged, counts = _merged(stage, forward, more)
            fields = [_relieved(merged, 0)[0]]
            after = stage.objective(fields[0])
        steps.append(sum(done for *_, done in climbs))
        seconds.append(time.perf_counter() - began)
    start = None if displacement is None else _finer(displacement, 2, scale, fixed.shape, pool)
    folded_before = 0 if start is None else _folded(start)
    field, folded = _relieved(fields[0], folded_before)
    before, after = stage.objective(start), after if field is fields[0] else stage.objective(field)
    if after < before or folded > folded_before:
        field, after, folded = np.zeros_like(field) if start is None else start, before, folded_before
    percent = 100.0 * folded / field[0].size
    return Refined(field, scale, schedule[-1].metric, before, after, tuple(steps), tuple(seconds), percent, counts)


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


def _best(stage: Stage, looks: list[Float32]) -> tuple[Float32, float]:
    """The look of the highest objective, and that."""
    scores = [stage.objective(look) for look in looks]
    best = int(np.argmax(scores))
    return looks[best], scores[best]


def _worthy(
    level: Level, climbs: list[tuple[Float32, float, int]], alone: tuple[Float32, float] | None
) -> tuple[list[Float32], float]:
    """Where the climbs led and the objective of the first; `alone`, where what looks became is not worth going on."""
    after = climbs[0][1]
    if alone is not None and after < level.worth * alone[1]:
        return [alone[0]], alone[1]
    return [field for field, *_ in climbs], after


def _merged(stage: Stage, looks: list[Float32], another: Float32 | None) -> tuple[Float32, bool | None]:
    """All looks as one, and `another` among them unless it spoils what they have found; and whether it counts."""
    merged = stage.most_alike(looks)
    if another is None:
        return merged, None
    more = stage.most_alike([*looks, *[another] * len(looks)])
    if stage.objective(more) < _WORTH * stage.objective(merged):
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
