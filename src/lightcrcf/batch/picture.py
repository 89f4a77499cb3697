"""A small picture of a registration, to look through many of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightcrcf.cache.registration import Shared
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.report.planes import Plane, planes, slice_image, thinned
from lightcrcf.volumes import Volume

__all__ = ["write_picture"]

_MOST_PIXELS = 160
Tiles = list[NDArray[np.float32]]


def write_picture(path: Path, fixed: Volume, moved: Volume, shared: Shared) -> None:
    """An axial, a coronal and a sagittal plane side by side: the fixed volume in magenta, the moved one in green.

    Where both agree the sum is grey. The file is a PNG whatever its name; the same input gives the same bytes.

    Args:
        path: to write.
        fixed, moved: on one grid.
        shared: remembers how a fixed volume looks.
    """
    at, seen = shared.about(fixed, "picture", lambda: _planes_and_tiles(fixed))
    tiles = [np.stack([f, m, f], axis=-1) for f, m in zip(seen, _tiles(moved, at), strict=True)]
    height = max(tile.shape[0] for tile in tiles)
    pixels = np.round(255 * np.concatenate([_centred(tile, height) for tile in tiles], axis=1)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def _planes_and_tiles(volume: Volume) -> tuple[Sequence[Plane], Tiles]:
    at = planes(volume)
    return at, _tiles(volume, at)


def _tiles(volume: Volume, at: Sequence[Plane]) -> Tiles:
    """Values from 0 to 1 on each plane; the window is one for the whole volume."""
    data = thinned(volume)[0]
    mask = foreground(data)
    low, high = float(data.min()), float(np.percentile(data[mask] if mask.any() else data, 99.5))
    width = max(high - low, float(np.finfo(np.float32).tiny))
    tiles = []
    for plane in at:
        step = max(1, -(-max(plane.grid.shape) // _MOST_PIXELS))
        image = np.nan_to_num(slice_image(volume, plane)[::step, ::step], nan=low)
        tiles.append(np.clip((image - low) / width, 0, 1).astype(np.float32))
    return tiles


def _centred(tile: NDArray[np.float32], height: int) -> NDArray[np.float32]:
    above = (height - tile.shape[0]) // 2
    return np.pad(tile, ((above, height - tile.shape[0] - above), (0, 0), (0, 0)))
