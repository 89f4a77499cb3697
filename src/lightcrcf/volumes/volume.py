"""A volume: numbers on a grid, and what must survive of the file they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import Grid

__all__ = ["Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """Numbers on a grid.

    Args:
        data: (D, H, W) array in the order of `grid`'s axes; the dtype is the file's after scaling
            (integers stay integers unless the header scales them).
        grid: where the voxels lie.
        source: the file, or a word for an object in memory; used in messages.
        header: what the writer copies to a file made on this grid (see `nifti_header.geometry_fields`); empty for
            formats that have nothing to copy.
        notes: what the reader had to assume or mend, one sentence each; meant for the user's log and run record.

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

    @property
    def is_integer(self) -> bool:
        """True for integer data, which is moved as labels unless told otherwise."""
        return bool(np.issubdtype(self.data.dtype, np.integer) or self.data.dtype == np.bool_)

    def canonical(self) -> Volume:
        """The same volume with its axes closest to RAS+ (a view; no interpolation)."""
        order = self.grid.canonical()
        return Volume(order.array(self.data), order.grid(self.grid), self.source, self.header, self.notes)
