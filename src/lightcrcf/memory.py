"""How much memory a registration will need, told before it begins to compute; and keeping it from growing."""

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

__all__ = ["Demand", "check_demand", "share_arenas"]

# Bytes, measured stage by stage on pairs of 0.1 to 157 million voxels; tests and `lightcrcf bench scaling` tell how far
# off the sum is. "Voxel" is one of the file's grid, "working voxel" one of the working grid.
_PROGRAM = 175 << 20  # the interpreter, the libraries and the compiled kernels
_NETWORK = 65 << 20  # OpenVINO, its graphs and their threads
_NETWORK_IN_PAIRS = 25 << 20  # the same of a network in bfloat16 in our own kernels
_PREPARED_VOXEL = 4  # a prepared image stays, in float32
_PREPARING_VOXEL = 13  # while it is made: copies in float32, the foreground, the percentiles
_AFFINE_SAMPLE = 55  # of each image at the finest resolution of the affine alignment: planes, levels, local means
_MASKING_VOXEL = 9  # a mask on its way to the working grid
_IMAGES_WORKING = 12  # both images, and the moving one as the headers place it
_MASKS_WORKING = 12  # the same of masks
_LOOKING_WORKING = 10  # of looking how alike the images are, which the allocator does not give back
_MASKED_REFINEMENT = 12  # and while the refinement weighs by them, or by where a masked image was set to 0
_NETWORK_WORKING = 48  # features of all levels
_NETWORK_WORKING_IN_PAIRS = 34
_REFINEMENT_WORKING = 60  # the field, and what a step needs beside it
_CONTRAST_WORKING = 28  # the same terms of local contrast, and both images of it
_ACROSS_WORKING = 24  # what windows share of the fixed image, and one term more
_FURTHER_WORKING = 16  # of a further pair: the moved image, and terms of the force
_MULTI_START_WORKING = 12  # the fields of several candidates, and what merges them
_LEFT_OF_MULTI_START_WORKING = 28  # that the allocator does not give back, where they compared contrast too
_INSPECTION_WORKING = 16  # of quality control
_FIELD = 12  # a field in float32
_MAKING_FIELD = 24  # as it is made, itself included
_UNFOLDING = 20
_CHECKING_INVERSE = 26
_RESAMPLING_VOXEL = 4  # the image in the kernels' type
_LABELLED_VOXEL = 8  # what becomes of labels that were moved
_WRITING_VOXEL = 12
_M_ARENA_MAX = -8  # of malloc.h


