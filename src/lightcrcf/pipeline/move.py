"""Move an image or a label map through a transform, with a value for what has no data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lightcrcf.errors import UsageError
from lightcrcf.pipeline.measured import filled
from lightcrcf.pipeline.options import Fill
from lightcrcf.transforms.chain import Chain, Interpolation
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes.volume import Volume

__all__ = ["move"]


def move(chain: Chain, volume: Volume, onto: Volume, interpolation: Interpolation, fill: Fill) -> Volume:
    """`volume` on the grid of `onto`, interpolated once.

    Args:
        chain: from points of `onto` to points of `volume`.
        volume: an image or a label map.
        onto: gives grid and header.
        interpolation: as for `Chain.resample`.
        fill: what becomes of voxels outside of `volume`, NaN and padding; "auto" is the background of an image, and 0
            for a label map.

    Raises:
        UsageError: for a value that the data type of a label map cannot hold.
    """
    if interpolation in ("auto", "nearest") and is_label_map(volume.data):
        value, interpolation = 0.0 if fill == "auto" else fill, "nearest"
    else:
        volume, value = filled(volume, fill)
        interpolation = "linear" if interpolation == "auto" else interpolation
    if interpolation == "nearest" and np.asarray(value).astype(volume.data.dtype) != value:
        raise UsageError(
            "fill", expected=f"a value of {volume.data.dtype}, as {volume.source} has", got=f"{value:g}",
            remedy="choose another value, or --interpolation linear",
        )  # fmt: skip
    moved = chain.resample(volume, onto.grid, interpolation, fill=value)
    return replace(moved, header=onto.header)
