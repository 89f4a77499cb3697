"""From an affinely aligned pair to the deformable part of a transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.transforms.field import DisplacementField

__all__ = ["TAPER", "field_grid", "on_fixed"]

Float32 = NDArray[np.float32]
Int = NDArray[np.int_]
Pool = tuple[int, int, int]

_NOTHING = 1e-6  # what rounding leaves of an axis that another does not share

TAPER = 8
"""Voxels of a half-resolution field over which it fades to zero outside the working grid."""


def field_grid(fixed: Grid, lattice: Grid, pool: Pool = (2, 2, 2)) -> Grid:
    """The grid of the field on disk: half of the fixed grid if that keeps all of the field, or the fixed grid itself.

    Args:
        fixed: the fixed grid in working axes.
        lattice: the field's own grid.
        pool: of the network.
    """
    half = fixed.half(pool)
    return half if bool((half.spacing_mm <= lattice.spacing_mm * 1.01).all()) else fixed


def on_fixed(
    displacement: Float32,
    lattice: Grid,
    fixed: Grid,
    order: AxisOrder,
    pool: Pool = (2, 2, 2),
    taper: int = TAPER,
) -> DisplacementField:
    """A field on the grid that is written, covering the whole fixed image.

    Outside of its own grid the border's displacement fades to zero, so that the field is continuous. Where both
    grids share a lattice no value is interpolated.

    Args:
        displacement: (3, d, h, w), voxels of `lattice`.
        lattice: the working grid, or half of it.
        fixed: the fixed image's grid, in its file's axes.
        order: from those to the working axes.
        pool: of the network.
        taper: voxels of `lattice` over which the field fades to zero outside of it.
    """
    target = field_grid(order.grid(fixed), lattice, pool)
    step = target.to(lattice)
    shared = np.allclose(step[:3, :3], np.eye(3), atol=1e-4) and np.allclose(
        step[:3, 3], np.round(step[:3, 3]), atol=1e-3
    )
    vectors = (_copied if shared else _interpolated)(displacement, lattice, target, taper)
    return DisplacementField(target, vectors).reorder(order.inverse())


def _copied(displacement: Float32, lattice: Grid, target: Grid, taper: int) -> Float32:
    """The vectors on the part of their own lattice that `target` is."""
    origin = np.round(target.to(lattice)[:3, 3]).astype(int)
    start, stop = _reached(origin, origin + np.array(target.shape), displacement.shape[1:], taper)
    where = tuple(slice(first, last) for first, last in zip(start - origin, stop - origin, strict=True))
    vectors = np.zeros((3, *target.shape), np.float32)
    vectors[(slice(None), *where)] = _extended(displacement, start, stop, taper)
    return vectors


def _interpolated(displacement: Float32, lattice: Grid, target: Grid, taper: int) -> Float32:
    """The vectors on `target`, in its voxels; one channel at a time, as they may be most of what memory holds."""
    step = np.array(target.to(lattice))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in target.shape], indexing="ij")).reshape(3, -1).T
    reached = corners @ step[:3, :3].T + step[:3, 3]
    start, stop = np.floor(reached.min(axis=0)).astype(int) - 1, np.ceil(reached.max(axis=0)).astype(int) + 2
    start, stop = _reached(start, stop, displacement.shape[1:], taper)
    step[:3, 3] -= start
    linear = (target.inverse @ lattice.affine)[:3, :3].astype(np.float32)
    vectors = np.zeros((3, *target.shape), np.float32)
    for old, channel in enumerate(_extended(displacement, start, stop, taper)):
        sampled = resample(channel, target.shape, step[:3])
        for new in np.flatnonzero(np.abs(linear[:, old]) > _NOTHING * np.abs(linear).max()):
            vectors[new] += linear[new, old] * sampled
    return vectors


def _reached(start: Int, stop: Int, shape: tuple[int, ...], taper: int) -> tuple[Int, Int]:
    """The part of start..stop, at least one voxel, that is not zero: what lies further out than the taper is."""
    first = np.minimum(np.maximum(start, -taper - 1), stop - 1)
    return first, np.maximum(np.minimum(stop, np.array(shape) + taper + 1), first + 1)


def _extended(displacement: Float32, start: Int, stop: Int, taper: int) -> Float32:
    """Voxels start..stop of the lattice of `displacement`; outside of it the border fades to zero."""
    out = displacement
    for axis in range(3):
        index = np.arange(start[axis], stop[axis])
        n = displacement.shape[axis + 1]
        outside = np.maximum(np.maximum(-index, index - (n - 1)), 0)
        weight = np.clip(1.0 - outside / taper, 0.0, 1.0).astype(np.float32)
        shape = [-1 if a == axis + 1 else 1 for a in range(4)]
        out = out.take(np.clip(index, 0, n - 1), axis=axis + 1)
        out *= weight.reshape(shape)
    return np.ascontiguousarray(out)
