"""Deformable registration by optimisation, from coarse to fine, from a network's field or from the identity.

The optimisation is native: core/registration, whose `ascent.hpp` has the equation of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.errors import UsageError
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.rows import level_row, pair_row
from lightcrcf.refinement.schedule import Schedule

__all__ = ["RefinementResult", "refine", "refine_together"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class RefinementResult:
    """Result of a refinement.

    Args:
        displacement: (3, D, H, W) on the grid of the last level's field, in its voxels.
        scale: of the images at the last level.
        metric: what was maximised: "lncc", the mean squared local correlation, each window weighted by the standard
            deviation of the fixed image in it; "mse", minus the mean squared difference; or "explained", the share of
            the moving image's variance that the fixed one explains.
        objective_before, objective_after: at the last level.
        steps: done at each level, by all candidates together.
        seconds: spent at each level.
        folding_percent: voxels whose Jacobian determinant is not positive.
        merge_accepted: True if the merged field went on, False if the best single candidate did; None with one
            candidate.
        template_accepted: whether the template's field was merged too; None without one.
    """

    displacement: Float32
    scale: int
    metric: str
    objective_before: float
    objective_after: float
    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    folding_percent: float
    merge_accepted: bool | None = None
    template_accepted: bool | None = None


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
    template_field: Float32 | None = None,
    after: Callable[[str], object] | None = None,
) -> RefinementResult:
    """Improve the alignment of `moving` with `fixed`.

    Args:
        fixed, moving: (D, H, W), unit range, on one grid.
        displacement: (3, ceil(D / 2), ceil(H / 2), ceil(W / 2)), voxels of the half grid; None starts from the
            identity. A schedule that begins coarser starts from its block means.
        schedule: levels from coarse to fine.
        pool: downsampling factor between two levels along each axis, 2, or 1 for an axis that is never pooled.
        fixed_mask, moving_mask: (D, H, W) on the same grid, 0 where voxels do not count, such as in lesions; the
            moving one is moved along.
        noise: of both images; measured at this resolution by default.
        masked: of each image, whether everything outside its anatomy was set to one value; see `Level.background`.
        template_field: like `displacement`, by way of a template: one more candidate, with the weight of all others
            together; dropped if the similarity with it is below 0.9 of that without it.
        after: called after each part of a step with its name, for measurements; what it raises ends the refinement.

    Returns:
        A field that is never worse than the start by its own objective, nor folds in more voxels.

    Raises:
        UsageError: for an empty schedule, one that goes from fine to coarse, or ends coarser than the start.

    Example:
        >>> from lightcrcf.refinement.schedule import Level
        >>> x, y, z = np.indices((12, 14, 16), dtype=np.float32)
        >>> fixed, moving = (np.exp(-((x - 6) ** 2 + (y - 7) ** 2 + (z - c) ** 2) / 18) for c in (7.5, 8.5))
        >>> found = refine(fixed, moving, None, schedule=(Level(1, 10, metric="mse"),))
        >>> found.objective_after > found.objective_before
        True
    """
    noise = noise or Noise.of(fixed, moving)
    images = Images(fixed, moving, fixed_mask, moving_mask, noise, masked)
    return refine_together(
        [images], displacement, schedule=schedule, pool=pool, template_field=template_field, after=after
    )


def refine_together(
    pairs: Sequence[Images],
    displacement: Float32 | None,
    *,
    schedule: Schedule,
    pool: Shape = (2, 2, 2),
    template_field: Float32 | None = None,
    after: Callable[[str], object] | None = None,
) -> RefinementResult:
    """Improve the alignment of several pairs of images by one field: other contrasts of the same two persons.

    Args:
        pairs: all on one grid, of unit range; the first one leads. Their shares sum to 1.
        displacement, schedule, pool, template_field, after: as for `refine`.

    Returns:
        As `refine` does; two copies of one pair, each with half the share, give what the pair alone gives, to the bit.

    Raises:
        UsageError: as `refine`.
    """
    _check(schedule, 8 if displacement is None else 2)
    start = None if displacement is None else contiguous(displacement)
    template = None if template_field is None else contiguous(template_field)
    levels = [level_row(level, pairs) for level in schedule]
    found, objective_before, objective_after, steps, seconds, folded, merge_accepted, template_accepted = _core.refine(
        [pair_row(pair) for pair in pairs], levels, pool, start, template, after
    )
    return RefinementResult(
        found, schedule[-1].image_scale, schedule[-1].metric, objective_before, objective_after, tuple(steps),
        tuple(seconds), 100.0 * folded / found[0].size, merge_accepted, template_accepted,
    )  # fmt: skip


def _check(schedule: Schedule, end: int) -> None:
    scales = [level.scale for level in schedule]
    if not scales or scales != sorted(scales, reverse=True) or not set(scales) <= {1, 2, 4, 8} or scales[-1] > end:
        raise UsageError(
            "schedule",
            expected=f"scales out of 8, 4, 2, 1 from coarse to fine, down to {end} at least",
            got=", ".join(map(str, scales)) or "no level",
            remedy="correct the schedule",
        )
