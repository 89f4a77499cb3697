"""Alignment of a skull-stripped brain with the outline of a head, for heads without usable contrast inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.gauss_newton import DEGREES_OF_FREEDOM, Fit, System, exponential, generators, logarithmic_strain
from lightcrcf.affine.pyramid import AlignmentImage
from lightcrcf.geometry.alignment_kernels import normal_equations
from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import downsample_volume, foreground
from lightcrcf.preprocessing.masks import fill_holes_in_slices
from lightcrcf.volumes.volume import Volume

__all__ = ["BrainSurface", "OutlineAlignment", "align_by_outline", "brain_surface", "depth_map"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SPACING_MM = 4.0
# Voxels by which a head that its grid cuts off is extended.
_EXTENSION = 12
# Radius in voxels of the closing, which fills nostrils, ears, and the gaps under a brain.
_CLOSING_RADIUS = 3
# Depth of the brain's surface under the head's, and its standard deviation between heads, in mm at `_SPACING_MM`.
# Rows: elevation of the surface point, -52.5 to 82.5 degrees in steps of 15, from the centre of the brain's bounding
# box and in units of its half sides. Columns: azimuth from front to back, 15 to 165 degrees in steps of 30. Source:
# median and standard deviation of the 40 heads of IXI that train our models, brains as labelled by DLMUSE. The face
# and the neck below the brain vary most and weigh least.
_FIRST_ELEVATION, _ELEVATION_STEP, _FIRST_AZIMUTH, _AZIMUTH_STEP = -52.5, 15.0, 15.0, 30.0
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
# Weights of the strain and rotation priors, in mean squared standard deviations: a stretch of 10 % along one axis costs
# 0.1, a rotation of 10 degrees 0.1. The outline of the nearly round top of a head hardly constrains rotations.
_STRAIN_PRIOR, _TURN_PRIOR = 10.0, 3.0
# Huber threshold of the residuals, in standard deviations.
_OUTLIER = 2.0
# Initial pitch of the brain in the head, degrees.
_TILTS = (-15.0, 0.0, 15.0)
_STEPS, _DAMPING, _TOLERANCE_MM = 20, 1e-2, 0.1
# The widest part of a head lies within this distance of its top.
_HEAD_TOP_MM = 90.0


@dataclass(frozen=True, eq=False)
class OutlineAlignment:
    """An alignment of a brain with the outline of a head.

    Args:
        matrix: (4, 4) from the brain's RAS mm to the head's RAS mm.
        agreement: 1 / (1 + c), where c is the mean Huber loss of the depth of the brain's surface, in standard
            deviations between heads (linear from two of them), plus the priors on strain and rotation.
        agreement_before: the same under the alignment of the headers.
        iterations: Gauss-Newton steps.
    """

    matrix: Float64
    agreement: float
    agreement_before: float
    iterations: int


@dataclass(frozen=True, eq=False)
class BrainSurface:
    """The surface of a brain, with the depth under the head's surface that is expected at each point.

    Args:
        weight: (D, H, W) float32, 1 / variance of the depth on the surface (mm^-2), 0 elsewhere.
        depth_mm: (D, H, W) float32, expected depth in mm.
        grid: of the arrays.
    """

    weight: Float32
    depth_mm: Float32
    grid: Grid

    @cached_property
    def points_mm(self) -> Float64:
        """Return the (n, 3) surface points in RAS mm."""
        return self.grid.world(np.argwhere(self.weight > 0))


def align_by_outline(brain: AlignmentImage, head: AlignmentImage, transform: str = "affine") -> OutlineAlignment:
    """Align a skull-stripped brain with a head so that the depth of its surface under the head's is the usual one.

    The headers must be right about the superior direction. The inside of the head is not used, so that its contrast and
    artefacts do not matter; neither does the length of the neck in the image.

    Args:
        brain, head: the images.
        transform: "rigid", "similarity" or "affine".
    """
    points, depth = brain_surface(brain), depth_map(head)
    first, centre = _align_tops(points, depth), points.points_mm.mean(axis=0)
    found = [
        _fit_outline(points, depth, first @ _tilt(degrees, centre), DEGREES_OF_FREEDOM[transform]) for degrees in _TILTS
    ]
    headers = Fit(np.eye(4), _system(points, depth, np.eye(4), _motion_basis(points, np.eye(4))).cost)
    best = min([*found, headers], key=lambda f: f.cost)
    return OutlineAlignment(best.matrix, 1 / (1 + best.cost), 1 / (1 + headers.cost), best.iterations)


def depth_map(head: AlignmentImage) -> Volume:
    """Compute the depth under the outline of `head` in mm, negative in the air around it."""
    import SimpleITK as sitk  # takes 0.3 s, and few pairs come here

    image, grid = downsample_volume(head.volume, spacing_mm=_SPACING_MM)
    mask = sitk.GetImageFromArray(
        _largest_component(np.pad(foreground(image), _EXTENSION, mode="edge")).astype(np.uint8)
    )
    mask.SetSpacing(grid.spacing_mm[::-1].tolist())
    below = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True))
    smooth = window_mean(-below[None], 1)[0] / window_mean(np.ones_like(below)[None], 1)[0]
    corner = np.eye(4)
    corner[:3, 3] = -_EXTENSION
    return Volume(smooth, Grid((below.shape[0], below.shape[1], below.shape[2]), grid.affine @ corner))


def brain_surface(brain: AlignmentImage) -> BrainSurface:
    """Extract the surface of a skull-stripped brain, with the expected depths."""
    tissue = foreground(brain.volume.data)
    fraction, grid = downsample_volume(Volume(tissue, brain.volume.grid), spacing_mm=_SPACING_MM)
    inside = _largest_component(np.pad(fraction >= 0.5, _EXTENSION))[(slice(_EXTENSION, -_EXTENSION),) * 3]
    where = inside & (window_mean(inside[None].astype(np.float32), 1)[0] < 0.999)
    row, column = _directions(grid.world(np.argwhere(where)))
    depth, spread = (np.zeros(inside.shape, np.float32) for _ in range(2))
    depth[where], spread[where] = (_interpolate(table, row, column) for table in (_DEPTH_MM, _SPREAD_MM))
    return BrainSurface(np.where(where, 1 / np.maximum(spread, 1) ** 2, 0).astype(np.float32), depth, grid)


def _largest_component(mask: Mask) -> Mask:
    """Return the largest component after opening, closed, with the holes of each axial slice filled."""
    import SimpleITK as sitk

    image = sitk.BinaryMorphologicalOpening(sitk.GetImageFromArray(mask.astype(np.uint8)), [1, 1, 1])
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    closed = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(largest, [_CLOSING_RADIUS] * 3))
    return fill_holes_in_slices(closed)


def _directions(points: Float64) -> tuple[Float64, Float64]:
    """Return fractional rows and columns of the tables for (n, 3) surface points."""
    low, high = points.min(axis=0), points.max(axis=0)
    right, front, up = (2 * (points - low) / (high - low) - 1).T
    elevation = np.degrees(np.arctan2(up, np.hypot(right, front)))
    azimuth = np.degrees(np.arctan2(np.abs(right), front))
    return (elevation - _FIRST_ELEVATION) / _ELEVATION_STEP, (azimuth - _FIRST_AZIMUTH) / _AZIMUTH_STEP


def _interpolate(table: Float64, row: Float64, column: Float64) -> Float64:
    """Interpolate `table` bilinearly, clamped at its edges."""
    r, c = (np.clip(x, 0, n - 1) for x, n in zip((row, column), table.shape, strict=True))
    i, j = np.minimum(r.astype(int), table.shape[0] - 2), np.minimum(c.astype(int), table.shape[1] - 2)
    s, t = r - i, c - j
    near = (1 - t) * table[i, j] + t * table[i, j + 1]
    far = (1 - t) * table[i + 1, j] + t * table[i + 1, j + 1]
    return np.asarray((1 - s) * near + s * far)


def _align_tops(points: BrainSurface, depth: Volume) -> Float64:
    """Return the (4, 4) translation that puts the top of the brain at its mean depth, centred under the head's top."""
    brain, head = points.points_mm, depth.grid.world(np.argwhere(depth.data > 0))
    top = head[:, 2].max()
    upper = head[head[:, 2] > top - _HEAD_TOP_MM]
    matrix = np.eye(4)
    matrix[:2, 3] = ((upper.min(axis=0) + upper.max(axis=0) - brain.min(axis=0) - brain.max(axis=0)) / 2)[:2]
    matrix[2, 3] = top - _DEPTH_MM[-1].mean() - brain[:, 2].max()
    return matrix


