"""From an affinely aligned pair to the deformable part of a transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.pipeline.preprocess import Prepared
from lightcrcf.transforms.field import DisplacementField

__all__ = ["field_grid", "on_fixed"]

Float32 = NDArray[np.float32]

TAPER = 8
"""Half-resolution voxels over which the field fades to zero outside the working grid."""


def field_grid(fixed: Grid, working: Grid, pool: tuple[int, int, int]) -> Grid:
    """The grid of the field on disk: half of the fixed grid, or the fixed grid itself if that is coarse already.

    The network's field has twice the working spacing. Half of a fixed grid that is at most as coarse as the working
    grid keeps all of it; half of a coarser one would lose detail.

    Args:
        fixed: the fixed grid in working axes.
        working: the working grid.
        pool: of the network.
    """
    fine_enough = bool((fixed.spacing_mm <= working.spacing_mm * 1.01).all())
    return fixed.half(pool) if fine_enough else fixed


def on_fixed(displacement: Float32, working: Grid, fixed: Prepared, pool: tuple[int, int, int]) -> DisplacementField:
    """The network's field on the grid that is written, covering the whole fixed image.

    Outside of the working grid the border's displacement fades to zero, so that the field is continuous. Where both
    grids share a lattice no value is interpolated.

    Args:
        displacement: (3, d, h, w), voxels of `working.half(pool)`.
        working: the working grid.
        fixed: the fixed image; the field is given in its file's axes.
        pool: of the network.
    """
    back, working_half = fixed.order.inverse(), working.half(pool)
    target = field_grid(fixed.grid, working, pool)
    step = target.to(working_half)
    if np.allclose(step[:3, :3], np.eye(3), atol=1e-4) and np.allclose(step[:3, 3], np.round(step[:3, 3]), atol=1e-3):
        start = np.round(step[:3, 3]).astype(int)
        stop = start + np.array(target.shape)
        return DisplacementField(target, _extended(displacement, start, stop)).reorder(back)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in target.shape], indexing="ij")).reshape(3, -1).T
    reached = corners @ step[:3, :3].T + step[:3, 3]
    start, stop = np.floor(reached.min(axis=0)).astype(int) - 1, np.ceil(reached.max(axis=0)).astype(int) + 2
    # What lies further out than the taper is zero, as the kernel gives it; no need to store it.
    start = np.maximum(start, -TAPER - 1)
    stop = np.minimum(stop, np.array(displacement.shape[1:]) + TAPER + 1)
    stop = np.maximum(stop, start + 1)
    wide = _extended(displacement, start, stop)
    shifted = np.array(step)
    shifted[:3, 3] -= start
    vectors = np.stack([resample(channel, target.shape, shifted[:3]) for channel in wide])
    linear = (target.inverse @ working_half.affine)[:3, :3].astype(np.float32)
    return DisplacementField(target, np.einsum("ab,bxyz->axyz", linear, vectors)).reorder(back)


def _extended(displacement: Float32, start: NDArray[np.int_], stop: NDArray[np.int_]) -> Float32:
    """Voxels start..stop of the lattice of `displacement`; outside of it the border fades to zero."""
    out = displacement
    for axis in range(3):
        index = np.arange(start[axis], stop[axis])
        n = displacement.shape[axis + 1]
        outside = np.maximum(np.maximum(-index, index - (n - 1)), 0)
        weight = np.clip(1.0 - outside / TAPER, 0.0, 1.0).astype(np.float32)
        shape = [-1 if a == axis + 1 else 1 for a in range(4)]
        out = out.take(np.clip(index, 0, n - 1), axis=axis + 1) * weight.reshape(shape)
    return np.ascontiguousarray(out)
