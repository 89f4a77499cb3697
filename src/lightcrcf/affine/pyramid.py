"""The images that affine alignment compares: thinned out, on common intensity terms, with what may be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import Content, content, foreground, intensity_range, litres, thin_out
from lightcrcf.preprocessing.validity import Extent, examine
from lightcrcf.volumes.check import on_grid_of
from lightcrcf.volumes.volume import Volume

__all__ = ["Level", "Pair", "Source", "finest_samples", "localised", "pyramids", "trusted"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Samples to a foreground at the finest level: about 2.5 mm apart in a brain, 3.5 in a head, 1 in a hippocampus.
_SAMPLES = 80_000
# Half window of the local normalisation in voxels, and its floor as a share of the image's range.
_WINDOW, _FLOOR = 2, 0.05
# Voxels at the edge of the foreground that local comparison leaves out: where an image was masked, two maskings
# differ; where it was not, skin and fat lie there, which move on their own.
_EDGE_OF_MASKED, _EDGE = 1, 2
# The share of samples that must be left for windows at the border of what is known to be left out.
_ENOUGH = 0.5
# Voxels of background around masked anatomy that a face of the grid cuts elsewhere.
_AROUND = 8
# Half window of the local agreement in voxels, and the least weight that it gives.
_TRUST_WINDOW, _LEAST_TRUST = 4, 0.05
# Intensities whose sums float32 may not hold.
_LARGE = 1e28


@dataclass(frozen=True, eq=False)
class Level:
    """One image at one resolution.

    Args:
        image: (D, H, W) float32 with background at zero.
        foreground: (D, H, W) float32, 1 in tissue.
        samples: (D, H, W) float32, weight of each voxel when the other image is compared with this one.
        valid: (D, H, W) float32, 1 where the other image's samples may read this one.
        grid: where the voxels lie.
        edge: voxels at the edge of the foreground that local comparison leaves out.
        blank: whether what lies outside of the grid counts as background, rather than not at all.
    """

    image: Float32
    foreground: Float32
    samples: Float32
    valid: Float32
    grid: Grid
    edge: int
    blank: bool

    @cached_property
    def centroid_mm(self) -> Float64:
        """(3,) centre of the foreground in RAS mm."""
        sums = [self.foreground.sum(axis=tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
        return self.grid.world([np.arange(len(s)) @ s / s.sum() for s in sums])

    @cached_property
    def extent_mm(self) -> Float64:
        """(3,) size of the box around the foreground along the array axes."""
        sides = [np.flatnonzero(self.foreground.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
        return np.array([s[-1] - s[0] + 1 for s in sides]) * self.grid.spacing_mm

    @cached_property
    def litres(self) -> float:
        """Volume of the foreground."""
        return litres(self.foreground > 0, self.grid)

    @cached_property
    def litres_per_weight(self) -> float:
        """How much of the foreground one unit of the samples' weight stands for."""
        return self.litres / max(float(self.samples.sum(dtype=np.float64)), 1e-30)

    @cached_property
    def radius_mm(self) -> float:
        """Radius of the ball of that volume."""
        return float((self.litres * 1e6 * 3 / (4 * np.pi)) ** (1 / 3))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images at one resolution.

    Args:
        fixed, moving: the images.
        outlines: whether the outlines of both foregrounds are compared.
        recoloured: the fixed image in the contrast of the moving one, and the moving image in that of the fixed one;
            None if both have the same contrast.
        share: of this pair in what all pairs together tell.
        further: other contrasts of the same two persons, in the same two spaces, each on grids of its own.
    """

    fixed: Level
    moving: Level
    outlines: bool
    recoloured: tuple[Level, Level] | None = None
    share: float = 1.0
    further: tuple[Pair, ...] = ()

    @property
    def every(self) -> tuple[Pair, ...]:
        """Return this pair and the further ones."""
        return (self, *self.further)

    @property
    def directions(self) -> tuple[tuple[Level, Level], tuple[Level, Level]]:
        """Return what is compared at the samples of the fixed image, and at those of the moving one."""
        fixed, moving = self.recoloured or (self.fixed, self.moving)
        return (self.fixed, moving), (self.moving, fixed)

    def localised(self) -> Pair:
        """Both images as `localised` makes them."""
        further = tuple(pair.localised() for pair in self.further)
        return replace(self, fixed=localised(self.fixed), moving=localised(self.moving), further=further)


@dataclass(frozen=True, eq=False)
class Source:
    """A volume to align: in canonical order, what it shows, and what of it may be used."""

    volume: Volume
    content: Content
    mask: Volume | None
    extent: Extent

    @classmethod
    def prepare(cls, volume: Volume, mask: Volume | None, extent: Extent | None = None) -> Source:
        """Look at `volume` and check its mask.

        Args:
            volume: the image.
            mask: on its grid, nonzero where it may be used; None for everywhere.
            extent: where the volume has data, if that was found already; then its unknown voxels were filled.

        Raises:
            InputError: if the volume is constant, or the mask on another grid.
        """
        mask = None if mask is None else on_grid_of(mask, volume, what="a mask")
        if extent is None:
            volume, extent = examine(volume)
        extent = extent.for_affine()
        mask = extent.masked(volume, mask)
        extent = extent.reordered(volume.grid.canonical())
        volume = volume.canonical()
        return cls(volume, content(volume), None if mask is None else mask.canonical(), extent)

    def spacing_mm(self) -> float:
        """Spacing that gives what is compared its number of samples."""
        size = self.content.foreground_litres
        if self.mask is not None:
            size = min(size, max(litres(self.mask.data != 0, self.mask.grid), 1e-3 * size))
        return _spacing_mm(size)


def _spacing_mm(size_litres: float) -> float:
    return float((size_litres * 1e6 / _SAMPLES) ** (1 / 3))


def finest_samples(volumes: tuple[Volume, Volume], contents: tuple[Content, Content]) -> int:
    """How many voxels both images have at the finest resolution at which they are aligned, at most (without masks)."""
    spacing_mm = min(_spacing_mm(content.foreground_litres) for content in contents)
    steps = [np.maximum(1, np.round(spacing_mm / volume.grid.spacing_mm)) for volume in volumes]
    sizes = [np.ceil(np.array(v.grid.shape) / step) for v, step in zip(volumes, steps, strict=True)]
    return int(sum(np.prod(size) for size in sizes))


def pyramids(fixed: Source, moving: Source, share: float = 1.0) -> tuple[Pair, Pair, Pair]:
    """The two images at three resolutions, the coarsest first; each is about half as fine as the next.

    Where both images were masked, their backgrounds and outlines are compared too, but for where a face of the grid
    cuts the anatomy. Where one was, only its foreground is compared, at the resolution that suits it. Where none was,
    nothing is known outside of the grids.

    Args:
        fixed, moving: the images.
        share: of this pair among several.

    Raises:
        InputError: if nothing of an image is left under its mask.
    """
    masked = fixed.content.masked, moving.content.masked
    spacing_mm = (max if masked[0] == masked[1] else min)(fixed.spacing_mm(), moving.spacing_mm())
    levels = [_pyramid(s, spacing_mm, both_masked=all(masked)) for s in (fixed, moving)]
    coarse, middle, fine = (Pair(f, m, masked[0] == masked[1], share=share) for f, m in zip(*levels, strict=True))
    return coarse, middle, fine


def _pyramid(source: Source, spacing_mm: float, *, both_masked: bool) -> list[Level]:
    """The levels of one image, the coarsest first."""
    outline, closed = both_masked or not source.content.masked, source.extent.closed
    blank = both_masked and bool(closed.all())
    image, grid = thin_out(source.volume, spacing_mm=spacing_mm)
    tissue = np.ones(image.shape, np.bool_) if _fills_its_grid(source.content) else foreground(image)
    usable = np.ones(image.shape, np.bool_)
    if source.mask is not None:
        usable = thin_out(Volume(source.mask.data != 0, source.mask.grid), spacing_mm=spacing_mm)[0] >= 0.5
    if not (tissue & usable).any():
        raise InputError(
            (source.mask or source.volume).source,
            expected="a mask that is nonzero over the anatomy to align",
            got="none of the foreground under it",
            remedy="check the mask",
        )
    planes: list[NDArray[Any]] = [_rescaled(image, tissue, source.content.masked), tissue & usable, usable]
    if both_masked and not blank:
        planes, grid = _surrounded(planes, grid, closed)
    edge = _EDGE_OF_MASKED if source.content.masked else _EDGE
    levels = [_level(planes, grid, outline, edge, blank)]
    spacing_mm = float(grid.spacing_mm.min())
    for factor in (2, 4):
        thin = [thin_out(Volume(plane, grid), spacing_mm=spacing_mm * factor) for plane in planes]
        planes, grid = [data for data, _ in thin], thin[0][1]
        planes[1:] = [np.asarray(share >= min(0.5, float(share.max()))) for share in planes[1:]]
        levels.append(_level(planes, grid, outline, edge, blank))
    return levels[::-1]


def _surrounded(planes: list[NDArray[Any]], grid: Grid, closed: NDArray[np.bool_]) -> tuple[list[NDArray[Any]], Grid]:
    """The same planes with more background beyond the faces that are closed, (3, 2), and their grid."""
    margins = [(int(first) * _AROUND, int(last) * _AROUND) for first, last in closed]
    image, inside, usable = planes
    wider = [np.pad(image, margins), np.pad(inside, margins), np.pad(usable, margins, constant_values=True)]
    a, b, c = wider[0].shape
    return wider, grid.crop([-before for before, _ in margins], (a, b, c))


def _fills_its_grid(content: Content) -> bool:
    """A crop from inside a body has no air to tell apart."""
    return content.kind == "small crop" and not content.masked


def _rescaled(image: Float32, tissue: NDArray[np.bool_], masked: bool) -> Float32:
    """Background to 0, the brightest half percent of the tissue (no lesion) to 1, and clipped at 1.2."""
    if (largest := float(np.abs(image).max())) > _LARGE:
        image = image / np.float32(largest)
    low, high = intensity_range(image[tissue], 0.5, 99.5)
    if not tissue.all():
        low = min(low, float(image[~tissue].mean()))
    scaled = np.clip((image - low) / max(high - low, 1e-30), 0, 1.2)
    return np.where(tissue | (not masked), scaled, 0).astype(np.float32)


def _level(planes: list[NDArray[Any]], grid: Grid, outline: bool, edge: int, blank: bool) -> Level:
    """planes: (D, H, W) image, foreground and usable. With the outline, samples reach one voxel beyond it."""
    image, inside, usable = (np.ascontiguousarray(plane, dtype=np.float32) for plane in planes)
    beyond = (_mean(inside, 1) > 1e-6).astype(np.float32) * usable
    return (
        Level(image, inside, beyond, usable, grid, edge, blank)
        if outline
        else Level(image, inside, inside, beyond, grid, edge, blank)
    )


def localised(level: Level) -> Level:
    """`level` with each voxel's local mean taken off, and divided by the local standard deviation.

    The correlation of two such images approximates their local correlation, at the price of a global one: affine
    transforms hardly turn or stretch the windows. Samples at the edge of the foreground are left out, and those whose
    windows reach into what is unknown: there the other image's windows hold more.
    """
    smooth = _mean(level.image, 1) / _mean(np.ones_like(level.image), 1)
    share = np.maximum(_mean(level.valid, _WINDOW), 1e-4)
    offset = (smooth - _mean(smooth * level.valid, _WINDOW) / share) * level.valid
    deviation = np.sqrt(np.maximum(_mean(offset * offset, _WINDOW), 0) / share + _FLOOR**2)
    core = (_mean(level.foreground, level.edge) > 0.999).astype(np.float32)
    if core.sum() < 0.3 * level.foreground.sum():
        core = level.foreground
    samples, valid = core * level.samples, level.valid
    whole = (share > 0.999).astype(np.float32)
    if not level.blank and (whole * samples).sum() > _ENOUGH * samples.sum():
        samples, valid = samples * whole, valid * whole
    return replace(level, image=(offset / deviation).astype(np.float32), samples=samples, valid=valid)


def trusted(pair: Pair, matrix: Float64) -> Pair:
    """`pair` with each sample weighted by how well its surroundings agree under `matrix` (4, 4), mm to mm.

    Anatomy that no affine can match (a neck bent otherwise, a lesion, a missing organ) then pulls less.
    """
    back = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    return replace(
        pair,
        fixed=_trusted(*pair.directions[0], matrix),
        moving=_trusted(*pair.directions[1], back),
        further=tuple(trusted(other, matrix) for other in pair.further),
    )


def _trusted(reference: Level, other: Level, matrix: Float64) -> Level:
    moved = resample(other.image, reference.grid.shape, (other.grid.inverse @ matrix @ reference.grid.affine)[:3])
    here, there = reference.image * reference.samples, moved * reference.samples
    product, power, other_power = (_mean(x, _TRUST_WINDOW) for x in (here * there, here * here, there * there))
    agreement = product / np.sqrt(np.maximum(power * other_power, 1e-6))
    weight = np.clip(agreement, _LEAST_TRUST, 1) * reference.samples
    return replace(reference, samples=weight.astype(np.float32))


def _mean(image: Float32, radius: int) -> Float32:
    """Mean over cubes of 2 * radius + 1 voxels, zeros outside."""
    return np.asarray(window_mean(image[None], radius)[0])
