"""Validation during training: Dice, local correlation and folding of subjects outside the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lightcrcf.evaluation.labels import label_codes
from lightcrcf.evaluation.metrics import dice
from lightcrcf.evaluation.regularity import folding_percent, sdlogj
from lightcrcf.geometry.kernels import warp_upsampled
from lightcrcf.network import sampling
from lightcrcf.network.model import LightCRCF
from lightcrcf.preprocessing.normalization import working_grid
from lightcrcf.training.cohort import Data
from lightcrcf.training.compiled import window_mean
from lightcrcf.training.data import Subject
from lightcrcf.training.losses import lncc
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes.volume import Volume

__all__ = ["Watched", "monitor"]

Float32 = NDArray[np.float32]

IDENTITY = Chain(Affine.identity(), None, Affine.identity())
_WINDOW = 7  # voxels; the same in all stages, so that scores compare


@dataclass(frozen=True, eq=False)
class Watched:
    """A registered pair, to look at.

    Args:
        names: of the fixed and of the moving subject.
        fixed, moving: prepared images, the first on the working grid.
        moved: moving image after affine and field, on the working grid.
        affine: moving image after the affine, on the working grid.
        chain: from fixed to moving points.
    """

    names: tuple[str, str]
    fixed: Volume
    moving: Volume
    moved: Volume
    affine: Float32
    chain: Chain

    @property
    def masks(self) -> tuple[None, None]:
        """No masks: all voxels count."""
        return None, None

    @property
    def picture(self) -> Float32:
        """An image (H, W): fixed, affinely aligned and moved image, side by side."""
        images = (np.asarray(self.fixed.data), self.affine, np.asarray(self.moved.data))
        return np.concatenate([image[:, ::-1, image.shape[2] // 2].T for image in images], axis=1)


def monitor(
    model: LightCRCF,
    subjects: list[Subject],
    data: Data,
    finest: int,
    pairs: Sequence[tuple[Subject, Subject]] | None = None,
) -> tuple[dict[str, float], Watched]:
    """Return mean scores over pairs, and the first pair.

    Args:
        model: the network in training.
        subjects: images, with or without labels.
        data: their preparation.
        finest: finest trained level.
        pairs: (fixed, moving); by default each image is fixed once, and the next one, of another or of the same
            subject, moving.

    Returns:
        dice_affine and dice (mean over labels, then pairs) if there are labels, correlation_affine and correlation
        (squared local correlation in the fixed foreground), folding_percent and sdlogj of the half-resolution field.
    """
    rows, watched = [], None
    fused = model.fuse()
    for fixed, moving in _pairs(subjects, data.cohorts[0].within) if pairs is None else pairs:
        pair, displacement = _registered(fused, fixed, moving, data, finest)
        rows.append(_scores(fixed, moving, pair, displacement))
        watched = watched or pair
    if watched is None:
        raise ValueError("no pair to monitor")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}, watched


def _registered(fused: LightCRCF, fixed: Subject, moving: Subject, data: Data, finest: int) -> tuple[Watched, Float32]:
    """Return a registered pair, and the displacement on half of the working grid, (3, d, h, w)."""
    preparation, pool = data.preparation, fused.config.pool
    grid = working_grid(fixed.image, preparation.spacing_mm, multiples=fused.config.multiples, view=preparation.view)
    world = moving.from_reference.compose(fixed.from_reference.inverse()).matrix
    images = (fixed.image.resample_to(grid), moving.image.resample_to(grid, world))
    device = next(fused.parameters()).device
    with torch.no_grad():
        pair = (torch.from_numpy(image)[None, None].to(device) for image in images)
        field = fused(*pair, finest)[-1]
        for _ in range(finest):
            field = sampling.upsample(field, pool)
    displacement = field[0].cpu().numpy()
    moved = warp_upsampled(images[1][None], displacement, pool)[0]
    chain = Chain(Affine.identity(), DisplacementField(grid.half(pool), displacement), Affine(world))
    volumes = (Volume(images[0], grid), Volume(moving.image.data, moving.image.grid), Volume(moved, grid))
    return Watched((fixed.name, moving.name), *volumes, images[1], chain), displacement


def _pairs(subjects: list[Subject], within: bool) -> list[tuple[Subject, Subject]]:
    if not within:
        return list(zip(subjects, [*subjects[1:], subjects[0]], strict=True))
    by_subject = [[s for s in subjects if s.name == name] for name in dict.fromkeys(s.name for s in subjects)]
    return [pair for images in by_subject for pair in zip(images, [*images[1:], images[0]], strict=True)]


def _scores(fixed: Subject, moving: Subject, pair: Watched, displacement: Float32) -> dict[str, float]:
    scores = {} if fixed.labels is None or moving.labels is None else _overlaps(fixed.labels, moving.labels, pair)
    return {
        **scores,
        "correlation_affine": _correlation(pair.fixed.data, pair.affine),
        "correlation": _correlation(pair.fixed.data, pair.moved.data),
        "folding_percent": folding_percent(displacement),
        "sdlogj": sdlogj(displacement),
    }


def _correlation(fixed: Float32, moved: Float32) -> float:
    """Return the mean squared local correlation in the fixed foreground."""
    images = [torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None] for image in (fixed, moved)]
    return 1.0 - float(lncc(*images, window=_WINDOW, weight=(images[0] > 0).float(), mean=window_mean))


def _overlaps(fixed: Volume, moving: Volume, pair: Watched) -> dict[str, float]:
    before, grid = Chain(Affine.identity(), None, pair.chain.after), pair.fixed.grid
    target, affine, moved = (
        transform.resample(labels, grid, "nearest").data
        for transform, labels in ((IDENTITY, fixed), (before, moving), (pair.chain, moving))
    )
    common = np.intersect1d(label_codes(fixed.data), label_codes(moving.data)).tolist()
    return {
        "dice_affine": float(np.nanmean(list(dice(target, affine, common).values()))),
        "dice": float(np.nanmean(list(dice(target, moved, common).values()))),
    }
