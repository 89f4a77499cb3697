"""The field of a network for a pair; of two contrasts, one image is mapped to the contrast of the other one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.engines.base import Engine
from lightcrcf.geometry.kernels import warp_upsampled
from lightcrcf.preprocessing.local_regression import in_contrast_of
from lightcrcf.refinement.working_pair import WorkingPair

__all__ = ["predict"]

Float32 = NDArray[np.float32]

_LARGER = 1.01  # voxels of images that were written with rounded spacings


def predict(network: Engine, pair: WorkingPair, *, across: bool) -> Float32:
    """Return the network's displacement, (3, d, h, w) voxels of half the working grid.

    Args:
        network: runs the model.
        pair: on the working grid.
        across: whether the images are of two contrasts. The network then runs twice, the second time with intensities
            mapped where the first one aligned the images.
    """
    if not across:
        return network.displacement(*pair.for_network())
    fixed, moving = pair.counted()
    found = network.displacement(*pair.filled(*_in_one_contrast(pair, fixed, moving, moving)))
    moved = warp_upsampled(moving[None], found, pair.pool)[0]
    return network.displacement(*pair.filled(*_in_one_contrast(pair, fixed, moving, moved)))


def _in_one_contrast(pair: WorkingPair, fixed: Float32, moving: Float32, moved: Float32) -> tuple[Float32, Float32]:
    """Return both images in one contrast, that of the image with smaller voxels, of the fixed one if they are equal.

    Args:
        pair: of the images.
        fixed, moving: (D, H, W), 0 where they do not count.
        moved: (D, H, W), the moving image where it is compared with the fixed one.
    """
    sizes = [float(np.prod(image.grid.spacing_mm)) for image in pair.images]
    if sizes[0] > _LARGER * sizes[1]:
        return in_contrast_of(moved, fixed, pool=pair.pool), moving
    return fixed, in_contrast_of(fixed, moving, moved, pair.pool)
