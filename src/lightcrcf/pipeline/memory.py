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

# Fitted to the largest resident memory of whole commands on pairs of 0.9 to 9.7 million voxels; `lightcrcf bench
# scaling` measures how far off it is.
_PROGRAM = 185 << 20  # the interpreter, the libraries and the compiled kernels
_NETWORK = 65 << 20  # OpenVINO, its graphs and their threads
_VOXEL_OF_IMAGE = 6  # beside what is stored: the prepared image in float32, and masks
_WORKING_VOXEL = 26  # both images, the moving one as the headers place it, and the field
_WORKING_VOXEL_NETWORK = 34  # features of all levels
_NETWORK_IN_PAIRS, _WORKING_VOXEL_IN_PAIRS = 25 << 20, 20  # the same of a network in bfloat16 in our own kernels
_WORKING_VOXEL_REFINEMENT = 43  # what a step needs beside the field
_WORKING_VOXEL_CONTRAST = 24  # the same terms of local contrast, and both images of it
_WORKING_VOXEL_LOOKS = 12  # the fields of several looks, and what chooses among them
_AFFINE_SAMPLE = 55  # of each image at the finest resolution of the affine alignment: planes, levels, local means
_FIELD_VOXEL = 28  # the field on the fixed grid, as it is made
_FIELD_VOXEL_INVERSE = 40
_FIELD_VOXEL_UNFOLDING = 60
_M_ARENA_MAX = -8  # of malloc.h


@dataclass(frozen=True)
class Demand:
    """What a registration holds at once.

    Args:
        volumes: everything that was read.
        fixed: grid on which results are written.
        working: grid on which the network and the refinement work.
        network: whether there is a network.
        refinement: whether there is a refinement.
        inverse: whether the field is inverted.
        diffeomorphic: whether folds are removed.
        kept: whether the network stays for further registrations.
        affine: samples of both images at the finest resolution of the affine alignment; 0 without it.
        contrast: whether the refinement compares local contrast at full resolution.
        pairs: whether the network runs in bfloat16 in our own kernels.
        looks: whether it looks several times.

    Example:
        >>> import numpy as np
        >>> grid = Grid((100, 100, 100), np.eye(4))
        >>> volume = Volume(np.zeros(grid.shape, np.int16), grid)
        >>> Demand((volume, volume), grid, grid, network=False, refinement=False).bytes >> 20
        225
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
    pairs: bool = False
    looks: bool = False

    @property
    def bytes(self) -> int:
        """Largest resident memory of the process."""
        images = sum(volume.data.nbytes + _VOXEL_OF_IMAGE * volume.data.size for volume in self.volumes)
        always = _PROGRAM + images + _WORKING_VOXEL * self.working.size
        always += self.network * (_NETWORK_IN_PAIRS if self.pairs else _NETWORK)  # its libraries stay
        features = _WORKING_VOXEL_IN_PAIRS if self.pairs else _WORKING_VOXEL_NETWORK
        network = self.network * features * self.working.size
        field = _FIELD_VOXEL if self.network or self.refinement else 0
        field += max(self.inverse * _FIELD_VOXEL_INVERSE, self.diffeomorphic * _FIELD_VOXEL_UNFOLDING)
        more = self.contrast * _WORKING_VOXEL_CONTRAST + self.looks * _WORKING_VOXEL_LOOKS
        refined = self.refinement * (_WORKING_VOXEL_REFINEMENT + more)
        after = max(refined * self.working.size, field * self.fixed.size)
        deformable = always + (network + after if self.kept else max(network, after))
        return max(deformable, _PROGRAM + images + _AFFINE_SAMPLE * self.affine)


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
