"""Augmentation: a pair of images resampled anew at every training step.

`sample_augmentation` draws all that is random; `render` is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lightcrcf.evaluation.labels import code_indices
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.label_kernels import label_fractions
from lightcrcf.network import sampling
from lightcrcf.training.augmentation.contrasts import (
    OtherContrast,
    sample_contrast,
    seen_in_other_contrast,
    smooth_factor,
)
from lightcrcf.training.config import Augment, Data
from lightcrcf.training.data import Subject

__all__ = [
    "AugmentationParams", "Labels", "RenderedPair", "known_displacement", "render", "render_labels",
    "sample_augmentation", "seen",
]  # fmt: skip

Float64 = NDArray[np.float64]
Shape = tuple[int, int, int]
Labels = tuple[Tensor, Tensor] | None

_SHADING_KNOTS = 4  # along each axis of a crop
_KNOWN_KNOTS = (5, 10)  # of a known field along each axis of a crop: its large and its small parts
_KNOWN_SHARES = (0.9, 0.3)  # of its standard deviation


@dataclass(frozen=True, eq=False)
class AugmentationParams:
    """The augmentation parameters of one pair.

    Args:
        pose: (4, 4) in mm about the centre of the fixed image, applied to both images; None keeps the fixed grid.
        misalign: (4, 4) in mm about the same centre, applied to the moving image only.
        flip: mirror both images left to right.
        gammas: exponents of the fixed and the moving intensities.
        noise_seed: seed of noise and shading of both images.
        known: of a pair of one image twice, the standard deviation in voxels of the smooth random field that lies
            between them, 0 for none; None for two images.
        contrast: what the network sees of one image in another contrast; None for both images as they are.
    """

    pose: Float64 | None
    misalign: Float64
    flip: bool
    gammas: tuple[float, float]
    noise_seed: int
    known: float | None = None
    contrast: OtherContrast | None = None


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """A pair as the network and the loss see it.

    Args:
        fixed, moving: (1, 1, D, H, W) that are compared.
        seen: the same as the network sees them, one of them maybe from another contrast.
        truth: (1, 3, D, H, W) voxels, the displacement that aligns them, where it is known.
        labels: (1, K, d, h, w) each.
    """

    fixed: Tensor
    moving: Tensor
    seen: tuple[Tensor, Tensor]
    truth: Tensor | None = None
    labels: Labels = None


def _random_affine(
    rng: np.random.Generator, rotation_deg: float, scale: float, shear: float, shift_mm: float
) -> Float64:
    """Return (4, 4): scaling and shear, then rotation about a random axis, then translation."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(rng.normal() * rotation_deg)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    stretch = np.diag(np.exp(rng.normal(size=3) * scale)) + np.triu(rng.normal(size=(3, 3)) * shear, 1)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ stretch
    matrix[:3, 3] = rng.normal(size=3) * shift_mm
    return matrix


def sample_augmentation(rng: np.random.Generator, augment: Augment) -> AugmentationParams:
    """Sample the augmentation of one pair."""
    has_pose = rng.random() < augment.pose_probability
    pose = _random_affine(rng, augment.rotation_deg, augment.scale, augment.shear, augment.shift_mm)
    misalign = _random_affine(
        rng, augment.misalign_rotation_deg, augment.misalign_scale, 0.0, augment.misalign_shift_mm
    )
    gammas = np.exp(rng.normal(size=2) * augment.gamma)
    flip = bool(rng.random() < augment.flip_probability)
    seed = int(rng.integers(2**31))
    # Drawn only where it is asked for: resumed runs of older recipes draw what they drew.
    identical = augment.identical_probability > 0 and bool(rng.random() < augment.identical_probability)
    known = 0.0 if identical else _known(rng, augment)
    chance = augment.contrast_probability
    contrast = sample_contrast(rng) if chance > 0 and rng.random() < chance else None
    return AugmentationParams(
        pose if has_pose else None, misalign if known is None else np.eye(4), flip,
        (float(gammas[0]), float(gammas[1])), seed, known, contrast,
    )  # fmt: skip


def _known(rng: np.random.Generator, augment: Augment) -> float | None:
    """Return the standard deviation of a known field in voxels; None for a pair without one."""
    if augment.known_probability == 0 or rng.random() >= augment.known_probability:
        return None
    return float(rng.uniform(0, augment.known_voxels))


def pair_geometry(
    fixed: Subject, moving: Subject, params: AugmentationParams, data: Data
) -> tuple[Grid, Float64, Float64]:
    """Return the crop of a pair, a grid of `data.shape` voxels about the foreground of the fixed image.

    Returns:
        The grid, and (4, 4) matrices from its RAS mm to RAS mm of the fixed and the moving image.
    """
    centre_voxel = (fixed.image.box[0] + fixed.image.box[1] + 1) / 2
    native = fixed.image.grid.spacing_mm
    spacing = np.array(data.preparation.spacing_mm or native)
    if params.pose is None and np.allclose(native, spacing, rtol=1e-3):
        grid = fixed.image.grid.crop(np.round(centre_voxel - np.array(data.shape) / 2), data.shape)
    else:
        step = np.diag([*(spacing / native), 1.0])
        scaled = Grid(fixed.image.grid.shape, fixed.image.grid.affine @ step)
        grid = scaled.crop(centre_voxel / np.diag(step)[:3] - np.array(data.shape) / 2, data.shape)
    centre = np.eye(4)
    centre[:3, 3] = fixed.image.grid.world(centre_voxel)
    about = np.linalg.inv(centre)
    pose = np.eye(4) if params.pose is None else centre @ params.pose @ about
    to_moving = moving.from_reference.compose(fixed.from_reference.inverse()).matrix @ centre @ params.misalign @ about
    return grid, pose, to_moving @ pose


