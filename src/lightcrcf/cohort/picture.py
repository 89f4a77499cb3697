"""A small picture of a registration, to look through many of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightcrcf.pipeline.foreground import foreground
from lightcrcf.pipeline.register import Registration
from lightcrcf.report.planes import planes, slice_image, thinned
from lightcrcf.volumes import Volume

__all__ = ["write_picture"]

_MOST_PIXELS = 160


def write_picture(path: Path, registration: Registration) -> None:
    """An axial, a coronal and a sagittal plane side by side: the fixed volume in magenta, the moved one in green.

    Where both agree the sum is grey. The file is a PNG whatever its name; the same input gives the same bytes.
    """
    tiles = []
    for plane in planes(registration.fixed):
        step = max(1, -(-max(plane.grid.shape) // _MOST_PIXELS))
        fixed, moved = (
            _gray(slice_image(volume, plane), volume)[::step, ::step]
            for volume in (registration.fixed, registration.moved)
        )
        tiles.append(np.stack([fixed, moved, fixed], axis=-1))
    height = max(tile.shape[0] for tile in tiles)
    pixels = np.round(255 * np.concatenate([_centred(tile, height) for tile in tiles], axis=1)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def _gray(image: NDArray[np.float32], volume: Volume) -> NDArray[np.float32]:
    """Values from 0 to 1; the window is one for the whole volume."""
    data = thinned(volume)[0]
    mask = foreground(data)
    low, high = float(data.min()), float(np.percentile(data[mask] if mask.any() else data, 99.5))
    scaled = (np.nan_to_num(image, nan=low) - low) / max(high - low, float(np.finfo(np.float32).tiny))
    return np.clip(scaled, 0, 1).astype(np.float32)


def _centred(tile: NDArray[np.float32], height: int) -> NDArray[np.float32]:
    above = (height - tile.shape[0]) // 2
    return np.pad(tile, ((above, height - tile.shape[0] - above), (0, 0), (0, 0)))
