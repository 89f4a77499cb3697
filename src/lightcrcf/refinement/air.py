"""Keep what surrounds a body in a CT where the affine puts it: no force says how air, a table or a blanket moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.alignment_kernels import block_mean
from lightcrcf.geometry.kernels import warp
from lightcrcf.geometry.refinement_kernels import gaussian
from lightcrcf.preprocessing.masks import fill_holes_in_slices
from lightcrcf.refinement.working_pair import WorkingPair

__all__ = ["faded_in_air"]

Float32 = NDArray[np.float32]

_BODY = 0.2  # in unit intensities, between the noise of air and fat; lungs are enclosed
# A Gaussian of the mask, so many times: 1 within any body, however convex, and 0 in 65 mm. Steeper ones would fold
# displacements of 20 mm.
_SIGMA_MM, _TIMES = 25.0, 4.0


def faded_in_air(displacement: Float32, pair: WorkingPair) -> Float32:
    """Fade a displacement to zero with the distance from both bodies; within them it stays as it is.

    Args:
        displacement: (3, d, h, w) on the working grid or its half, in voxels of it.
        pair: of CTs, on the working grid; the last axis points upwards.

    Returns:
        A new field of the same shape.
    """
    lattice, images = pair.lattice(displacement), (pair.fixed, pair.moving)
    if lattice is not pair.grid:
        images = block_mean(pair.fixed, pair.pool), block_mean(pair.moving, pair.pool)
    moved = warp(images[1][None], displacement)[0]
    body = _beyond_the_ends(fill_holes_in_slices((images[0] > _BODY) | (moved > _BODY))).astype(np.float32)
    sigmas = _SIGMA_MM / lattice.spacing_mm
    near = gaussian(body[None], (sigmas[0], sigmas[1], sigmas[2]))
    weight: Float32 = np.minimum(np.float32(_TIMES) * near[0], np.float32(1))
    return np.asarray(displacement * weight, np.float32)


def _beyond_the_ends(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask whose first and last slices go on to the ends of the last axis: a body ends with no scan."""
    slices = np.flatnonzero(body.any(axis=(0, 1)))
    return body[:, :, np.clip(np.arange(body.shape[2]), slices[0], slices[-1])] if len(slices) else body
