"""Space-to-depth, the input of the encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import kernel, ready

__all__ = ["space_to_depth"]


def space_to_depth(
    *images: NDArray[np.float32], pool: tuple[int, int, int] = (2, 2, 2), out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Rearrange N images (D, H, W) of even sizes to (N, 8, D/2, H/2, W/2), as `network.model.space_to_depth`.

    Args:
        images: of one shape.
        pool: downsampling factors: 2, or 1 for an axis that keeps its voxels; then there are fewer channels.
        out: overwritten, of the shape of the result; allocating takes longer than filling.

    Example:
        >>> space_to_depth(np.arange(8, dtype=np.float32).reshape(2, 2, 2)).ravel().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    depth, height, width = images[0].shape
    p, q, r = pool
    if out is None:
        out = np.empty((len(images), p * q * r, depth // p, height // q, width // r), np.float32)
    for image, blocks in zip(images, out, strict=True):
        if pool == (2, 2, 2):
            _space_to_depth(ready(image), blocks)
        else:
            split = image.reshape(depth // p, p, height // q, q, width // r, r).transpose(1, 3, 5, 0, 2, 4)
            blocks.reshape(split.shape)[:] = split
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
