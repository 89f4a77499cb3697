"""Where a brain lies in a head, from outlines alone: for heads whose inside tells little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import FAMILIES, Fit, System, exponential, generators, strain_of
from lightcrcf.affine.pyramid import Source
from lightcrcf.geometry.alignment_kernels import normal_equations
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import foreground, thin_out
from lightcrcf.preprocessing.masks import filled_in_slices
from lightcrcf.volumes.volume import Volume

__all__ = ["Inscribed", "Surface", "depth_map", "inscribed", "surface"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SPACING_MM = 4.0
# A head that is cut off by its grid goes on beyond it, by so many voxels.
_BEYOND = 12
# Half window in voxels of the closing: nostrils, ears, and the gaps under a brain.
_CLOSED = 3
# Depth of the brain's surface under the head's, and its spread from head to head, in mm at `_SPACING_MM`. Rows: how
# far up the surface point lies, -52.5 to 82.5 degrees in steps of 15, seen from the middle of the brain's box and in
# units of its half sides; columns: from front to back, 15 to 165 degrees in steps of 30. Source: median and standard
# deviation of the 40 heads of IXI that train our models, brains as labelled by DLMUSE. Under the brain lie face and
# neck, which tell little; their spread says so.
_LOWEST, _UP, _FRONTMOST, _ROUND = -52.5, 15.0, 15.0, 30.0
_DEPTH_MM = np.array(
    [
        [64.0, 51.5, 43.0, 33.0, 22.0, 25.5],
        [56.0, 40.0, 28.5, 23.0, 15.0, 17.5],
        [39.5, 29.0, 16.5, 14.0, 12.0, 12.0],
        [25.5, 19.5, 13.0, 10.5, 11.0, 9.0],
        [14.0, 10.5, 12.0, 10.0, 11.0, 10.5],
        [10.0, 9.0, 10.0, 9.0, 11.0, 12.5],
        [11.0, 9.5, 9.5, 11.0, 12.5, 14.0],
        [12.0, 11.0, 10.0, 11.5, 13.0, 14.0],
        [12.5, 11.5, 11.0, 11.0, 12.5, 15.0],
        [14.5, 13.0, 12.5, 12.5, 14.0, 15.5],
    ]
)
_SPREAD_MM = np.array(
    [
        [7.0, 5.5, 5.5, 5.5, 4.0, 4.5],
        [10.5, 6.0, 5.0, 3.5, 2.5, 3.0],
        [13.5, 6.0, 3.0, 2.5, 2.0, 2.5],
        [12.5, 6.0, 2.0, 2.0, 2.5, 3.0],
        [8.0, 4.0, 2.0, 2.0, 3.0, 3.5],
        [2.5, 1.5, 1.5, 1.5, 2.5, 3.5],
        [2.0, 1.5, 1.5, 2.0, 2.0, 3.0],
        [1.5, 1.5, 1.5, 2.0, 2.0, 2.5],
        [2.5, 2.0, 2.0, 2.0, 2.0, 2.5],
        [2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
    ]
)
# Cost of strain and of turning, in units of mean squared spread: a stretch by a tenth along one axis costs 0.1, a turn
# by ten degrees 0.1. The outline hardly says how the nearly round top of a head is turned.
_STRAIN_PRIOR, _TURN_PRIOR = 10.0, 3.0
# Farther off than this many spreads, a point pulls no harder: its surroundings are not as in other heads.
_OUTLIER = 2.0
# How the brain may be tilted in its head to begin with, degrees.
_TILTS = (-15.0, 0.0, 15.0)
_STEPS, _DAMPING, _TOLERANCE_MM = 20, 1e-2, 0.1
# The widest part of a head lies within this of its top.
_UPPER_MM = 90.0


@dataclass(frozen=True, eq=False)
class Inscribed:
    """A brain laid into a head's outline.

    Args:
        matrix: (4, 4) the brain's RAS mm to the head's RAS mm.
        agreement: 1 / (1 + c), where c is the mean squared deviation of the brain's surface from the depth at which it
            should lie, in units of its spread among heads (linear from twice the spread), plus the cost of strain and
            turns.
        agreement_before: the same under the headers' own alignment.
        iterations: least-squares steps on the way.
    """

    matrix: Float64
    agreement: float
    agreement_before: float
    iterations: int


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface of a brain, and how deep under the head's each point of it should lie.

    Args:
        sure: (D, H, W) float32, 1 / spread squared on the surface, 0 elsewhere.
        depth_mm: (D, H, W) float32, the depth expected there.
        grid: where the voxels lie.
    """

    sure: Float32
    depth_mm: Float32
    grid: Grid

    @cached_property
    def points_mm(self) -> Float64:
        """(n, 3) RAS mm of the surface."""
        return self.grid.world(np.argwhere(self.sure > 0))