def _tilt(degrees: float, centre: Float64) -> Float64:
    """Return the (4, 4) rotation about the left-right axis through `centre`."""
    turn = np.zeros((4, 4))
    turn[1, 2], turn[2, 1] = -1, 1
    turn[:3, 3] = -turn[:3, :3] @ centre
    return exponential(np.radians(degrees) * turn)


def _fit_outline(points: BrainSurface, depth: Volume, matrix: Float64, number: int) -> Fit:
    """Fit the depths by iteratively reweighted Gauss-Newton steps in the first `number` generators."""
    steps, step = 0, np.full(1, np.inf)
    while steps < _STEPS and np.abs(step).max() > _TOLERANCE_MM:
        steps += 1
        basis = _motion_basis(points, matrix)[:number]
        system = _system(points, depth, matrix, basis)
        step = np.linalg.solve(
            system.hessian + _DAMPING * np.diag(np.diag(system.hessian)) + 1e-9 * np.eye(number), system.descent
        )
        matrix = exponential(np.tensordot(step, basis, axes=1)) @ matrix
    return Fit(matrix, _system(points, depth, matrix, _motion_basis(points, matrix)).cost, steps)


def _motion_basis(points: BrainSurface, matrix: Float64) -> Float64:
    """Return the generators about the centre of the brain under `matrix`."""
    size = np.ptp(points.points_mm, axis=0)
    return generators(matrix[:3, :3] @ points.points_mm.mean(axis=0) + matrix[:3, 3], float(np.linalg.norm(size)) / 4)


