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

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.determinant import determinants_at, even_out, jacobian_determinant, voxels_around
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.geometry.step_kernels import accumulate, compose_step
from lightcrcf.geometry.threads import use_threads
from lightcrcf.refinement.images import Compared, Images
from lightcrcf.refinement.schedule import Level

__all__ = ["Stage"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]

_AROUND, _DECISIVE = 1.5, 0.2  # over how many voxels likeness is compared, twice, and a difference that counts
_TYPICAL = 0.99  # the share of foreground vectors that are left as long as they are
_LEAST_UNIT = 1e-12  # of a force; less is of images that show nothing
_LEAST_DETERMINANT = 0.05
_STALLED = 1e-5  # relative change of the objective by a step below which a level ends
_LEAST_SHARE = 1 / 4  # of the usual length of a step
# Of the evening out of volumes: once, and each time where that is not enough; nothing smooths in between.
_EVEN_ONCE, _EVEN_EACH, _EVEN_TIMES = 0.65, 0.4, 8
_ALONE = 2**15  # voxels of a grid: up to here waking a second thread takes longer than it saves
# How far what is about to fold goes back, and how many voxels around it; after three tries only for what folds.
_TRIES, _BACK = 3, ((0.5, 2), (0.5, 2), (0.5, 2), (1.0, 2), (1.0, 3), (1.0, 4))


class Stage:
    """All pairs at one resolution, and buffers that all steps share.

    Args:
        given: what is compared, at full resolution; one pair, or several of which the first one leads: its units are
            those of forces.
        level: of the schedule.
        pool: factor between two resolutions along each axis.

    Memory that is touched for the first time costs about as much time as the kernels that fill it. Beside the field and
    the velocity two buffers are enough: `one` holds the terms of the last objective, then the smoothed force, then the
    composed field; `other` the force, then the step, then the candidate, and the field before once that is taken. The
    forces of further pairs go through `one` as well.
    """

    def __init__(self, given: Images | Sequence[Images], level: Level, pool: Shape) -> None:
        self.level = level
        self.pairs = [Compared(each, level, pool) for each in ([given] if isinstance(given, Images) else given)]
        self.first = self.pairs[0]
        self.one = self.first.terms[:3]
        self.other, self.velocity = (np.empty_like(self.one) for _ in range(2))
        self._smooth_by(level.force_sigma, level.field_sigma)

    def _smooth_by(self, *sigmas: float) -> None:
        self.force_taps, self.field_taps = (gaussian_taps((s, s, s)) for s in sigmas)

    def objective(self, field: Float32 | None) -> float:
        """Of `field`, or where None of no displacement; leaves behind what `pull` needs.

        Of several pairs it is the mean by their shares, each as much of that as it covers of the first fixed image's
        foreground.
        """
        scores = [pair.objective(field) for pair in self.pairs]
        if len(self.pairs) == 1:
            self.counted = self.first.counted
            return scores[0]
        counts = [pair.counts(self.first.sample) for pair in self.pairs]
        self.counted = np.logical_or.reduce(counts)
        covered = [p.share * max(int(np.count_nonzero(c)), 1) for p, c in zip(self.pairs, counts, strict=True)]
        return float(sum(c / sum(covered) * score for c, score in zip(covered, scores, strict=True)))

    def pull(self) -> float:
        """The smoothed force at the field of the last `objective`, in `one`; its typical length is returned.

        The forces of all pairs are added by their shares, each in units of its own.
        """
        self.first.force(self.other)
        kept = self.first.share
        for pair in self.pairs[1:]:
            pair.force(self.one)
            accumulate(self.other, kept, self.one, pair.share * self.first.unit / max(pair.unit, _LEAST_UNIT))
            kept = 1.0
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
        return self.level.step / max(typical, self.level.force * self.first.unit)

    def step(self, field: Float32) -> Float32 | None:
        """field o (id + v), v the velocity, smoothed and evened out; in `other`, or None if that folds."""
        compose_step(field, self.velocity, 1.0, self.level.step, self.one)
        smooth(self.one, self.field_taps, self.other)
        determinants = self.one[0]
        for rate in _rates(self.level.volume):
            even_out(self.other, jacobian_determinant(self.other, determinants), rate)
        return _unfolded(self.other, field, determinants)

    def most_alike(self, fields: Sequence[Float32]) -> Float32:
        """Of several fields, place by place the one that makes the images most alike around; mixed where more do.

        Their shares grow with the exponential of the local correlation squared, as in a softmax.
        """
        taps, moved, around = gaussian_taps((_AROUND,) * 3), np.empty_like(fields[0][0]), np.empty_like(fields[0])
        likeness = np.zeros((-(-len(fields) // 3), 3, *moved.shape), np.float32)
        by_field = likeness.reshape(-1, *moved.shape)[: len(fields)]
        for field, like in zip(fields, by_field, strict=True):
            for pair in self.pairs:
                warp(pair.channels[0].moving[None], field, moved[None])
                like += np.float32(pair.share) * pair.likeness(moved)
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
