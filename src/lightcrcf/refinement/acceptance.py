"""A deformation has to be better than none, by more than what noise gives, or it is not made.

Either everywhere together, or somewhere by far more than it is worse elsewhere: what noise drives gains as much as it
loses, while a structure that has grown gains in one place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.refinement_kernels import gaussian
from lightcrcf.preprocessing.bias_field import smooth_gain
from lightcrcf.refinement.rows import level_objective
from lightcrcf.refinement.schedule import Level, Metric
from lightcrcf.refinement.working_pair import WorkingPair

__all__ = ["gains"]

Float32 = NDArray[np.float32]

# What a deformation must gain: this share of the likeness that noise allows, or of the noise in squared differences.
_GAIN, _GAIN_NOISE = 5e-3, 0.5
# Across contrasts, where slices are thick, a person's own T1 gains .03 (T2) and .05 (FLAIR) by a field that should be
# none, in some places far more than in others; two persons gain .3 and more.
_GAIN_EXPLAINED = 0.06
# Or in one place so much, and so many times what it loses in any. Rescans (noise, bias) gain up to .008, 1.2 times what
# they lose; structures that changed by 10 % gain .003 to .02, 2.5 times and more. Over so many voxels, twice.
_GAIN_SOMEWHERE, _TIMES, _AROUND = 2e-3, 2.0, 4.0
_TELLING = 0.1  # of the mean weight of a window: with less a place tells nothing
_RADIUS = 3  # of windows, voxels
_SMALL, _LEAST = 1e-9, 1e-30
_FOREGROUND = 0.05


def gains(pairs: Sequence[WorkingPair], displacement: Float32, metrics: Sequence[Metric]) -> bool:
    """Return whether a displacement raises the similarity of all pairs by more than noise would.

    They are compared at half the working resolution, a smooth factor between them aside. Of several pairs the mean gain
    counts, each in units of what it must gain alone; a gain in one place may be that of any, a loss as well.

    Args:
        pairs: on the working grid.
        displacement: (3, d, h, w) on the working grid or its half, in voxels of it.
        metrics: by what each pair is compared: "lncc", local correlation, "mse", squared differences, or "explained",
            how much of one image the other explains, which a smooth factor hardly changes.
    """
    first, gained, somewhere = pairs[0], 0.0, list[tuple[float, float]]()
    whole = first.lattice(displacement) is first.grid
    field = downsample(displacement, first.pool) if whole else displacement
    for pair, metric in zip(pairs, metrics, strict=True):
        objective = level_objective([pair.compared_as(None)], Level(2, 1, radius=_RADIUS, metric=metric), pair.pool)
        gain = _gain(objective, field, metric)
        gained += pair.share * gain
        if metric == "lncc" and gain <= 1:
            somewhere.append(_extremes(objective))
    if gained > 1 or gained <= 0 or not somewhere:
        return gained > 1
    most, least = max(high for high, _ in somewhere), min(low for _, low in somewhere)
    return most > max(_GAIN_SOMEWHERE, -_TIMES * least)


def _gain(objective: _core.LevelObjective, field: Float32, metric: Metric) -> float:
    """Return the gain of the field in units of the least accepted one; leave the images moved by it."""
    if metric == "lncc":
        masks = objective.fixed_mask, objective.moving_mask
        objective.multiply_moving(_even(objective.fixed, objective.moving, masks))
    objective.evaluate(None)
    before = objective.attained
    objective.evaluate(contiguous(field))
    gain = objective.attained - before
    if metric == "mse":
        return gain / max(_GAIN_NOISE * objective.noise, _LEAST)
    return gain / (_GAIN_EXPLAINED if metric == "explained" else _GAIN)


def _extremes(objective: _core.LevelObjective) -> tuple[float, float]:
    """The most that the field of the last objective gains in one place, and the least; 0 where no place tells."""
    fixed = objective.fixed
    mean, square = window_mean(np.stack([fixed, fixed * fixed]), _RADIUS)
    variance = np.maximum(square - mean * mean, 0)
    most = np.maximum(variance - objective.noise, 0) / np.maximum(variance, _SMALL)
    before, after = (np.minimum(_similarity(objective, image), most) for image in (objective.moving, objective.moved))
    weight = np.sqrt(variance) if objective.weight is None else np.sqrt(variance) * objective.weight
    around = gaussian(np.stack([weight * (after - before), weight * most, weight]), (_AROUND,) * 3)
    tissue = fixed > _FOREGROUND
    telling = tissue & (around[2] > _TELLING * around[2][tissue].mean()) & (around[1] > _SMALL)
    gains = around[0][telling] / around[1][telling]
    return (float(gains.max()), float(gains.min())) if gains.size else (0.0, 0.0)


def _similarity(objective: _core.LevelObjective, moved: Float32) -> Float32:
    """Return the local similarity of the fixed and a moved image, (D, H, W)."""
    out = np.empty(moved.shape, np.float32)
    objective.local_similarity(moved, out)
    return out


def _even(fixed: Float32, moving: Float32, masks: tuple[Float32 | None, Float32 | None]) -> Float32:
    """(D, H, W): the smooth factor that brings `moving` closest to `fixed`."""
    tissue = moving > _FOREGROUND
    inside = tissue & (fixed > _FOREGROUND)
    for mask in masks:
        if mask is not None:
            inside &= mask > 0.5
    factor = np.ones(moving.shape, np.float32)
    factor[tissue] = smooth_gain(fixed[inside], moving[inside], np.argwhere(inside), np.argwhere(tissue))
    return factor
