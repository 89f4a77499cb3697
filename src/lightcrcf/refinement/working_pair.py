"""Both images of a registration on one working grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightcrcf.cache.registration import RegistrationCache
from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.network.config import NetworkConfig
from lightcrcf.preprocessing.noise import Noise, noise_variance
from lightcrcf.preprocessing.normalization import NormalizedImage, normalize, working_grid
from lightcrcf.preprocessing.validity import Extent, compare_extremes, examine
from lightcrcf.refinement.deformation import TAPER, on_fixed
from lightcrcf.refinement.images import Images
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume
from lightcrcf.weights.preparation import Preparation
from lightcrcf.weights.store import Weights

__all__ = ["WorkingPair"]

Float32 = NDArray[np.float32]

_PREVIEW_VOXELS = 4e6
_MASKS_DIFFER_MM = 2.0  # about: the edges of brain masks that two tools made of one person


@dataclass(frozen=True, eq=False)
class WorkingPair:
    """Both images on the working grid, the moving one through the affine.

    Args:
        images: as they were prepared.
        grid: the working grid.
        affine: fixed to moving points.
        pool: between its resolutions, along each axis.
        fixed, moving: (D, H, W).
        moving_by_header: (D, H, W), the moving image as the headers alone place it.
        fixed_mask, moving_mask, mask_by_header: (D, H, W), 1 where voxels count, 0 elsewhere; None if all count. They
            leave out what the user's masks leave out, and what is unknown.
        fixed_known, moving_known: (D, H, W), 1 where the image has data, whatever the masks say; None if everywhere.
        network_masks: the masks as the network heeds them: the outside of crops counts, for it learned of that.
        bare: of each image, whether everything outside its anatomy was set to one value.
        share: of this pair in what all pairs of a registration tell together.
    """

    images: tuple[NormalizedImage, NormalizedImage]
    grid: Grid
    affine: Affine
    pool: tuple[int, int, int]
    fixed: Float32
    moving: Float32
    moving_by_header: Float32
    fixed_mask: Float32 | None
    moving_mask: Float32 | None
    mask_by_header: Float32 | None
    fixed_known: Float32 | None
    moving_known: Float32 | None
    network_masks: tuple[Float32 | None, Float32 | None]
    bare: tuple[bool, bool] = (False, False)
    share: float = 1.0

    @classmethod
    def prepare(
        cls,
        fixed: Volume,
        moving: Volume,
        masks: tuple[Volume | None, Volume | None],
        affine: Affine,
        weights: Weights | None,
        shared: RegistrationCache,
        coarsen: int = 1,
        extents: tuple[Extent, Extent] | None = None,
        grid: Grid | None = None,
        windowed: bool = True,
        share: float = 1.0,
    ) -> WorkingPair:
        """On `grid_of` the fixed volume, or on another one.

        Args:
            fixed, moving: the images.
            masks: of each, 0 where voxels do not count, or None.
            affine: fixed to moving points.
            weights: of the model, or None.
            shared: remembers what was prepared.
            coarsen: as for `grid_of`.
            extents: where the images have data, if that was found already; then their unknown voxels were filled.
            grid: the working grid, where it is that of another pair.
            windowed: whether the model's window of intensities, if it has one, suits the images.
            share: of this pair among several.

        Raises:
            InputError: if the images have nothing in common.
        """
        if extents is None:
            (fixed, here), (moving, there) = examine(fixed), examine(moving)
            extents = compare_extremes(here, there)
        network, how = _how(weights)
        how = how if windowed else replace(how, window=None)
        images = tuple(_prepared(shared, v, network.pool, how) for v in (fixed, moving))
        grid = grid or cls.grid_of(fixed, weights, shared, coarsen)
        where = ("on working grid", network.pool, how.view, how.window, grid.shape, grid.affine.tobytes())
        aligned = images[1].resample_to(grid, affine.matrix)
        if not aligned.any():
            raise InputError(
                moving.source,
                expected="a moving image that overlaps the fixed one",
                got="no tissue in common",
                remedy="use --init auto, or check that both files show the same anatomy",
            )
        fixed_known, fixed_usable = _known_and_usable(extents[0], grid, None)
        moving_known, moving_usable = _known_and_usable(extents[1], grid, affine.matrix)
        fixed_mask = _both(_mask_onto(masks[0], images[0], grid, None), fixed_usable)
        moving_mask = _both(_mask_onto(masks[1], images[1], grid, affine.matrix), moving_usable)
        by_header = _both(_mask_onto(masks[1], images[1], grid, None), extents[1].usable_on(grid))
        seen = shared.get_or_compute(fixed, where, lambda: images[0].resample_to(grid))
        return cls(
            (images[0], images[1]), grid, affine, network.pool, seen, aligned, images[1].resample_to(grid),
            fixed_mask, moving_mask, by_header, fixed_known, moving_known,
            (fixed_mask, moving_mask) if how.view != "whole" else (
                _with_outside(fixed_mask, extents[0].field_of_view_on(grid)),
                _with_outside(moving_mask, extents[1].field_of_view_on(grid, affine.matrix)),
            ),
            (extents[0].background_masked, extents[1].background_masked), share,
        )  # fmt: skip

    @staticmethod
    def grid_of(fixed: Volume, weights: Weights | None, shared: RegistrationCache, coarsen: int = 1) -> Grid:
        """The working grid that `weights` want, or without a network one like the fixed image's.

        Args:
            fixed: volume.
            weights: of the network, or None.
            shared: remembers the prepared image.
            coarsen: how many times larger its voxels are made along each axis.
        """
        network, how = _how(weights)
        image = _prepared(shared, fixed, network.pool, how)
        spacing_mm = how.spacing_mm if weights else (_own_spacing(image),) * 3
        if coarsen > 1:
            fine = image.grid.spacing_mm if spacing_mm is None else spacing_mm
            spacing_mm = (coarsen * float(fine[0]), coarsen * float(fine[1]), coarsen * float(fine[2]))
        return working_grid(image, spacing_mm, multiples=network.multiples, view=how.view)

    @cached_property
    def noise(self) -> Noise:
        """Noise of both images, measured on their own voxels: interpolation hides it."""
        own = noise_variance(self.images[0].data), noise_variance(self.images[1].data)
        working = float(np.prod(self.grid.spacing_mm))
        sizes = [float(np.prod(image.grid.spacing_mm)) / working for image in self.images]
        return Noise.of(self.fixed, self.moving, own, (sizes[0], sizes[1]))

    @property
    def masked(self) -> tuple[bool, bool]:
        """`bare`, where voxels are so small that the edges of two masks of one anatomy may differ by some."""
        fine = bool(self.grid.spacing_mm.max() <= _MASKS_DIFFER_MM)
        return self.bare[0] and fine, self.bare[1] and fine

    def compared_as(self, across: bool | None) -> Images:
        """Return the images that the refinement compares.

        Args:
            across: whether the images are of two contrasts; None for what the schedule says.
        """
        images = self.fixed, self.moving, self.fixed_mask, self.moving_mask
        return Images(*images, self.noise, self.masked, across, self.share)

    def for_network(self) -> tuple[Float32, Float32]:
        """Both images, `filled`."""
        return self.filled(self.fixed, self.moving)

    def counted(self) -> tuple[Float32, Float32]:
        """Both images, 0 where they do not count for the network."""
        fixed, moving = (
            image if mask is None else image * (mask > 0)
            for image, mask in zip((self.fixed, self.moving), self.network_masks, strict=True)
        )
        return fixed, moving

    def filled(self, fixed: Float32, moving: Float32) -> tuple[Float32, Float32]:
        """Both images, each with the other's values where it does not count: there the network finds nothing to move.

        Where neither counts both are 0; so is what lies outside of crops, as it was where the network learned of them.

        Args:
            fixed, moving: (D, H, W), those of the pair, maybe in another contrast.
        """
        counts = [None if mask is None else mask > 0 for mask in self.network_masks]
        if counts[0] is not None:
            fixed = np.where(counts[0], fixed, moving if counts[1] is None else moving * counts[1])
        if counts[1] is not None:
            moving = np.where(counts[1], moving, fixed)
        return fixed, moving

    def lattice(self, displacement: Float32) -> Grid:
        """The grid of a displacement: the working grid or, as the network gives it, its half."""
        return self.grid if displacement.shape[1:] == self.grid.shape else self.grid.half(self.pool)

    def on_fixed(self, displacement: Float32, fixed: Grid) -> DisplacementField:
        """The field on the grid that is written."""
        lattice = self.lattice(displacement)
        taper = 2 * TAPER if lattice is self.grid else TAPER
        return on_fixed(displacement, lattice, fixed, self.images[0].order, self.pool, taper)


def _how(weights: Weights | None) -> tuple[NetworkConfig, Preparation]:
    return (weights.config, weights.preparation) if weights else (NetworkConfig(), Preparation(None))


def _prepared(
    shared: RegistrationCache, volume: Volume, pool: tuple[int, int, int], how: Preparation
) -> NormalizedImage:
    key = ("prepared", pool, how.view, how.window)
    return shared.get_or_compute(volume, key, lambda: normalize(volume, pool=pool, view=how.view, window=how.window))


def _mask_onto(
    mask: Volume | None, image: NormalizedImage, grid: Grid, matrix: NDArray[np.float64] | None
) -> Float32 | None:
    """1 where `mask` is not zero, on the working grid; outside of it nothing counts."""
    if mask is None:
        return None
    step = image.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
    inside = resample((image.order.array(mask.data) != 0).astype(np.float32), grid.shape, step[:3])
    return (inside > 0.5).astype(np.float32)


def _known_and_usable(
    extent: Extent, grid: Grid, matrix: NDArray[np.float64] | None
) -> tuple[Float32 | None, Float32 | None]:
    """Masks of known and of usable voxels on `grid`: one array for both without extreme voxels."""
    known = extent.known_on(grid, matrix)
    return known, known if extent.extreme is None else extent.usable_on(grid, matrix)


def _both(mask: Float32 | None, other: Float32 | None) -> Float32 | None:
    """The product of two masks; None where both are."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask * other


def _with_outside(mask: Float32 | None, field_of_view: Float32 | None) -> Float32 | None:
    """A mask that leaves nothing out outside of the field of view."""
    return mask if mask is None or field_of_view is None else np.where(field_of_view > 0, mask, np.float32(1))


def _own_spacing(fixed: NormalizedImage) -> float:
    """Return the smallest spacing of the fixed image, or a larger one that limits the number of voxels."""
    spacing = fixed.grid.spacing_mm
    box_mm = (fixed.box[1] - fixed.box[0] + 1) * spacing
    return max(float(spacing.min()), float(np.cbrt(np.prod(box_mm) / _PREVIEW_VOXELS)))
