"""Is there an image in the volume, and does another lie on its grid?"""

from __future__ import annotations

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.volumes.volume import Volume

__all__ = ["check_same_grid", "check_usable"]

_SAME_MM = 0.01  # what tools round when they write headers


def check_usable(volume: Volume, role: str) -> None:
    """Refuse an image in which nothing can be registered; not meant for labels and masks.

    Args:
        volume: the image.
        role: "fixed" or "moving", for the message.

    Raises:
        InputError: if any voxel is NaN or infinite, or all are equal.
    """
    bad = volume.data.size - int(np.count_nonzero(np.isfinite(volume.data)))
    if bad:
        raise InputError(
            volume.source,
            expected=f"finite voxels in the {role} image",
            got=f"{bad} of {volume.data.size} NaN or infinite",
            remedy="replace them, for instance with numpy.nan_to_num",
        )
    low, high = float(volume.data.min()), float(volume.data.max())
    if low == high:
        raise InputError(
            volume.source,
            expected=f"a {role} image with contrast",
            got=f"{low:g} in every voxel",
            remedy="check that this is the right file",
        )


def check_same_grid(
    volume: Volume, image: Volume, *, what: str, of: str, got: str = "another grid", remedy: str
) -> None:
    """Refuse a mask or label map that does not lie voxel on voxel with its image.

    Args:
        volume: the mask or label map.
        image: whose grid it should have.
        what, of, got, remedy: words of the message: "expected WHAT of OF, (D, H, W), got GOT, (D, H, W); REMEDY".

    Raises:
        InputError: if shape or place differ.
    """
    if not volume.grid.isclose(image.grid, tolerance_mm=_SAME_MM):
        raise InputError(
            volume.source,
            expected=f"{what} of {of}, {image.grid.shape}",
            got=f"{got}, {volume.grid.shape}",
            remedy=remedy,
        )
