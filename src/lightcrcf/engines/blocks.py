"""Space-to-depth: the encoder's input, written once into the memory that it is read from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import kernel, ready

__all__ = ["space_to_depth"]


def space_to_depth(*images: NDArray[np.float32], pool: tuple[int, int, int] = (2, 2, 2)) -> NDArray[np.float32]:
    """N images (D, H, W) of even sizes to (N, 8, D/2, H/2, W/2), as `network.model.space_to_depth`.

    Example:
        >>> space_to_depth(np.arange(8, dtype=np.float32).reshape(2, 2, 2)).ravel().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    depth, height, width = images[0].shape
    if pool != (2, 2, 2):
        p, q, r = pool
        split = np.stack(images).reshape(len(images), depth // p, p, height // q, q, width // r, r)
        return split.transpose(0, 2, 4, 6, 1, 3, 5).reshape(len(images), -1, depth // p, height // q, width // r)
    out = np.empty((len(images), 8, depth // 2, height // 2, width // 2), np.float32)
    for image, blocks in zip(images, out, strict=True):
        _space_to_depth(ready(image), blocks)
    return out


@kernel
def _space_to_depth(image: Any, out: Any) -> None:
    _, depth, height, width = out.shape
    for i in prange(depth):
        for a in range(2):
            for j in range(height):
                for b in range(2):
                    line = image[2 * i + a, 2 * j + b]
                    even, odd = out[4 * a + 2 * b, i, j], out[4 * a + 2 * b + 1, i, j]
                    for k in range(width):
                        even[k], odd[k] = line[2 * k], line[2 * k + 1]
