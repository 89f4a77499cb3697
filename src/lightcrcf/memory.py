"""Estimate of the memory of a registration before it starts, and a limit on the growth of the C heap."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lightcrcf.geometry.grid import Grid
from lightcrcf.volumes import Volume
from lightcrcf.volumes.limits import check_memory

__all__ = ["MemoryEstimate", "check_memory_estimate", "limit_malloc_arenas"]

# Bytes, measured stage by stage on pairs of 0.1 to 157 million voxels; tests and `lightcrcf bench scaling` measure the
# error of the sum. `_VOXEL` is per voxel of the file, `_WORKING` per voxel of the working grid.
_PROGRAM = 62 << 20  # interpreter and libraries
_ITK = 90 << 20  # SimpleITK, where something imports it
_NETWORK = 8 << 20  # the weights of a network and its kernels' scratch, and what the allocator does not return
_NORMALIZED_VOXEL = 4  # a normalised image in float32
_NORMALIZING_VOXEL = 13  # while it is computed: copies in float32, the foreground, the percentiles
_AFFINE_SAMPLE = 55  # per voxel of both images at the finest level of the affine alignment: masks, levels, local means
_MASKING_VOXEL = 9  # a mask while it is resampled to the working grid
_IMAGES_WORKING = 12  # both images, and the moving one under the alignment of the headers
_MASKS_WORKING = 12  # the same for masks
_SIMILARITY_WORKING = 10  # of measuring the similarity of the images, which the allocator does not return
_MASKED_REFINEMENT = 12  # and for weights of the refinement by masks, or by masked background
_NETWORK_WORKING = 25  # features of all levels
_NETWORK_WORKING_BF16 = 22
_FORCES_WORKING = 24  # forces at full resolution, while a network that sees them runs
_MAPPED_WORKING = 36  # of two contrasts, one image mapped to that of the other before a network runs again
_REFINEMENT_WORKING = 50  # the field, and the workspace of a step
_REFINEMENT_HALF_WORKING = 27  # the same where the field stays on half of the grid
_HALF_GRID = 8  # voxels for each of the half grid
_CONTRAST_WORKING = 22  # the similarity terms of local contrast, and its two images
_CROSS_CONTRAST_WORKING = 24  # window sums of the fixed image, and one more term
_FURTHER_PAIR_WORKING = 16  # per further pair: the moved image, and terms of the force
_MULTI_START_WORKING = 12  # the fields of several candidates, and the workspace of the merge
_RETAINED_MULTI_START_WORKING = 28  # that the allocator does not return after several candidates with local contrast
_QUALITY_WORKING = 16  # of quality control
_FIELD = 12  # a field in float32
_COMPOSING_FIELD = 24  # while it is composed, itself included
_DIFFEOMORPHIC = 20
_INVERSE_CONSISTENCY = 26
_RESAMPLING_VOXEL = 4  # the image in the dtype of the kernels
_LABEL_VOXEL = 8  # for the check of moved labels
_WRITING_VOXEL = 12
_M_ARENA_MAX = -8  # of malloc.h


@dataclass(frozen=True)
class MemoryEstimate:
    """Inputs of the estimate of a registration's memory.

    Args:
        volumes: all volumes read: the fixed and the moving image first, then those of further pairs.
        fixed: grid of the results.
        working: grid of the network and the refinement.
        network: whether a network runs.
        refinement: whether a refinement runs.
        inverse: whether the field is inverted.
        diffeomorphic: whether folds are removed.
        retain_engine: whether the network stays loaded for further registrations.
        affine_samples: voxels of both images at the finest level of the affine alignment; 0 without it.
        contrast: whether the refinement uses local contrast at full resolution.
        cross_contrast: whether the images have different contrasts.
        further: the same for each further pair of images.
        native_bf16: whether the network runs in bfloat16 in native kernels.
        forces: whether the network sees forces.
        multi_start: whether the refinement has several candidates.
        field: grid of the field that is written; `fixed` if None.
        masks: whether the images have masks or unknown voxels.
        edges: whether the edges of masked images weigh less at full resolution.
        examined_bytes: bytes of validity masks, and of images before missing data were filled.
        resampled_bytes: bytes per voxel of `fixed` of everything resampled to it or measured on it; by default of the
            moving image alone.
        labels: whether label maps are moved.
        half_field: whether the refinement's field stays on half of the working grid.
        itk: whether SimpleITK is needed: for the table of a CT, or the depth below the skin of heads.

    Example:
        >>> import numpy as np
        >>> grid = Grid((100, 100, 100), np.eye(4))
        >>> volume = Volume(np.zeros(grid.shape, np.int16), grid)
        >>> MemoryEstimate((volume, volume), grid, grid, network=False, refinement=False).bytes >> 20
        111
    """

    volumes: Sequence[Volume]
    fixed: Grid
    working: Grid
    network: bool
    refinement: bool
    inverse: bool = False
    diffeomorphic: bool = False
    retain_engine: bool = False
    affine_samples: int = 0
    contrast: bool = False
    cross_contrast: bool = False
    further: Sequence[bool] = ()
    native_bf16: bool = False
    forces: bool = False
    multi_start: bool = False
    field: Grid | None = None
    masks: bool = False
    edges: bool = False
    examined_bytes: int = 0
    resampled_bytes: int = 4
    labels: bool = False
    half_field: bool = False
    itk: bool = False

    @property
    def bytes(self) -> int:
        """Return the peak resident memory of the process in bytes."""
        return max(self.stages().values())

    def stages(self) -> dict[str, int]:
        """Return the peak resident memory in bytes of each stage, by its name in the times of `run.json`."""
        sizes = [volume.data.size for volume in self.volumes]
        fixed, moving, largest = *(sizes or [0])[:1], *(sizes[1:] or [0])[:1], max(sizes, default=0)
        read = (
            _PROGRAM
            + self.itk * _ITK
            + sum({id(v.data): v.data.nbytes for v in self.volumes}.values())
            + self.examined_bytes
        )
        fixed_ready = read + _NORMALIZED_VOXEL * fixed
        pairs = 1 + len(self.further)
        images = pairs * (_IMAGES_WORKING + self.masks * _MASKS_WORKING) + _SIMILARITY_WORKING
        both = fixed_ready + _NORMALIZED_VOXEL * (moving + sum(sizes[2 : 2 * pairs])) + images * self.working.size
        extra = self.forces * _FORCES_WORKING + self.cross_contrast * _MAPPED_WORKING
        network = self.network * (self._network + extra * self.working.size)
        deformed = both + self._left_of_network + self._field_working
        field = self._field
        moved = deformed + _FIELD * field + self.resampled_bytes * self.fixed.size
        inverse = self.inverse * _FIELD * field
        quality = max(_QUALITY_WORKING * self.working.size, self.labels * _LABEL_VOXEL * self.fixed.size)
        consistency = self.inverse * _INVERSE_CONSISTENCY * field
        return {
            "choose model": read + _NORMALIZING_VOXEL * fixed,
            "affine": fixed_ready + max(_RESAMPLING_VOXEL * max(fixed, moving), _AFFINE_SAMPLE * self.affine_samples),
            "prepare": max(fixed_ready + _NORMALIZING_VOXEL * moving, both + self.masks * _MASKING_VOXEL * largest),
            "network": both + network,
            "refine": both + self._left_of_network + self.refinement * self._refinement_working * self.working.size,
            "field": deformed + _COMPOSING_FIELD * field,
            "diffeomorphic": deformed + (_FIELD + self.diffeomorphic * _DIFFEOMORPHIC) * field,
            "resample": moved + _RESAMPLING_VOXEL * largest,
            "inverse": moved + inverse,
            "jacobian": moved + inverse,
            "quality": moved + inverse + max(quality, consistency),
            "write": read + _FIELD * field + inverse + (self.resampled_bytes + _WRITING_VOXEL) * self.fixed.size,
        }

    @property
    def _network(self) -> int:
        """Return the bytes of the running network, forces aside."""
        return _NETWORK + (_NETWORK_WORKING_BF16 if self.native_bf16 else _NETWORK_WORKING) * self.working.size

    @property
    def _left_of_network(self) -> int:
        """Return the bytes that stay after the network, with its features if the engine is retained."""
        if not self.network:
            return 0
        return self._network if self.retain_engine else _NETWORK

    @property
    def _refinement_working(self) -> int:
        masked = (self.masks or self.edges) * _MASKED_REFINEMENT
        each = [
            masked + self.contrast * _CONTRAST_WORKING + a * _CROSS_CONTRAST_WORKING
            for a in (self.cross_contrast, *self.further)
        ]
        further = len(self.further) * _FURTHER_PAIR_WORKING
        step = _REFINEMENT_HALF_WORKING if self.half_field else _REFINEMENT_WORKING
        return step + sum(each) + further + self.multi_start * _MULTI_START_WORKING

    @property
    def _field_working(self) -> int:
        """Return the bytes of the displacement on the working grid, and of what the refinement retains."""
        left = self.multi_start * self.contrast * _RETAINED_MULTI_START_WORKING
        field = _FIELD / _HALF_GRID if self.half_field else _FIELD
        return int(self.refinement * (field + left) * self.working.size)

    @property
    def _field(self) -> int:
        """Return the number of voxels of the field that is written."""
        return (self.field or self.fixed).size if self.network or self.refinement else 0


def _resident() -> int:
    """Return the resident bytes of this process; 0 if the system does not report them."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_memory_estimate(subject: str, demand: MemoryEstimate) -> None:
    """Refuse a registration that does not fit into memory.

    Raises:
        MemoryEstimateError: naming `subject`.
    """
    spacing = demand.working.spacing_mm.min()
    check_memory(
        subject,
        demand.bytes - _resident(),
        remedy="work on a coarser grid with --coarsen 2, crop the volume, or check its voxel size: the working grid "
        f"has {spacing:g} mm",
    )


@cache
def limit_malloc_arenas() -> None:
    """Limit glibc's malloc to two arenas for all threads of this process.

    By default each thread has its own arena, and their fragmentation grows for hundreds of registrations.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
