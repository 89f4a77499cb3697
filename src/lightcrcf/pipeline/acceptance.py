"""A deformation has to be better than none, by more than what noise gives, or it is not made."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import downsample
from lightcrcf.pipeline.gain import smooth_gain
from lightcrcf.pipeline.pair import WorkingPair
from lightcrcf.pipeline.refine_level import Stage
from lightcrcf.pipeline.schedule import Level

__all__ = ["gains"]

Float32 = NDArray[np.float32]

# What a deformation must gain: this share of the likeness that noise allows, or of the noise in squared differences.
_GAIN, _GAIN_NOISE = 3e-4, 0.5
_FOREGROUND = 0.05


def gains(pair: WorkingPair, displacement: Float32, metric: Literal["lncc", "mse"]) -> bool:
    """Whether a displacement makes the images of a pair more alike than none does, by more than what noise gives.

    They are compared at half the working resolution, a smooth factor between them aside.

    Args:
        pair: on the working grid.
        displacement: (3, d, h, w) on the working grid or its half, in voxels of it.
        metric: by what they are compared: "lncc", local correlation, or "mse", squared differences.
    """
    level = Level(2, 1, metric=metric)
    stage = Stage(pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask, level, pair.pool, pair.noise)
    if metric == "lncc":
        images = stage.channels[0]
        images.moving *= _even(images.fixed, images.moving, (stage.fixed_mask, stage.moving_mask))
    stage.objective(None)
    before = stage.attained
    stage.objective(downsample(displacement, pair.pool) if pair.lattice(displacement) is pair.grid else displacement)
    return stage.attained - before > (_GAIN_NOISE * stage.noise if metric == "mse" else _GAIN)


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
