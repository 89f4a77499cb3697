"""The update rule of the refinement: regularised compositive gradient ascent on the image similarity, at one level.

Let u_k be the displacement after k steps, S(u) the similarity of the fixed image and the moving image warped by u, and
∇S(u) its gradient with respect to a small displacement v that is applied first, u o (id + v). One step is

    g_k     = G_force * ∇S(u_k)                    smoothed force
    v_{k+1} = m v_k + s_k r_k g_k                  momentum m, step length s_k r_k in voxels
    w       = G_field * (u_k o (id + v_{k+1}))     composed and smoothed; |v| is limited to `step` voxels
    u_{k+1} = E(w)                                 volume changes evened out, folds repaired

G are Gaussians, r_k = step / max(q99 |g_k|, force * unit) makes strong forces steps of `step` voxels and weak ones
shorter steps, and s_k is halved after a step that lowered S, down to a quarter. Forces live on the fixed grid, and so
does what is smoothed. What makes a field smooth, and why: docs/decisions/0016-smoothness.md.

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

from lightcrcf.geometry.determinant import even_out, jacobian_determinant
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.geometry.step_kernels import accumulate, compose_step
from lightcrcf.geometry.threads import use_threads
from lightcrcf.refinement.folds import repair_folds
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.objective import Objective
from lightcrcf.refinement.schedule import Level

__all__ = ["Ascent", "LevelSolver"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_STRONG = 0.99  # quantile of the forces in the foreground that become steps of full length
_STALLED = 1e-5  # relative change of the objective by a step below which a level ends
_MIN_STEP_SHARE = 1 / 4
# Evening out of volumes: at once up to `_EVEN_ONCE`, else in several smaller steps that stay stable.
_EVEN_ONCE, _EVEN_EACH, _EVEN_TIMES = 0.65, 0.4, 8
_SINGLE_THREAD_VOXELS = 2**15  # up to here waking a second thread takes longer than it saves


@dataclass(frozen=True, eq=False)
class Ascent:
    """Result of the steps at a level.

    Args:
        field: (3, D, H, W) voxels of the level.
        objective: of the field.
        steps: that were taken.
    """

    field: Float32
    objective: float
    steps: int


class LevelSolver:
    """The objective at one level, and the workspace that all steps share.

    Args:
        images: what is compared, at full resolution; one pair, or several of which the first one leads: its units are
            those of forces.
        level: of the schedule.
        pool: downsampling factor between two levels along each axis.

    Touching memory for the first time costs about as much as the kernels that fill it, so two buffers serve for all
    beside the field and the velocity. `work` holds the terms of the last objective, then the smoothed force, then the
    composed field; `spare` the raw force, then the field after the step, and the field before it once that is taken.
    """

    def __init__(self, images: Images | Sequence[Images], level: Level, pool: Shape) -> None:
        self.level = level
        self.objective = Objective([images] if isinstance(images, Images) else images, level, pool)
        self.work = self.objective.workspace
        self.spare, self.velocity = (np.empty_like(self.work) for _ in range(2))
        self._set_sigmas(level.force_sigma, level.field_sigma)

    def _set_sigmas(self, force_sigma: float, field_sigma: float) -> None:
        self.force_taps, self.field_taps = (gaussian_taps((s, s, s)) for s in (force_sigma, field_sigma))

    def ascend(self, field: Float32, *sigmas: float) -> Ascent:
        """Take steps until they are done, the objective stalls, or the field would fold.

        Args:
            field: (3, D, H, W) voxels of this level; overwritten.
            sigmas: of the Gaussians of forces and field in voxels, instead of the level's.
        """
        if sigmas:
            self._set_sigmas(*sigmas)
        with use_threads(1 if field[0].size <= _SINGLE_THREAD_VOXELS else None):
            return self._ascend(field)

    def _ascend(self, field: Float32) -> Ascent:
        value, momentum, steps, share = self.objective.evaluate(field), 0.0, 0, 1.0
        while steps < self.level.steps:
            strength = self.smoothed_force()
            if strength <= 0:
                break
            accumulate(self.velocity, momentum, self.work, share * self._step_per_force(strength))
            momentum, previous = self.level.momentum, value
            candidate = self.step(field)
            if candidate is None:
                break
            self.spare, field, steps = field, candidate, steps + 1
            value = self.objective.evaluate(field)
            if abs(value - previous) < _STALLED * abs(value):
                break
            if value < previous:  # too far: where images are alike already, forces turn within little
                share = max(share / 2, _MIN_STEP_SHARE)
        return Ascent(field, value, steps)

    def smoothed_force(self) -> float:
        """Compute G_force * ∇S at the field of the last evaluation, into `work`.

        Returns:
            The 99 % quantile of its length in the foreground.
        """
        self.objective.force(self.spare, self.work)
        smooth(self.spare, self.force_taps, self.work)
        sample = self.work[:, ::3, ::3, ::3][:, self.objective.valid_samples]
        if not sample.size:
            return 0.0
        return float(np.sqrt(np.quantile((sample * sample).sum(axis=0), _STRONG)))

    def _step_per_force(self, strength: float) -> float:
        """Voxels of a step for each unit of force: `level.step` where forces are strong."""
        return self.level.step / max(strength, self.level.force * self.objective.force_unit)

    def step(self, field: Float32) -> Float32 | None:
        """Compose a field with the velocity, smooth it, even out its volume changes and repair its folds.

        Returns:
            The new field, in `spare`; None if it folds in more voxels than `field`.
        """
        compose_step(field, self.velocity, 1.0, self.level.step, self.work)
        smooth(self.work, self.field_taps, self.spare)
        determinants = self.work[0]
        for rate in even_out_rates(self.level.volume):
            even_out(self.spare, jacobian_determinant(self.spare, determinants), rate)
        return repair_folds(self.spare, field, determinants)


def even_out_rates(volume: float) -> list[float]:
    """Split the evening out of volumes by `volume` in all into steps that are stable.

    Example:
        >>> even_out_rates(0.0), even_out_rates(0.6), even_out_rates(0.8), len(even_out_rates(50.0))
        ([], [0.6], [0.4, 0.4], 8)
    """
    if volume <= _EVEN_ONCE:
        return [volume] if volume > 0 else []
    times = min(int(np.ceil(volume / _EVEN_EACH)), _EVEN_TIMES)
    return [min(volume / times, _EVEN_EACH)] * times
