"""The volume: voxels on a grid, with the header fields and notes of their file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid

__all__ = ["UNKNOWN_SIDES", "Volume"]

UNKNOWN_SIDES = (
    "neither sform nor qform: voxel sizes only, assumed to run left, anterior, superior; sides may be swapped, and ITK "
    "assumes other directions"
)
"""Note on a file whose header does not tell left from right."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid.

    Args:
        data: (D, H, W) array in the axis order of `grid`; the dtype is that of the file after scaling
            (integers stay integers unless the header scales them).
        grid: shape and voxel-to-world matrix.
        source: the file, or a description of an object in memory; used in messages.
        header: NIfTI geometry fields that `write` copies to files on this grid (see `nifti_header.geometry_fields`);
            empty for other formats.
        notes: assumptions and repairs of the reader, one sentence each, for the user's log and the run record.

    Raises:
        InputError: if data and grid disagree in shape.
    """

    data: NDArray[Any]
    grid: Grid
    source: str = "volume in memory"
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.shape != self.grid.shape:
            raise InputError(
                self.source,
                expected=f"data of shape {self.grid.shape}",
                got=str(self.data.shape),
                remedy="give an array on its own grid",
            )

    def canonical(self) -> Volume:
        """Return the volume with its axes closest to RAS+ (a view; no interpolation)."""
        order = self.grid.canonical()
        return Volume(order.array(self.data), order.grid(self.grid), self.source, self.header, self.notes)
