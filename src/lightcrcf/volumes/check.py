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
        InputError: if no voxel is finite, or all that are have one value.
    """
    low, high = _finite_range(volume)
    if not low < high:
        raise InputError(
            volume.source,
            expected=f"a {role} image with contrast",
            got="NaN or infinity in every voxel" if low > high else f"{low:g} in every voxel",
            remedy="check that this is the right file",
        )


def _finite_range(volume: Volume) -> tuple[float, float]:
    """The least and the greatest finite value; infinity and its negative if there is none."""
    low, high = float(volume.data.min()), float(volume.data.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = volume.data[np.isfinite(volume.data)]
    return float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))


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