def _system(points: BrainSurface, depth: Volume, matrix: Float64, basis: Float64) -> System:
    """Compute the system of depths and priors. basis: (n, 4, 4) generators, composed after `matrix`."""
    number, (to, reference) = len(points.points_mm), (depth.grid.inverse, points.grid.affine)
    index = (to @ matrix @ reference)[:3]
    residual = np.abs(resample(depth.data, points.grid.shape, index) - points.depth_mm) * np.sqrt(points.weight)
    clipped = np.minimum(residual, _OUTLIER)
    robust_weight = points.weight * (clipped / np.maximum(residual, 1e-6))
    sums = (
        normal_equations(
            points.depth_mm, robust_weight.astype(np.float32), depth.data, np.ones_like(depth.data), index, True
        )
        / number
    )
    jacobian = (to @ basis @ matrix @ reference)[:, :3].reshape(len(basis), 12)
    change, changes = _prior_residuals(matrix, basis)
    return System(
        float((clipped * (2 * residual - clipped)).sum(dtype=np.float64)) / number + float(change @ change),
        jacobian @ sums[:12, :12] @ jacobian.T + changes @ changes.T,
        jacobian @ (sums[:12, 14] - sums[:12, 12]) - changes @ change,
    )


def _prior_residuals(matrix: Float64, basis: Float64) -> tuple[Float64, Float64]:
    """Return the (12,) weighted strain and rotation of `matrix`, and their (n, 12) derivatives by the generators."""
    strain, stretches = logarithmic_strain(matrix, basis)
    linear = np.concatenate([matrix[None], basis @ matrix])[:, :3, :3]
    turns = ((linear - linear.transpose(0, 2, 1)) / 2)[:, [2, 0, 1], [1, 2, 0]]
    weights = np.sqrt([_STRAIN_PRIOR] * 9 + [_TURN_PRIOR] * 3)
    return np.concatenate([strain, turns[0]]) * weights, np.concatenate([stretches, turns[1:]], axis=1) * weights
