"""Dice and folding on subjects that the network does not train on, while it trains."""

from __future__ import annotations

import numpy as np
import torch

from lightcrcf.evaluation.metrics import dice
from lightcrcf.evaluation.regularity import folding_percent
from lightcrcf.geometry.kernels import resample
from lightcrcf.network import sampling
from lightcrcf.network.model import LightCRCF
from lightcrcf.pipeline.preprocess import working_grid
from lightcrcf.training.data import Subject

__all__ = ["monitor"]


def monitor(model: LightCRCF, subjects: list[Subject], spacing_mm: float, finest: int) -> dict[str, float]:
    """Mean over the cyclic pairs (each subject is fixed once, the next one moving).

    Returns:
        dice_affine and dice (mean over labels, then pairs), folding_percent of the half-resolution field.
    """
    rows = []
    plain = model.fuse()
    for fixed, moving in zip(subjects, [*subjects[1:], subjects[0]], strict=True):
        grid = working_grid(fixed.image, spacing_mm)
        world = moving.from_reference.compose(fixed.from_reference.inverse()).matrix
        images = (fixed.image.onto(grid), moving.image.onto(grid, world))
        device = next(plain.parameters()).device
        with torch.no_grad():
            pair = (torch.from_numpy(image)[None, None].to(device) for image in images)
            field = plain(*pair, finest)[-1]
            for _ in range(finest):
                field = sampling.upsample(field)
        rows.append(_scores(fixed, moving, grid, world, field[0].cpu().numpy()))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _scores(fixed: Subject, moving: Subject, grid, world, field) -> dict[str, float]:
    if fixed.labels is None or moving.labels is None:
        raise ValueError("monitor subjects carry labels")
    target = resample(fixed.labels.data, grid.shape, grid.to(fixed.labels.grid)[:3], interpolation="nearest")
    step = moving.labels.grid.inverse @ world @ grid.affine
    half = grid.half()
    options = {
        "field": field,
        "field_matrix": grid.to(half)[:3],
        "vector_matrix": (moving.labels.grid.inverse @ world @ half.affine)[:3, :3],
    }
    affine = resample(moving.labels.data, grid.shape, step[:3], interpolation="nearest")
    moved = resample(moving.labels.data, grid.shape, step[:3], interpolation="nearest", **options)
    common = np.intersect1d(np.unique(fixed.labels.data), np.unique(moving.labels.data))
    codes = [int(c) for c in common if c != 0]
    return {
        "dice_affine": float(np.nanmean(list(dice(target, affine, codes).values()))),
        "dice": float(np.nanmean(list(dice(target, moved, codes).values()))),
        "folding_percent": folding_percent(field),
    }
