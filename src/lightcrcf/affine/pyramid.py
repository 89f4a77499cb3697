"""Image pyramids for affine registration: downsampled, intensity-normalised, with sample weights and validity masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.errors import InputError
from lightcrcf.geometry.arrays import contiguous
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import (
    ImageType,
    classify,
    downsample_volume,
    foreground,
    intensity_range,
    volume_litres,
)
from lightcrcf.preprocessing.validity import Extent, examine
from lightcrcf.volumes.check import on_grid_of
from lightcrcf.volumes.volume import Volume

__all__ = [
    "AlignmentImage",
    "LevelPair",
    "PyramidLevel",
    "build_pyramids",
    "count_finest_samples",
    "normalise_locally",
    "weight_by_agreement",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Samples per foreground at the finest level: about 2.5 mm apart in a brain, 3.5 in a head, 1 in a hippocampus.
_SAMPLES = 80_000
# Voxels at the edge of the foreground that local normalisation excludes: two brain masks differ there, and in images
# without a mask skin and fat lie there, which deform.
_EDGE_MASKED, _EDGE = 1, 2
# Voxels of background added around masked anatomy whose grid is cut at another face.
_PADDING = 8
# Intensities above this may overflow in float32 sums.
_MAX_MAGNITUDE = 1e28


@dataclass(frozen=True, eq=False)
class PyramidLevel:
    """One image at one resolution.

    Args:
        image: (D, H, W) float32 with background at zero.
        foreground: (D, H, W) float32, 1 in tissue.
        samples: (D, H, W) float32, weight of each voxel as a sample of this image.
        valid: (D, H, W) float32, 1 where samples of the other image may read this one.
        grid: of the arrays.
        edge: voxels at the edge of the foreground that local normalisation excludes.
        blank_outside: whether points outside of the grid count as background, rather than as unknown.
    """

    image: Float32
    foreground: Float32
    samples: Float32
    valid: Float32
    grid: Grid
    edge: int
    blank_outside: bool

    @cached_property
    def centroid_mm(self) -> Float64:
        """Return the (3,) centroid of the foreground in RAS mm."""
        sums = [self.foreground.sum(axis=tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
        return self.grid.world([np.arange(len(s)) @ s / s.sum() for s in sums])

    @cached_property
    def extent_mm(self) -> Float64:
        """Return the (3,) size in mm of the foreground's bounding box along the array axes."""
        sides = [np.flatnonzero(self.foreground.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
        return np.array([s[-1] - s[0] + 1 for s in sides]) * self.grid.spacing_mm

    @cached_property
    def litres(self) -> float:
        """Return the volume of the foreground in litres."""
        return volume_litres(self.foreground > 0, self.grid)

    @cached_property
    def litres_per_weight(self) -> float:
        """Return the volume in litres per unit of sample weight."""
        return self.litres / max(float(self.samples.sum(dtype=np.float64)), 1e-30)

    @cached_property
    def radius_mm(self) -> float:
        """Return the radius in mm of the ball of the foreground's volume."""
        return float((self.litres * 1e6 * 3 / (4 * np.pi)) ** (1 / 3))


@dataclass(frozen=True, eq=False)
class LevelPair:
    """Two images at one resolution.

    Args:
        fixed, moving: the images.
        outlines: whether the outlines of both foregrounds are compared.
        mapped: the fixed image mapped to the contrast of the moving one, and the moving image to that of the fixed one;
            None to compare the images themselves.
        weight: of this pair among all pairs.
        further: more contrasts of the same two subjects, in the same two spaces, each on its own grids.
    """

    fixed: PyramidLevel
    moving: PyramidLevel
    outlines: bool
    mapped: tuple[PyramidLevel, PyramidLevel] | None = None
    weight: float = 1.0
    further: tuple[LevelPair, ...] = ()

    @property
    def all_pairs(self) -> tuple[LevelPair, ...]:
        """Return this pair and the further ones."""
        return (self, *self.further)

    @property
    def directions(self) -> tuple[tuple[PyramidLevel, PyramidLevel], tuple[PyramidLevel, PyramidLevel]]:
        """Return the images compared at the samples of the fixed image, and at those of the moving one."""
        fixed, moving = self.mapped or (self.fixed, self.moving)
        return (self.fixed, moving), (self.moving, fixed)

    def normalise_locally(self) -> LevelPair:
        """Normalise all images locally."""
        further = tuple(pair.normalise_locally() for pair in self.further)
        return replace(
            self, fixed=normalise_locally(self.fixed), moving=normalise_locally(self.moving), further=further
        )


@dataclass(frozen=True, eq=False)
class AlignmentImage:
    """A volume to align, with canonical axes: its image type, mask and validity."""

    volume: Volume
    image_type: ImageType
    mask: Volume | None
    extent: Extent

    @classmethod
    def prepare(cls, volume: Volume, mask: Volume | None, extent: Extent | None = None) -> AlignmentImage:
        """Classify `volume` and check its mask.

        Args:
            volume: the image.
            mask: on its grid, nonzero where voxels may be used; None for everywhere.
            extent: validity of the volume, if `examine` was called before; unknown voxels are filled then.

        Raises:
            InputError: if the volume is constant, or the mask on another grid.
        """
        mask = None if mask is None else on_grid_of(mask, volume, what="a mask")
        if extent is None:
            volume, extent = examine(volume)
        extent = extent.for_affine()
        mask = extent.usable_mask(volume, mask)
        extent = extent.reordered(volume.grid.canonical())
        volume = volume.canonical()
        return cls(volume, classify(volume), None if mask is None else mask.canonical(), extent)

    def spacing_mm(self) -> float:
        """Return the isotropic spacing in mm that gives the foreground its number of samples."""
        size = self.image_type.foreground_litres
        if self.mask is not None:
            size = min(size, max(volume_litres(self.mask.data != 0, self.mask.grid), 1e-3 * size))
        return _spacing_mm(size)


def _spacing_mm(size_litres: float) -> float:
    return float((size_litres * 1e6 / _SAMPLES) ** (1 / 3))


def count_finest_samples(volumes: tuple[Volume, Volume], types: tuple[ImageType, ImageType]) -> int:
    """Count the voxels of both images at the finest level; without masks, so an upper bound."""
    spacing_mm = min(_spacing_mm(each.foreground_litres) for each in types)
    steps = [np.maximum(1, np.round(spacing_mm / volume.grid.spacing_mm)) for volume in volumes]
    sizes = [np.ceil(np.array(v.grid.shape) / step) for v, step in zip(volumes, steps, strict=True)]
    return int(sum(np.prod(size) for size in sizes))


def build_pyramids(
    fixed: AlignmentImage, moving: AlignmentImage, weight: float = 1.0
) -> tuple[LevelPair, LevelPair, LevelPair]:
    """Build pyramids of two images: three levels, the coarsest first, each at about half the resolution of the next.

    If both images are masked, background and outlines are compared too, except where a face of the grid cuts the
    anatomy. If one is, only its foreground is compared, at its resolution. If none is, everything outside of the grids
    is unknown.

    Args:
        fixed, moving: the images.
        weight: of this pair among several.

    Raises:
        InputError: if nothing of an image is left under its mask.
    """
    masked = fixed.image_type.masked, moving.image_type.masked
    spacing_mm = (max if masked[0] == masked[1] else min)(fixed.spacing_mm(), moving.spacing_mm())
    levels = [_pyramid(s, spacing_mm, both_masked=all(masked)) for s in (fixed, moving)]
    coarse, middle, fine = (
        LevelPair(f, m, masked[0] == masked[1], weight=weight) for f, m in zip(*levels, strict=True)
    )
    return coarse, middle, fine


def _pyramid(source: AlignmentImage, spacing_mm: float, *, both_masked: bool) -> list[PyramidLevel]:
    """Build the levels of one image, the coarsest first."""
    outline, closed = both_masked or not source.image_type.masked, source.extent.closed
    blank_outside = both_masked and bool(closed.all())
    image, grid = downsample_volume(source.volume, spacing_mm=spacing_mm)
    tissue = np.ones(image.shape, np.bool_) if _fills_grid(source.image_type) else foreground(image)
    usable = np.ones(image.shape, np.bool_)
    if source.mask is not None:
        usable = downsample_volume(Volume(source.mask.data != 0, source.mask.grid), spacing_mm=spacing_mm)[0] >= 0.5
    if not (tissue & usable).any():
        raise _nothing_to_align(source)
    planes: list[NDArray[Any]] = [_normalise(image, tissue, source.image_type.masked), tissue & usable, usable]
    if both_masked and not blank_outside:
        planes, grid = _pad(planes, grid, closed)
    edge = _EDGE_MASKED if source.image_type.masked else _EDGE
    levels = [_level(planes, grid, outline, edge, blank_outside)]
    spacing_mm = float(grid.spacing_mm.min())
    for factor in (2, 4):
        coarser = [downsample_volume(Volume(plane, grid), spacing_mm=spacing_mm * factor) for plane in planes]
        planes, grid = [data for data, _ in coarser], coarser[0][1]
        planes[1:] = [np.asarray(fraction >= min(0.5, float(fraction.max()))) for fraction in planes[1:]]
        levels.append(_level(planes, grid, outline, edge, blank_outside))
    return levels[::-1]


def _nothing_to_align(source: AlignmentImage) -> InputError:
    if source.mask is None:
        return InputError(
            source.volume.source,
            expected="anatomy that is seen at the resolution of the other image",
            got="none",
            remedy="check the voxel sizes in both headers, in mm",
        )
    return InputError(
        source.mask.source,
        expected="a mask that is nonzero over the anatomy to align",
        got="none of the foreground under it",
        remedy="check the mask",
    )


def _pad(planes: list[NDArray[Any]], grid: Grid, closed: NDArray[np.bool_]) -> tuple[list[NDArray[Any]], Grid]:
    """Pad the arrays with background beyond the closed faces, (3, 2) bool; return them and their grid."""
    margins = [(int(first) * _PADDING, int(last) * _PADDING) for first, last in closed]
    image, inside, usable = planes
    padded = [np.pad(image, margins), np.pad(inside, margins), np.pad(usable, margins, constant_values=True)]
    a, b, c = padded[0].shape
    return padded, grid.crop([-before for before, _ in margins], (a, b, c))


def _fills_grid(image_type: ImageType) -> bool:
    """Return whether all voxels are foreground: a crop from inside a body shows no air."""
    return image_type.kind == "small crop" and not image_type.masked


def _normalise(image: Float32, tissue: NDArray[np.bool_], masked: bool) -> Float32:
    """Scale background to 0 and the 99.5th percentile of tissue (lesions limited) to 1; clip at 1.2."""
    if (largest := float(np.abs(image).max())) > _MAX_MAGNITUDE:
        image = image / np.float32(largest)
    low, high = intensity_range(image[tissue], 0.5, 99.5)
    if not tissue.all():
        low = min(low, float(image[~tissue].mean()))
    scaled = np.clip((image - low) / max(high - low, 1e-30), 0, 1.2)
    return np.where(tissue | (not masked), scaled, 0).astype(np.float32)


def _level(planes: list[NDArray[Any]], grid: Grid, outline: bool, edge: int, blank_outside: bool) -> PyramidLevel:
    """Build a level of (D, H, W) image, foreground and usable; with outlines, samples extend one voxel beyond them."""
    image, inside, usable = (np.ascontiguousarray(plane, dtype=np.float32) for plane in planes)
    beyond = (_box_mean(inside, 1) > 1e-6).astype(np.float32) * usable
    return (
        PyramidLevel(image, inside, beyond, usable, grid, edge, blank_outside)
        if outline
        else PyramidLevel(image, inside, inside, beyond, grid, edge, blank_outside)
    )


def normalise_locally(level: PyramidLevel) -> PyramidLevel:
    """Subtract the local mean of each voxel, and divide by the local standard deviation.

    The correlation of two such images approximates their local correlation at the cost of a global one, since affine
    transforms hardly rotate or stretch the windows. Samples at the edge of the foreground are excluded, and samples
    whose windows reach unknown voxels, since the windows of the other image hold more there.
    """
    arrays = contiguous(level.image), contiguous(level.foreground), contiguous(level.samples), contiguous(level.valid)
    image, samples, valid = (np.empty_like(arrays[0]) for _ in range(3))
    _core.normalise_locally(*arrays, level.edge, level.blank_outside, image, samples, valid)
    return replace(level, image=image, samples=samples, valid=valid)


def weight_by_agreement(pair: LevelPair, matrix: Float64) -> LevelPair:
    """Weight each sample by the local correlation around it under `matrix` (4, 4), mm to mm.

    This is a robust estimate: anatomy that no affine can match (a bent neck, a lesion, a missing organ) weighs less.
    """
    inverse = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    return replace(
        pair,
        fixed=_weight_level(*pair.directions[0], matrix),
        moving=_weight_level(*pair.directions[1], inverse),
        further=tuple(weight_by_agreement(other, matrix) for other in pair.further),
    )


def _weight_level(reference: PyramidLevel, other: PyramidLevel, matrix: Float64) -> PyramidLevel:
    arrays = contiguous(reference.image), contiguous(reference.samples), contiguous(other.image)
    index = (other.grid.inverse @ matrix @ reference.grid.affine)[:3]
    weight = np.empty_like(arrays[0])
    _core.weight_by_agreement(*arrays, contiguous(index, np.float64), weight)
    return replace(reference, samples=weight)


def _box_mean(image: Float32, radius: int) -> Float32:
    """Return the mean over cubes of 2 * radius + 1 voxels, zero-padded."""
    return np.asarray(window_mean(image[None], radius)[0])
