"""A deformation has to be better than none, by more than what noise gives, or it is not made.

Either everywhere together, or somewhere by far more than it is worse elsewhere: what noise drives gains as much as it
loses, while a structure that has grown gains in one place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.refinement_kernels import gaussian_taps, smooth
from lightcrcf.pipeline.gain import smooth_gain
from lightcrcf.pipeline.pair import WorkingPair
from lightcrcf.pipeline.refine_level import Images, Stage
from lightcrcf.pipeline.schedule import Level, Metric

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
_SMALL = 1e-9
_FOREGROUND = 0.05


def gains(pair: WorkingPair, displacement: Float32, metric: Metric) -> bool:
    """Whether a displacement makes the images of a pair more alike than none does, by more than what noise gives.

    They are compared at half the working resolution, a smooth factor between them aside.

    Args:
        pair: on the working grid.
        displacement: (3, d, h, w) on the working grid or its half, in voxels of it.
        metric: by what they are compared: "lncc", local correlation, "mse", squared differences, or "explained", how
            much of one the other explains, which a smooth factor hardly changes.
    """
    level = Level(2, 1, metric=metric)
    images = Images(pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask, pair.noise)
    stage = Stage(images, level, pair.pool)
    if metric == "lncc":
        channel = stage.channels[0]
        channel.moving *= _even(channel.fixed, channel.moving, (stage.fixed_mask, stage.moving_mask))
    stage.objective(None)
    before = stage.attained
    field = downsample(displacement, pair.pool) if pair.lattice(displacement) is pair.grid else displacement
    stage.objective(field)
    gain = stage.attained - before
    if metric == "mse":
        return gain > _GAIN_NOISE * stage.noise
    if metric == "explained":
        return gain > _GAIN_EXPLAINED
    return gain > _GAIN or (gain > 0 and _gains_somewhere(stage))


def _gains_somewhere(stage: Stage) -> bool:
    """Whether the field of the last objective gains much in one place, and far less is lost in any."""
    images = stage.channels[0]
    radius = stage.level.radius
    mean, square = window_mean(np.stack([images.fixed, images.fixed * images.fixed]), radius)
    variance = np.maximum(square - mean * mean, 0)
    most = np.maximum(variance - stage.noise, 0) / np.maximum(variance, _SMALL)
    before, after = (np.minimum(stage.likeness(moved), most) for moved in (images.moving, images.moved))
    weight = np.sqrt(variance) if stage.weight is None else np.sqrt(variance) * stage.weight
    taps, around = gaussian_taps((_AROUND,) * 3), np.empty((3, *weight.shape), np.float32)
    smooth(np.stack([weight * (after - before), weight * most, weight]), taps, around)
    tissue = images.fixed > _FOREGROUND
    telling = tissue & (around[2] > _TELLING * around[2][tissue].mean()) & (around[1] > _SMALL)
    gains = around[0][telling] / around[1][telling]
    return bool(gains.size) and float(gains.max()) > max(_GAIN_SOMEWHERE, -_TIMES * float(gains.min()))


def _even(fixed: Float32, moving: Float32, masks: tuple[Float32 | None, Float32 | None]) -> Float32:
    """(D, H, W): the smooth factor that brings `moving` closest to `fixed`."""
    tissue = moving > _FOREGROUND
    inside = tissue & (fixed > _FOREGROUND)
    for mask in masks:
        if mask is not None:
            inside &= mask > 0.5
    factor = np.ones_like(moving)
    factor[tissue] = smooth_gain(fixed[inside], moving[inside], np.argwhere(inside), np.argwhere(tissue))
    return factor
