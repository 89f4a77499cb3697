"""Pairs of images and levels of a schedule as rows, for the native refinement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.preprocessing.noise import Noise
from lightcrcf.refinement.images import Images
from lightcrcf.refinement.schedule import Level

__all__ = ["level_objective", "level_row", "pair_row"]

Row = tuple[Any, ...]


def level_objective(pairs: Sequence[Images], level: Level, pool: tuple[int, int, int]) -> _core.LevelObjective:
    """Return the objective of a refinement at one level.

    It keeps the arrays of the pairs. Its images are those of the first pair.

    Args:
        pairs: at full resolution.
        level: of a schedule.
        pool: downsampling factor between two levels along each axis.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).random((6, 7, 8), np.float32)
        >>> round(level_objective([Images(image, image)], Level(1, 1), (2, 2, 2)).evaluate(None), 2)
        1.0
    """
    return _core.LevelObjective([pair_row(pair) for pair in pairs], level_row(level, pairs), pool)


def pair_row(images: Images) -> Row:
    """Return fixed and moving image, both masks, the noise, whether each was masked, and the share."""
    masks = (None if mask is None else contiguous(mask) for mask in (images.fixed_mask, images.moving_mask))
    noise = None if images.noise is None else _noise_rows(images.noise)
    masked = bool(images.masked[0]), bool(images.masked[1])
    return contiguous(images.fixed), contiguous(images.moving), *masks, noise, masked, float(images.share)


def _noise_rows(noise: Noise) -> Row:
    """Return variance, size and unit of each image."""
    variances = noise.fixed, noise.moving
    return tuple(zip(map(float, variances), map(float, noise.sizes), map(float, noise.units), strict=True))


def level_row(level: Level, pairs: Sequence[Images]) -> Row:
    """Return the numbers of a level, its candidates, and how each pair is compared."""
    numbers = level.step, level.momentum, level.force, level.volume, level.background, level.min_merge_ratio
    candidates = [(kind.backward, *map(float, kind.sigmas)) for kind in level.candidates()]
    measures = [_measure(level if pair.across is None else level.comparing(across=pair.across)) for pair in pairs]
    return level.scale, level.image_scale, level.steps, *map(float, numbers), candidates, measures


def _measure(level: Level) -> Row:
    return level.metric, level.radius, float(level.contrast), float(level.contrast_sigma)