def inscribed(brain: Source, head: Source, transform: str = "affine") -> Inscribed:
    """The transform that lays a skull-stripped brain as deep under a head's outline as brains lie.

    The headers are trusted about which way is up. The inside of the head is not looked at, so that its contrast and its
    soundness do not matter; neither does how much of the neck is there.

    Args:
        brain, head: the images.
        transform: "rigid", "similarity" or "affine".
    """
    points, depth = surface(brain), depth_map(head)
    first, centre = _top_to_top(points, depth), points.points_mm.mean(axis=0)
    found = [_fitted(points, depth, first @ _tilt(degrees, centre), FAMILIES[transform]) for degrees in _TILTS]
    headers = Fit(np.eye(4), _system(points, depth, np.eye(4), _units(points, np.eye(4))).cost)
    best = min([*found, headers], key=lambda f: f.cost)
    return Inscribed(best.matrix, 1 / (1 + best.cost), 1 / (1 + headers.cost), best.iterations)


def depth_map(head: Source) -> Volume:
    """Depth under the outline of `head` in mm, negative in the air around it."""
    import SimpleITK as sitk  # takes 0.3 s, and few pairs come here

    image, grid = thin_out(head.volume, spacing_mm=_SPACING_MM)
    mask = sitk.GetImageFromArray(_solid(np.pad(foreground(image), _BEYOND, mode="edge")).astype(np.uint8))
    mask.SetSpacing(grid.spacing_mm[::-1].tolist())
    below = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True))
    smooth = window_mean(-below[None], 1)[0] / window_mean(np.ones_like(below)[None], 1)[0]
    corner = np.eye(4)
    corner[:3, 3] = -_BEYOND
    return Volume(smooth, Grid((below.shape[0], below.shape[1], below.shape[2]), grid.affine @ corner))


def surface(brain: Source) -> Surface:
    """The surface of a skull-stripped brain, with what is known of its depth in a head."""
    tissue = foreground(brain.volume.data)
    share, grid = thin_out(Volume(tissue, brain.volume.grid), spacing_mm=_SPACING_MM)
    inside = _solid(np.pad(share >= 0.5, _BEYOND))[(slice(_BEYOND, -_BEYOND),) * 3]
    where = inside & (window_mean(inside[None].astype(np.float32), 1)[0] < 0.999)
    row, column = _directions(grid.world(np.argwhere(where)))
    depth, spread = (np.zeros(inside.shape, np.float32) for _ in range(2))
    depth[where], spread[where] = (_looked_up(table, row, column) for table in (_DEPTH_MM, _SPREAD_MM))
    return Surface(np.where(where, 1 / np.maximum(spread, 1) ** 2, 0).astype(np.float32), depth, grid)


def _solid(mask: Mask) -> Mask:
    """The largest piece of `mask` without specks and straps, closed, and each axial slice filled."""
    import SimpleITK as sitk

    image = sitk.BinaryMorphologicalOpening(sitk.GetImageFromArray(mask.astype(np.uint8)), [1, 1, 1])
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    closed = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(largest, [_CLOSED] * 3))
    return filled_in_slices(closed)


def _directions(points: Float64) -> tuple[Float64, Float64]:
    """Rows and columns of the tables for (n, 3) points of a surface, as fractions."""
    low, high = points.min(axis=0), points.max(axis=0)
    right, front, up = (2 * (points - low) / (high - low) - 1).T
    elevation = np.degrees(np.arctan2(up, np.hypot(right, front)))
    azimuth = np.degrees(np.arctan2(np.abs(right), front))
    return (elevation - _LOWEST) / _UP, (azimuth - _FRONTMOST) / _ROUND


