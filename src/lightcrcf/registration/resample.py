"""Move an image or a label map through a transform, with a value for what has no data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lightcrcf.errors import UsageError
from lightcrcf.options import Fill
from lightcrcf.preprocessing.missing_data import can_hold, estimate_background, fill_unknown, measured_mask
from lightcrcf.preprocessing.validity import Extent
from lightcrcf.transforms.chain import Chain, Interpolation
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes.volume import Volume

__all__ = ["move", "move_labels"]

_WHOLE = 0.99  # of the voxels that a value is made of must be known


def move(
    chain: Chain, volume: Volume, onto: Volume, interpolation: Interpolation, fill: Fill, extent: Extent | None = None
) -> Volume:
    """`volume` on the grid of `onto`, interpolated once.

    Args:
        chain: from points of `onto` to points of `volume`.
        volume: an image or a label map.
        onto: gives grid and header.
        interpolation: as for `Chain.resample`.
        fill: what becomes of voxels outside of `volume`, NaN and padding; "auto" is the background of an image, and 0
            for a label map.
        extent: where the image has data, if it was examined already.

    Raises:
        UsageError: for a value that the data type of a label map cannot hold.
    """
    if interpolation in ("auto", "nearest") and is_label_map(volume.data):
        return move_labels(chain, volume, onto, fill)
    interpolation = "linear" if interpolation == "auto" else interpolation
    known = measured_mask(volume) if extent is None else extent.measured
    value = estimate_background(volume, known) if fill == "auto" else float(fill)
    if interpolation == "nearest":
        _check_held(volume, value)
    between = math.isnan(value) and interpolation != "nearest"  # NaN would take all that is made of one such voxel
    seen = fill_unknown(volume, known, estimate_background(volume, known) if between else value)
    moved = chain.resample(seen, onto.grid, interpolation, fill=value)
    if between and known is not None:
        whole = chain.resample(replace(volume, data=known.astype(np.float32)), onto.grid, "linear", fill=1.0)
        moved = replace(moved, data=np.where(whole.data > _WHOLE, moved.data, np.float32(np.nan)))
    return replace(moved, header=onto.header)


def move_labels(chain: Chain, labels: Volume, onto: Volume, fill: Fill = "auto") -> Volume:
    """A label map on the grid of `onto`, by nearest neighbour, whatever its values look like; arguments as in `move`.

    Raises:
        UsageError: for a value that its data type cannot hold.
    """
    value = 0.0 if fill == "auto" else float(fill)
    _check_held(labels, value)
    return replace(chain.resample(labels, onto.grid, "nearest", fill=value), header=onto.header)


def _check_held(volume: Volume, value: float) -> None:
    if not can_hold(volume.data.dtype, value):
        raise UsageError(
            "fill", expected=f"a value of {volume.data.dtype}, as {volume.source} has", got=f"{value:g}",
            remedy="choose another value, or --interpolation linear",
        )  # fmt: skip
