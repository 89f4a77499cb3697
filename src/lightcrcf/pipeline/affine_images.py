"""The images that affine alignment compares: thinned out, on common intensity terms, with what may be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.alignment_kernels import box_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.pipeline.foreground import Content, content, foreground, litres, thin_out
from lightcrcf.volumes.volume import Volume

__all__ = ["Level", "Source", "localised", "pyramid"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Samples to a foreground at the finest level: about 2 mm for a brain, 3 mm for a head, 1 mm for a hippocampus.
_SAMPLES = 160_000
# Window of the local normalisation: 7 voxels, 14 mm in a brain. Its floor is a share of the image's range.
_WINDOW, _FLOOR = 3, 0.05


@dataclass(frozen=True, eq=False)
class Level:
    """One image at one resolution.

    Args:
        image: (D, H, W) float32 with background at zero.
        foreground: (D, H, W) float32, 1 in tissue.
        samples: (D, H, W) float32, 1 where this image is compared with the other one.
        valid: (D, H, W) float32, 1 where the other image's samples may read this one.
        grid: where the voxels lie.
    """

    image: Float32
    foreground: Float32
    samples: Float32
    valid: Float32
    grid: Grid

    def centroid_mm(self) -> Float64:
        """(3,) centre of the foreground in RAS mm."""
        sums = [self.foreground.sum(axis=tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
        return self.grid.world([np.arange(len(s)) @ s / s.sum() for s in sums])

    def radius_mm(self) -> float:
        """Radius of the ball with the foreground's volume."""
        return float((litres(self.foreground > 0, self.grid) * 1e6 * 3 / (4 * np.pi)) ** (1 / 3))


@dataclass(frozen=True, eq=False)
class Source:
    """A volume to align: in canonical order, what it shows, and what of it may be used."""

    volume: Volume
    content: Content
    mask: Volume | None

    @classmethod
    def prepare(cls, volume: Volume, mask: Volume | None) -> Source:
        """Look at `volume` and check its mask.

        Raises:
            InputError: if the volume is constant, or the mask on another grid.
        """
        if mask is not None and not mask.grid.isclose(volume.grid):
            raise InputError(
                mask.source,
                expected=f"a mask on the grid of {volume.source}, {volume.grid.shape}",
                got=f"another grid, {mask.grid.shape}",
                remedy="resample the mask onto its image",
            )
        volume = volume.canonical()
        return cls(volume, content(volume), None if mask is None else mask.canonical())

    def spacing_mm(self) -> float:
        """Spacing that gives the foreground its number of samples."""
        size = self.content.foreground_litres
        if self.mask is not None:
            size = min(size, max(litres(self.mask.data != 0, self.mask.grid), 1e-3 * size))
        return float((size * 1e6 / _SAMPLES) ** (1 / 3))


def pyramid(source: Source, spacing_mm: float, *, outline: bool) -> list[Level]:
    """Three levels, about 4, 2 and 1 times `spacing_mm` apart.

    Args:
        source: the image.
        spacing_mm: of the finest level.
        outline: whether the outline of the foreground is information. It is not where this image was masked and the
            other one was not: then only the foreground is compared.

    Raises:
        InputError: if nothing of the image is left under its mask.
    """
    image, grid = thin_out(source.volume, spacing_mm=spacing_mm)
    tissue = _tissue(source.content, image)
    image = _rescaled(image, tissue, source.content.masked)
    usable = np.ones_like(image)
    if source.mask is not None:
        usable = thin_out(Volume(source.mask.data != 0, source.mask.grid), spacing_mm=spacing_mm)[0] >= 0.5
    if not (tissue & (usable > 0)).any():
        raise InputError(
            (source.mask or source.volume).source,
            expected="a mask that is nonzero over the anatomy to align",
            got="none of the foreground under it",
            remedy="check the mask",
        )
    planes = np.stack([image, tissue & (usable > 0), usable]).astype(np.float32)
    levels = [_level(planes, grid, outline)]
    for factor in (2, 4):
        thin = [thin_out(Volume(plane, grid), spacing_mm=spacing_mm * factor) for plane in planes]
        planes, grid = np.stack([data for data, _ in thin]), thin[0][1]
        planes[1:] = planes[1:] >= np.minimum(0.5, planes[1:].max(axis=(1, 2, 3), keepdims=True))
        levels.append(_level(planes, grid, outline))
    return levels[::-1]


def _tissue(content: Content, image: Float32) -> NDArray[np.bool_]:
    """The foreground; all of a small crop, which has no air to tell apart."""
    if content.kind == "small crop" and not content.masked:
        return np.ones(image.shape, np.bool_)
    return foreground(image)


def _rescaled(image: Float32, tissue: NDArray[np.bool_], masked: bool) -> Float32:
    """Background to 0, the brightest half percent of the tissue to 1 and clipped at 1.2."""
    low, high = np.percentile(image[tissue], (0.5, 99.5))
    if not tissue.all():
        low = min(low, float(image[~tissue].mean()))
    scaled = np.clip((image - low) / max(high - low, 1e-30), 0, 1.2)
    return np.where(tissue, scaled, 0).astype(np.float32) if masked else scaled.astype(np.float32)


def _level(planes: Float32, grid: Grid, outline: bool) -> Level:
    """planes: (3, D, H, W) image, foreground and usable. With the outline, samples reach one voxel beyond it."""
    image, inside, usable = planes
    if not outline:
        return Level(image, inside, inside, inside, grid)
    beyond = (box_mean(inside, (1, 1, 1)) > 1e-6) * usable
    return Level(image, inside, beyond, usable, grid)


def localised(level: Level) -> Level:
    """`level` with each voxel's local mean taken off and divided by the local standard deviation.

    Correlating two such images approximates local correlation, at the price of global correlation: an affine hardly
    turns or stretches the windows. The samples keep one voxel away from the outline, where masking errors dominate.
    """
    smooth = box_mean(level.image, (1, 1, 1)) / box_mean(np.ones_like(level.image), (1, 1, 1))
    window = (_WINDOW,) * 3
    share = np.maximum(box_mean(level.samples, window), 1e-4)
    offset = (smooth - box_mean(smooth * level.samples, window) / share) * level.samples
    deviation = np.sqrt(np.maximum(box_mean(offset * offset, window), 0) / share + _FLOOR**2)
    core = (box_mean(level.foreground, (1, 1, 1)) > 0.999).astype(np.float32)
    if core.sum() < 0.3 * level.foreground.sum():
        core = level.foreground
    return Level((offset / deviation).astype(np.float32), level.foreground, core * level.samples, level.valid, level.grid)
