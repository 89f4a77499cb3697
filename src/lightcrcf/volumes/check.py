"""Is there an image in the volume?"""

from __future__ import annotations

import numpy as np

from lightcrcf.errors import InputError
from lightcrcf.volumes.volume import Volume

__all__ = ["check_usable"]


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