@dataclass(frozen=True)
class Demand:
    """What a registration holds at once.

    Args:
        volumes: everything that was read, the fixed and the moving image first, and those of further pairs after them.
        fixed: grid on which results are written.
        working: grid on which the network and the refinement work.
        network: whether there is a network.
        refinement: whether there is a refinement.
        inverse: whether the field is inverted.
        diffeomorphic: whether folds are removed.
        kept: whether the network stays for further registrations.
        affine: samples of both images at the finest resolution of the affine alignment; 0 without it.
        contrast: whether the refinement compares local contrast at full resolution.
        across: whether it compares images of two contrasts.
        further: of each further pair of images, whether it is of two contrasts.
        pairs: whether the network runs in bfloat16 in our own kernels.
        multi_start: whether it has several candidates.
        field: grid of the field that is written, if there is one; `fixed` if None.
        masks: whether the images have masks, or something in them is unknown.
        edges: whether the edges of masked images weigh less at full resolution.
        examined: bytes of what tells where it is unknown, and of the images as they were read, before it was filled.
        moved: bytes to a voxel of `fixed` of all that is moved onto it or measured there, the moving image alone by
            default.
        labels: whether label maps are moved.

    Example:
        >>> import numpy as np
        >>> grid = Grid((100, 100, 100), np.eye(4))
        >>> volume = Volume(np.zeros(grid.shape, np.int16), grid)
        >>> Demand((volume, volume), grid, grid, network=False, refinement=False).bytes >> 20
        224
    """

    volumes: Sequence[Volume]
    fixed: Grid
    working: Grid
    network: bool
    refinement: bool
    inverse: bool = False
    diffeomorphic: bool = False
    kept: bool = False
    affine: int = 0
    contrast: bool = False
    across: bool = False
    further: Sequence[bool] = ()
    pairs: bool = False
    multi_start: bool = False
    field: Grid | None = None
    masks: bool = False
    edges: bool = False
    examined: int = 0
    moved: int = 4
    labels: bool = False

    @property
    def bytes(self) -> int:
        """Largest resident memory of the process."""
        return max(self.stages().values())

    def stages(self) -> dict[str, int]:
        """Resident memory of the process at the height of each stage, by the names that `run.json` times them by."""
        sizes = [volume.data.size for volume in self.volumes]
        fixed, moving, largest = *(sizes or [0])[:1], *(sizes[1:] or [0])[:1], max(sizes, default=0)
        read = _PROGRAM + sum({id(v.data): v.data.nbytes for v in self.volumes}.values()) + self.examined
        one = read + _PREPARED_VOXEL * fixed
        pairs = 1 + len(self.further)
        images = pairs * (_IMAGES_WORKING + self.masks * _MASKS_WORKING) + _LOOKING_WORKING
        both = one + _PREPARED_VOXEL * (moving + sum(sizes[2 : 2 * pairs])) + images * self.working.size
        network = self._network if self.network else 0
        deformed = both + self._left_of_network + self._field_working
        field = self._field
        moved = deformed + _FIELD * field + self.moved * self.fixed.size
        inverse = self.inverse * _FIELD * field
        judging = max(_INSPECTION_WORKING * self.working.size, self.labels * _LABELLED_VOXEL * self.fixed.size)
        checking = self.inverse * _CHECKING_INVERSE * field
        return {
            "choose model": read + _PREPARING_VOXEL * fixed,
            "affine": one + max(_RESAMPLING_VOXEL * max(fixed, moving), _AFFINE_SAMPLE * self.affine),
            "prepare": max(one + _PREPARING_VOXEL * moving, both + self.masks * _MASKING_VOXEL * largest),
            "network": both + network,
            "refine": both + self._left_of_network + self.refinement * self._refinement_working * self.working.size,
            "field": deformed + _MAKING_FIELD * field,
            "diffeomorphic": deformed + (_FIELD + self.diffeomorphic * _UNFOLDING) * field,
            "resample": moved + _RESAMPLING_VOXEL * largest,
            "inverse": moved + inverse,
            "jacobian": moved + inverse,
            "quality": moved + inverse + max(judging, checking),
            "write": read + _FIELD * field + inverse + (self.moved + _WRITING_VOXEL) * self.fixed.size,
        }

    @property
    def _network(self) -> int:
        """Of the network while it runs."""
        library, features = (
            (_NETWORK_IN_PAIRS, _NETWORK_WORKING_IN_PAIRS) if self.pairs else (_NETWORK, _NETWORK_WORKING)
        )
        return library + features * self.working.size

    @property
    def _left_of_network(self) -> int:
        """Its libraries stay; so do its features if it is kept."""
        if not self.network:
            return 0
        return self._network if self.kept else _NETWORK_IN_PAIRS if self.pairs else _NETWORK

    @property
    def _refinement_working(self) -> int:
        masked = (self.masks or self.edges) * _MASKED_REFINEMENT
        each = [masked + self.contrast * _CONTRAST_WORKING + a * _ACROSS_WORKING for a in (self.across, *self.further)]
        further = len(self.further) * _FURTHER_WORKING
        return _REFINEMENT_WORKING + sum(each) + further + self.multi_start * _MULTI_START_WORKING

    @property
    def _field_working(self) -> int:
        """Of the displacement on the working grid, and of what made it."""
        left = self.multi_start * self.contrast * _LEFT_OF_MULTI_START_WORKING
        return self.refinement * (_FIELD + left) * self.working.size

    @property
    def _field(self) -> int:
        """Voxels of the field that is written."""
        return (self.field or self.fixed).size if self.network or self.refinement else 0


def _resident() -> int:
    """Bytes that this process holds already; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_demand(subject: str, demand: Demand) -> None:
    """Refuse a registration that memory cannot hold.

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
def share_arenas() -> None:
    """Let all threads of this process allocate from two of glibc's arenas, once and for all.

    By itself each thread takes one of its own, and what lies scattered in them grows for hundreds of registrations.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
