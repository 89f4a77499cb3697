"""Candidate fields of a multi-start refinement: kept from level to level, and merged by local similarity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.kernels import invert, warp
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.refinement.ascent import LevelSolver
from lightcrcf.refinement.folds import smooth_folds
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.resolution import coarse_shape, resample_half, upsample_to
from lightcrcf.refinement.schedule import Level

__all__ = ["Candidates", "add_template", "is_below_ratio", "merge_by_local_similarity"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_MERGE_SIGMA, _MERGE_TEMPERATURE = 1.5, 0.2  # voxels, applied twice; difference of similarities that decides
_MIN_TEMPLATE_RATIO = 0.9  # template fields that help left .91 and more of the similarity


class Candidates:
    """Fields of all candidates on their way from level to level, and what became of them.

    Args:
        pairs: fixed and moving images.
        pool: downsampling factor between two levels along each axis.
        first: scale of the first level.
        displacement: initial field at half resolution; None for the identity.
    """

    def __init__(self, pairs: Sequence[Images], pool: Shape, first: int, displacement: Float32 | None) -> None:
        self.pairs, self.pool, self.shape = pairs, pool, pairs[0].fixed.shape
        self.scale = first if displacement is None else max(first, 2)
        if displacement is None:
            self.fields = [np.zeros((3, *coarse_shape(self.shape, first, pool)), np.float32)]
        else:
            self.fields = [resample_half(displacement.copy(), self.scale, self.shape, pool)]
        self.objectives: list[float] = []  # of each field, in the direction of its candidate
        self.merge_accepted: bool | None = None
        self.template_accepted: bool | None = None
        self._best: tuple[Float32, float] | None = None  # single candidate and its objective, until a merge is judged

    def ascend(self, level: Level) -> tuple[LevelSolver, int]:
        """Refine all candidates at a level.

        Returns:
            The solver of the forward direction, and the number of steps of all candidates.
        """
        kinds = level.candidates()
        if len(self.fields) < len(kinds):
            self.fields = [invert(self.fields[0]) if kind.backward else self.fields[0].copy() for kind in kinds]
        fields = [upsample_to(field, self.scale, level.scale, self.shape, self.pool) for field in self.fields]
        self.scale = level.scale
        forward = backward = LevelSolver(self.pairs, level, self.pool)
        if level.bidirectional:
            backward = LevelSolver([pair.swapped() for pair in self.pairs], level, self.pool)
        found = [
            (backward if kind.backward else forward).ascend(field, *kind.sigmas)
            for field, kind in zip(fields, kinds, strict=True)
        ]
        self.fields, self.objectives = [each.field for each in found], [each.objective for each in found]
        self._judge_merge(level)
        return forward, sum(each.steps for each in found)

    def _judge_merge(self, level: Level) -> None:
        """Replace the merged field by the best candidate if it is below `level.min_merge_ratio` of that."""
        if self._best is not None and is_below_ratio(level.min_merge_ratio, self._best[1], self.objectives[0]):
            field, objective = self._best
            self.fields, self.objectives, self.merge_accepted = [field], [objective], False
        self._best = None

    def merge(self, solver: LevelSolver, level: Level, template_field: Float32 | None) -> None:
        """Merge all candidates into one field, and the template's field if it helps.

        Args:
            solver: of the forward direction at this level.
            level: whose candidates these are.
            template_field: at half resolution; None for none.
        """
        backward = [kind.backward for kind in level.candidates()]
        fields = [invert(field) if back else field for field, back in zip(self.fields, backward, strict=True)]
        template = None if template_field is None else resample_half(template_field, self.scale, self.shape, self.pool)
        objectives = [
            solver.objective.evaluate(field) if back else objective
            for field, objective, back in zip(fields, self.objectives, backward, strict=True)
        ]
        best = int(np.argmax(objectives))
        self._best, self.merge_accepted = (fields[best], objectives[best]), True
        merged, self.template_accepted = add_template(solver, fields, template)
        self.fields = [smooth_folds(merged, 0)[0]]
        self.objectives = [solver.objective.evaluate(self.fields[0])]


def is_below_ratio(ratio: float, reference: float, objective: float) -> bool:
    """Return whether an objective is below a ratio of a reference; of negative ones, as far below zero.

    Example:
        >>> is_below_ratio(0.9, 0.5, 0.44), is_below_ratio(0.9, -0.010, -0.012), is_below_ratio(0.0, 0.5, 0.1)
        (True, True, False)
    """
    return ratio > 0 and objective < (ratio * reference if reference > 0 else reference / ratio)


def add_template(
    solver: LevelSolver, fields: Sequence[Float32], template: Float32 | None
) -> tuple[Float32, bool | None]:
    """Merge candidates, and a template's field with the weight of all of them unless it lowers the similarity.

    Returns:
        The merged field, and whether the template's counts in it; None without one.
    """
    merged = merge_by_local_similarity(solver, fields)
    if template is None:
        return merged, None
    both = merge_by_local_similarity(solver, [*fields, *[template] * len(fields)])
    objective = solver.objective.evaluate
    if is_below_ratio(_MIN_TEMPLATE_RATIO, objective(merged), objective(both)):
        return merged, False
    return both, True


def merge_by_local_similarity(solver: LevelSolver, fields: Sequence[Float32]) -> Float32:
    """Average fields with weights of a softmax of the local similarity that each gives at a voxel.

    Args:
        solver: compares the images.
        fields: each (3, D, H, W) voxels.
    """
    taps, moved = gaussian_taps((_MERGE_SIGMA,) * 3), np.empty(fields[0].shape[1:], np.float32)
    similarity: Float32 = np.zeros((len(fields), *moved.shape), np.float32)
    smoothed = np.empty_like(similarity)
    for field, of_field in zip(fields, similarity, strict=True):
        for pair in solver.objective.pairs:
            warp(pair.channels[0].moving[None], field, moved[None])
            of_field += np.float32(pair.share) * pair.local_similarity(moved)
    smooth(similarity, taps, smoothed)
    smooth(smoothed, taps, similarity)
    weights = np.exp((similarity - similarity.max(axis=0)) / np.float32(_MERGE_TEMPERATURE))
    weights /= weights.sum(axis=0)
    merged: Float32 = np.einsum("ndhw,ncdhw->cdhw", weights, fields)
    return merged
