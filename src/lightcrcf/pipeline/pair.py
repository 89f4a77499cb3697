"""Both images of a registration on one working grid, and what quality control sees there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample, upsample, warp
from lightcrcf.network.config import NetworkConfig
from lightcrcf.pipeline import quality
from lightcrcf.pipeline.deform import TAPER, on_fixed
from lightcrcf.pipeline.preprocess import Prepared, prepare, working_grid
from lightcrcf.pipeline.shared import Shared
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.field import DisplacementField
from lightcrcf.volumes import Volume
from lightcrcf.volumes.limits import check_memory
from lightcrcf.weights.preparation import Preparation
from lightcrcf.weights.store import Weights

__all__ = ["WorkingPair"]

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_PREVIEW_VOXELS = 4e6
_BYTES_PER_VOXEL = 120  # of the working grid: images, fields and forces of the refinement; the network takes less
_FOREGROUND = 0.05


@dataclass(frozen=True, eq=False)
class WorkingPair:
    """Both images on the working grid, the moving one through the affine.

    Args:
        images: as they were prepared.
        grid: the working grid.
        pool: between its resolutions, along each axis.
        fixed, moving: (D, H, W).
        moving_by_header: (D, H, W), the moving image as the headers alone place it.
        fixed_mask, moving_mask, mask_by_header: (D, H, W), 1 where voxels count, 0 elsewhere; None if all count.
    """

    images: tuple[Prepared, Prepared]
    grid: Grid
    pool: tuple[int, int, int]
    fixed: Float32
    moving: Float32
    moving_by_header: Float32
    fixed_mask: Float32 | None
    moving_mask: Float32 | None
    mask_by_header: Float32 | None

    @classmethod
    def prepare(
        cls,
        fixed: Volume,
        moving: Volume,
        masks: tuple[Volume | None, Volume | None],
        affine: Affine,
        weights: Weights | None,
        shared: Shared,
    ) -> WorkingPair:
        """On the grid that `weights` want, or without a network on one like the fixed image's.

        Raises:
            InputError: if the images have nothing in common.
            MemoryEstimateError: if the grid is too large.
        """
        network = weights.config if weights else NetworkConfig()
        how = weights.preparation if weights else Preparation(None)
        images = tuple(_prepared(shared, v, network.pool, how) for v in (fixed, moving))
        spacing_mm = how.spacing_mm if weights else (_own_spacing(images[0]),) * 3
        grid = working_grid(images[0], spacing_mm, multiples=network.multiples, view=how.view)
        where = ("on working grid", network.pool, how.view, how.window, grid.shape, grid.affine.tobytes())
        check_memory(
            fixed.source,
            grid.size * _BYTES_PER_VOXEL,
            remedy=f"crop the volume, or check its voxel size: the working grid has {grid.spacing_mm.min():g} mm",
        )
        aligned = images[1].onto(grid, affine.matrix)
        if not aligned.any():
            raise InputError(
                moving.source,
                expected="a moving image that overlaps the fixed one",
                got="no tissue in common",
                remedy="use --init auto, or check that both files show the same anatomy",
            )
        fixed_mask = _mask_onto(masks[0], images[0], grid, None)
        moving_mask, by_header = (_mask_onto(masks[1], images[1], grid, m) for m in (affine.matrix, None))
        return cls(
            (images[0], images[1]), grid, network.pool, shared.about(fixed, where, lambda: images[0].onto(grid)),
            aligned, images[1].onto(grid), fixed_mask, moving_mask, by_header,
        )  # fmt: skip

    def lattice(self, displacement: Float32) -> Grid:
        """The grid of a displacement: the working grid or, as the network gives it, its half."""
        return self.grid if displacement.shape[1:] == self.grid.shape else self.grid.half(self.pool)

    def on_fixed(self, displacement: Float32, fixed: Grid) -> DisplacementField:
        """The field on the grid that is written."""
        lattice = self.lattice(displacement)
        taper = 2 * TAPER if lattice is self.grid else TAPER
        return on_fixed(displacement, lattice, fixed, self.images[0].order, self.pool, taper)

    def evidence(
        self, displacement: Float32 | None, overlap: Callable[[Mask, Mask], float], mismatch: tuple[str, ...]
    ) -> quality.Evidence:
        """What quality control looks at: images at half the working resolution, the field at its own.

        Args:
            displacement: (3, d, h, w) on the working grid or its half; None if there is none.
            overlap: of two foregrounds.
            mismatch: in what the pair is unlike the training images, in words.
        """
        evidence = quality.Evidence(mismatch=list(mismatch))
        fixed = block_mean(self.fixed, self.pool)
        counted = self._halved(self.fixed_mask, fixed.shape)
        tissue = fixed > _FOREGROUND

        def seen(moved: Float32, mask: Float32 | None) -> tuple[float, float]:
            half, where = block_mean(moved, self.pool), self._halved(mask, fixed.shape) & counted
            return (
                quality.local_correlation(fixed, half, tissue & where),
                overlap(tissue & where, (half > _FOREGROUND) & where),
            )

        evidence.correlation_header, _ = seen(self.moving_by_header, self.mask_by_header)
        evidence.correlation_affine, evidence.overlap_before = seen(self.moving, self.moving_mask)
        if displacement is not None:
            lattice = self.lattice(displacement)
            full = displacement if lattice is self.grid else upsample(displacement, self.grid.shape, self.pool)
            moved_mask = None if self.moving_mask is None else warp(self.moving_mask[None], full)[0]
            evidence.correlation_after, evidence.overlap_after = seen(warp(self.moving[None], full)[0], moved_mask)
            inside = self.fixed > _FOREGROUND if lattice is self.grid else fixed > _FOREGROUND
            quality.deformation_evidence(evidence, displacement, inside, lattice.spacing_mm)
        return evidence

    def _halved(self, mask: Float32 | None, shape: tuple[int, ...]) -> Mask:
        return np.ones(shape, bool) if mask is None else block_mean(mask, self.pool) > 0.5


def _prepared(shared: Shared, volume: Volume, pool: tuple[int, int, int], how: Preparation) -> Prepared:
    key = ("prepared", pool, how.view, how.window)
    return shared.about(volume, key, lambda: prepare(volume, pool=pool, view=how.view, window=how.window))


def _mask_onto(mask: Volume | None, image: Prepared, grid: Grid, matrix: NDArray[np.float64] | None) -> Float32 | None:
    """1 where `mask` is not zero, on the working grid; outside of it nothing counts."""
    if mask is None:
        return None
    step = image.grid.inverse @ (np.eye(4) if matrix is None else matrix) @ grid.affine
    inside = resample((image.order.array(mask.data) != 0).astype(np.float32), grid.shape, step[:3])
    return (inside > 0.5).astype(np.float32)


def _own_spacing(fixed: Prepared) -> float:
    """As fine as the fixed image, unless that makes too many voxels."""
    spacing = fixed.grid.spacing_mm
    box_mm = (fixed.box[1] - fixed.box[0] + 1) * spacing
    return max(float(spacing.min()), float(np.cbrt(np.prod(box_mm) / _PREVIEW_VOXELS)))