def _looked_up(table: Float64, row: Float64, column: Float64) -> Float64:
    """`table` between its entries, and held at its edges."""
    r, c = (np.clip(x, 0, n - 1) for x, n in zip((row, column), table.shape, strict=True))
    i, j = np.minimum(r.astype(int), table.shape[0] - 2), np.minimum(c.astype(int), table.shape[1] - 2)
    s, t = r - i, c - j
    near = (1 - t) * table[i, j] + t * table[i, j + 1]
    far = (1 - t) * table[i + 1, j] + t * table[i + 1, j + 1]
    return np.asarray((1 - s) * near + s * far)


def _top_to_top(points: Surface, depth: Volume) -> Float64:
    """(4, 4) brain to head: tops as far apart as they should be, and over the middle of the head's upper part."""
    brain, head = points.points_mm, depth.grid.world(np.argwhere(depth.data > 0))
    top = head[:, 2].max()
    upper = head[head[:, 2] > top - _UPPER_MM]
    matrix = np.eye(4)
    matrix[:2, 3] = ((upper.min(axis=0) + upper.max(axis=0) - brain.min(axis=0) - brain.max(axis=0)) / 2)[:2]
    matrix[2, 3] = top - _DEPTH_MM[-1].mean() - brain[:, 2].max()
    return matrix


def _tilt(degrees: float, centre: Float64) -> Float64:
    """(4, 4) turn about the axis from left to right through `centre`."""
    turn = np.zeros((4, 4))
    turn[1, 2], turn[2, 1] = -1, 1
    turn[:3, 3] = -turn[:3, :3] @ centre
    return exponential(np.radians(degrees) * turn)


def _fitted(points: Surface, depth: Volume, matrix: Float64, number: int) -> Fit:
    """Least squares of depth minus expected depth, in spreads, by reweighted Gauss-Newton steps of `number` motions."""
    steps, step = 0, np.full(1, np.inf)
    while steps < _STEPS and np.abs(step).max() > _TOLERANCE_MM:
        steps += 1
        units = _units(points, matrix)[:number]
        system = _system(points, depth, matrix, units)
        step = np.linalg.solve(
            system.hessian + _DAMPING * np.diag(np.diag(system.hessian)) + 1e-9 * np.eye(number), system.descent
        )
        matrix = exponential(np.tensordot(step, units, axes=1)) @ matrix
    return Fit(matrix, _system(points, depth, matrix, _units(points, matrix)).cost, steps)


def _units(points: Surface, matrix: Float64) -> Float64:
    """Small motions about the place where `matrix` puts the brain."""
    size = np.ptp(points.points_mm, axis=0)
    return generators(matrix[:3, :3] @ points.points_mm.mean(axis=0) + matrix[:3, 3], float(np.linalg.norm(size)) / 4)


def _system(points: Surface, depth: Volume, matrix: Float64, units: Float64) -> System:
    """Depths, strain and turns. units: (n, 4, 4), to be composed after `matrix`."""
    number, (to, reference) = len(points.points_mm), (depth.grid.inverse, points.grid.affine)
    index = (to @ matrix @ reference)[:3]
    off = np.abs(resample(depth.data, points.grid.shape, index) - points.depth_mm) * np.sqrt(points.sure)
    within = np.minimum(off, _OUTLIER)
    pull = points.sure * (within / np.maximum(off, 1e-6))
    sums = (
        normal_equations(points.depth_mm, pull.astype(np.float32), depth.data, np.ones_like(depth.data), index, True)
        / number
    )
    jacobian = (to @ units @ matrix @ reference)[:, :3].reshape(len(units), 12)
    change, changes = _usual(matrix, units)
    return System(
        float((within * (2 * off - within)).sum(dtype=np.float64)) / number + float(change @ change),
        jacobian @ sums[:12, :12] @ jacobian.T + changes @ changes.T,
        jacobian @ (sums[:12, 14] - sums[:12, 12]) - changes @ change,
    )


def _usual(matrix: Float64, units: Float64) -> tuple[Float64, Float64]:
    """(12,) strain and turn of `matrix`, weighed by their priors, and (n, 12) how each of `units` adds to them."""
    strain, stretches = strain_of(matrix, units)
    linear = np.concatenate([matrix[None], units @ matrix])[:, :3, :3]
    turns = ((linear - linear.transpose(0, 2, 1)) / 2)[:, [2, 0, 1], [1, 2, 0]]
    weights = np.sqrt([_STRAIN_PRIOR] * 9 + [_TURN_PRIOR] * 3)
    return np.concatenate([strain, turns[0]]) * weights, np.concatenate([stretches, turns[1:]], axis=1) * weights