def render(
    fixed: Subject,
    moving: Subject,
    params: AugmentationParams,
    data: Data,
    augment: Augment,
    truth: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Resample both images of a pair on one grid with augmentation; see `pair_geometry`.

    Args:
        fixed, moving, params, data, augment: of the pair.
        truth: `known_displacement`, if it is known: the fixed image is then the moving one, moved by it.

    Returns:
        Fixed and moving image, (D, H, W) float32 on the CPU.
    """
    grid, *matrices = pair_geometry(fixed, moving, params, data)
    images = [torch.from_numpy(s.image.resample_to(grid, m)) for s, m in zip((fixed, moving), matrices, strict=True)]
    if truth is not None and params.known:
        images[0] = sampling.warp(images[1][None, None], _mirrored(truth, params)[None])[0, 0]
    generator = torch.Generator().manual_seed(params.noise_seed)
    pair = [
        augment_intensity(i, g, augment.noise, generator, augment.shading)
        for i, g in zip(images, params.gammas, strict=True)
    ]
    fixed_image, moving_image = (image.flip(0) for image in pair) if params.flip else pair
    return fixed_image, moving_image


def known_displacement(params: AugmentationParams, shape: Shape) -> Tensor | None:
    """Return the displacement that aligns the pair, (3, D, H, W) voxels; None where it is not known."""
    if params.known is None:
        return None
    return _mirrored(_known_field(params, shape), params)


def _mirrored(field: Tensor, params: AugmentationParams) -> Tensor:
    """Return a displacement of the mirrored pair, or, of such a one, that of the pair as it was."""
    return field.flip(1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1) if params.flip else field


def _known_field(params: AugmentationParams, shape: Shape) -> Tensor:
    """Return a smooth random field, (3, D, H, W) voxels, before the pair is mirrored."""
    generator, field = torch.Generator().manual_seed(params.noise_seed + 1), torch.zeros(1, 3, *shape)
    for knots, share in zip(_KNOWN_KNOTS, _KNOWN_SHARES, strict=True):
        values = share * (params.known or 0.0) * torch.randn((1, 3, *(knots,) * 3), generator=generator)
        between = interpolate(values, size=(3 * knots,) * 3, mode="trilinear", align_corners=True)
        between = torch.nn.functional.avg_pool3d(between, 3, stride=1, padding=1, count_include_pad=False)
        field += interpolate(between, size=shape, mode="trilinear", align_corners=True)
    return field[0]


def seen(pair: tuple[Tensor, Tensor], params: AugmentationParams, pool: Shape) -> tuple[Tensor, Tensor]:
    """Return a pair as a network with this `pool` sees it: as it is, or one image of another contrast."""
    if params.contrast is None:
        return pair
    return seen_in_other_contrast(pair, params.contrast, params.noise_seed + 2, pool)


def render_labels(
    fixed: Subject, moving: Subject, params: AugmentationParams, data: Data, structures: int, blocks: Shape = (1, 1, 1)
) -> tuple[Tensor, Tensor]:
    """Resample label maps of a pair on the grid of `render`, for labels sampled from those of both subjects.

    Args:
        fixed, moving, params, data: as for `render`.
        structures: maximum number of labels.
        blocks: edge lengths of the blocks of voxels to average over.

    Returns:
        Fixed and moving maps, (K, d, h, w) float32 in [0, 1] on the CPU; K is at most `structures`.
    """
    common = np.intersect1d(fixed.codes, moving.codes)
    codes = np.sort(np.random.default_rng(params.noise_seed).permutation(common)[:structures])
    grid, *matrices = pair_geometry(fixed, moving, params, data)
    maps = []
    for subject, matrix in zip((fixed, moving), matrices, strict=True):
        if subject.labels is None:
            raise ValueError(f"the labels of {subject.name} were not read")
        step = subject.labels.grid.inverse @ matrix @ grid.affine
        labels = resample(subject.labels.data, grid.shape, step[:3], interpolation="nearest")
        fractions = torch.from_numpy(label_fractions(code_indices(labels, codes), len(codes), blocks))
        maps.append(fractions.flip(1) if params.flip else fractions)
    return maps[0], maps[1]


def augment_intensity(
    image: Tensor, gamma: float, noise: float, generator: torch.Generator, shading: float = 0.0
) -> Tensor:
    """Apply gamma, shading and noise to the foreground, in place; the background stays zero."""
    foreground = image > 0
    image.pow_(gamma)
    if shading > 0:
        image.mul_(smooth_factor(image.shape, _SHADING_KNOTS, shading, generator))
    return image.add_(torch.randn(image.shape, generator=generator) * foreground, alpha=noise)
