"""Validation during training: Dice and folding of subjects outside the training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightcrcf.evaluation.labels import label_codes
from lightcrcf.evaluation.metrics import dice
from lightcrcf.evaluation.regularity import folding_percent
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import warp_upsampled
from lightcrcf.network import sampling
from lightcrcf.network.config import Shape
from lightcrcf.network.model import LightCRCF
from lightcrcf.preprocessing.normalization import working_grid
from lightcrcf.training.config import Data
from lightcrcf.training.data import Subject
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField

__all__ = ["monitor"]

IDENTITY = Chain(Affine.identity(), None, Affine.identity())


def monitor(
    model: LightCRCF,
    subjects: list[Subject],
    data: Data,
    finest: int,
    pairs: Sequence[tuple[Subject, Subject]] | None = None,
) -> tuple[dict[str, float], NDArray[np.float32]]:
    """Return mean scores over pairs, and an image of the first pair.

    Args:
        model: the network in training.
        subjects: images with labels.
        data: their preparation.
        finest: finest trained level.
        pairs: (fixed, moving); by default each image is fixed once, and the next one, of another or of the same
            subject, moving.

    Returns:
        dice_affine and dice (mean over labels, then pairs), folding_percent of the half-resolution field; and an
        image (H, W) of the first pair: fixed, moving and warped image, side by side.
    """
    rows, pictures = [], []
    fused = model.fuse()
    for fixed, moving in _pairs(subjects, data.cohorts[0].within) if pairs is None else pairs:
        preparation = data.preparation
        grid = working_grid(
            fixed.image, preparation.spacing_mm, multiples=fused.config.multiples, view=preparation.view
        )
        world = moving.from_reference.compose(fixed.from_reference.inverse()).matrix
        images = (fixed.image.resample_to(grid), moving.image.resample_to(grid, world))
        device = next(fused.parameters()).device
        with torch.no_grad():
            pair = (torch.from_numpy(image)[None, None].to(device) for image in images)
            field = fused(*pair, finest)[-1]
            for _ in range(finest):
                field = sampling.upsample(field, fused.config.pool)
        displacement = field[0].cpu().numpy()
        rows.append(_scores(fixed, moving, grid, world, displacement, fused.config.pool))
        moved = warp_upsampled(images[1][None], displacement, fused.config.pool)[0]
        pictures.append(np.concatenate([image[:, ::-1, image.shape[2] // 2].T for image in (*images, moved)], axis=1))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, pictures[0]


def _pairs(subjects: list[Subject], within: bool) -> list[tuple[Subject, Subject]]:
    if not within:
        return list(zip(subjects, [*subjects[1:], subjects[0]], strict=True))
    by_subject = [[s for s in subjects if s.name == name] for name in dict.fromkeys(s.name for s in subjects)]
    return [pair for images in by_subject for pair in zip(images, [*images[1:], images[0]], strict=True)]


def _scores(
    fixed: Subject,
    moving: Subject,
    grid: Grid,
    world: NDArray[np.float64],
    displacement: NDArray[np.float32],
    pool: Shape,
) -> dict[str, float]:
    if fixed.labels is None or moving.labels is None:
        raise ValueError("monitored subjects need labels")
    chain = Chain(Affine.identity(), DisplacementField(grid.half(pool), displacement), Affine(world))
    target, affine, moved = (
        transform.resample(labels, grid, "nearest").data
        for transform, labels in (
            (IDENTITY, fixed.labels),
            (Chain(Affine.identity(), None, Affine(world)), moving.labels),
            (chain, moving.labels),
        )
    )
    common = np.intersect1d(label_codes(fixed.labels.data), label_codes(moving.labels.data)).tolist()
    return {
        "dice_affine": float(np.nanmean(list(dice(target, affine, common).values()))),
        "dice": float(np.nanmean(list(dice(target, moved, common).values()))),
        "folding_percent": folding_percent(displacement),
    }
