"""Augmentation by other contrasts: one image of a pair as a simulated scan of another contrast, mapped back.

Registration across contrasts shows the network one image in the contrast of the other one (`local_regression`). What
that leaves, noise, thick slices, shading and tissues that the other scan cannot tell apart, the network learns here to
live with; the loss compares the images as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv3d, interpolate

from lightcrcf.preprocessing.local_regression import in_contrast_of

__all__ = ["OtherContrast", "sample_contrast", "seen_in_other_contrast", "smooth_factor"]

Shape = tuple[int, int, int]

_TISSUES = (0.03, 0.4, 0.85)  # quantiles of a T1's foreground that lie in liquor, grey and white matter
_DARKEST, _BRIGHTEST, _APART = 0.05, 1.0, (0.15, 0.4)  # intensities of tissues; how far those of the last two differ
_SAMPLED = 101
_THICKEST, _PROFILE = 5.0, 0.38  # voxels of a slice; standard deviation of its profile in slices
_NOISIEST, _SHADING, _SHADING_KNOTS = 0.035, 0.2, 4
_PLACED, _MAPPED_BACK = 0.3, 0.8


@dataclass(frozen=True)
class OtherContrast:
    """Parameters of another contrast.

    Args:
        image: which image of the pair is the scan of another contrast.
        back: whether that one is mapped to the contrast of the other, or the other to it.
        placed: whether the map is estimated where the scan is aligned, as it is once a field was found.
        axis: along which its slices are thick.
        slice_voxels: how thick, in voxels.
        noise: standard deviation.
    """

    image: Literal["fixed", "moving"]
    back: bool
    placed: bool
    axis: int
    slice_voxels: float
    noise: float


def sample_contrast(rng: np.random.Generator) -> OtherContrast:
    """Sample another contrast of one image of a pair."""
    image: Literal["fixed", "moving"] = "moving" if rng.random() < 0.5 else "fixed"
    back, placed = rng.random() < _MAPPED_BACK, rng.random() < _PLACED
    axis, slice_voxels = int(rng.integers(3)), float(rng.uniform(1, _THICKEST))
    return OtherContrast(image, back, placed, axis, slice_voxels, float(rng.uniform(0, _NOISIEST)))


def seen_in_other_contrast(
    pair: tuple[Tensor, Tensor], contrast: OtherContrast, seed: int, pool: Shape = (2, 2, 2)
) -> tuple[Tensor, Tensor]:
    """Return a pair as the network sees it: one image simulated in another contrast, both mapped to one contrast.

    Args:
        pair: fixed and moving image, (D, H, W), 0 in the background.
        contrast: what was drawn.
        seed: of the map of intensities, the shading and the noise.
        pool: downsampling factors of the network.
    """
    generator = torch.Generator().manual_seed(seed)
    own, other = pair[::-1] if contrast.image == "moving" else pair
    scan = _simulated(own, contrast, generator)
    if contrast.back:
        # Where the scan is aligned with the other image it is aligned with what it was made of.
        scan = _mapped(own if contrast.placed else other, scan, pool)
    else:
        other = _mapped(scan, other, pool)
    return (other, scan) if contrast.image == "moving" else (scan, other)


def _mapped(target: Tensor, image: Tensor, pool: Shape) -> Tensor:
    return torch.from_numpy(in_contrast_of(target.numpy(), image.numpy(), pool=pool))


def _simulated(image: Tensor, contrast: OtherContrast, generator: torch.Generator) -> Tensor:
    """Return a scan of what an image shows: intensities mapped, shaded, in thick slices, with noise of magnitudes."""
    foreground = image > 0
    scan = _random_map(image, generator) * smooth_factor(image.shape, _SHADING_KNOTS, _SHADING, generator)
    scan = _in_slices(torch.where(foreground, scan, 0), contrast, generator)
    return torch.where(foreground, scan.clamp_min(_DARKEST), 0)


def _random_map(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return intensities mapped by a random line through those of liquor, grey and white matter."""
    sampled = image[image > 0][::_SAMPLED]
    dark, liquor, grey, apart, sign = torch.rand(5, generator=generator).tolist()
    apart = (_APART[0] + (_APART[1] - _APART[0]) * apart) * (1 if sign < 0.5 else -1)
    lowest, highest = _DARKEST + max(-apart, 0), _BRIGHTEST - max(apart, 0)
    grey = lowest + (highest - lowest) * grey
    shades = [_DARKEST + (_BRIGHTEST - _DARKEST) * each for each in (dark, liquor)] + [grey, grey + apart]
    knots = np.maximum.accumulate([0.0, *torch.quantile(sampled, torch.tensor(_TISSUES)).tolist()])
    return torch.from_numpy(np.interp(image.numpy(), knots, shades).astype(np.float32))


def _in_slices(image: Tensor, contrast: OtherContrast, generator: torch.Generator) -> Tensor:
    """Return an image as thick slices with noise of magnitudes show it, interpolated between them."""
    across, deviation = image.movedim(contrast.axis, 0)[None, None], _PROFILE * contrast.slice_voxels
    radius = int(np.ceil(2.6 * deviation))
    profile = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / deviation) ** 2)
    blurred = conv3d(across, (profile / profile.sum()).view(1, 1, -1, 1, 1), padding=(radius, 0, 0))
    size = across.shape[2:]
    slices = (max(round(size[0] / contrast.slice_voxels), 1), *size[1:])
    scan = interpolate(blurred, size=slices, mode="trilinear")[0, 0]
    real, imaginary = contrast.noise * torch.randn((2, *slices), generator=generator)
    scan = torch.hypot(scan + real, imaginary)[None, None]
    return interpolate(scan, size=size, mode="trilinear")[0, 0].movedim(0, contrast.axis).contiguous()


def smooth_factor(shape: torch.Size, knots: int, deviation: float, generator: torch.Generator) -> Tensor:
    """Return a smooth factor for each voxel: the exponential of noise of this deviation on a coarse grid."""
    values = deviation * torch.randn((1, 1, *(knots,) * 3), generator=generator)
    return interpolate(values, size=shape, mode="trilinear", align_corners=True)[0, 0].exp()
