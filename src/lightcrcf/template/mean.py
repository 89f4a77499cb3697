"""Means of transforms: the group mean of affines, the mean displacement, and the shape update that undoes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry import kernels
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.transforms.field import DisplacementField

__all__ = ["MeanDisplacement", "group_mean", "mean_displacement", "shape_update", "stretch", "update_shape"]

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

_MAX_ROTATION_DEG = 150.0  # the logarithm of a rotation by 180 degrees is not unique
_MAX_ITERATIONS, _TOLERANCE = 50, 1e-12
_TERMS = 24  # of the series, for matrices that differ from the identity by at most a quarter


def group_mean(affines: Sequence[Affine], names: Sequence[str]) -> Affine:
    """Compute the exponential barycentre M of affines: the logarithms of A_i M^-1 sum to zero.

    If A_i map from a reference image to the others, A_i M^-1 map from a mean space to each, independent of the
    reference: the mean of A_i B is M B.

    Args:
        affines: A_i.
        names: of each, for the message.

    Raises:
        InputError: if one is rotated by more than 150 degrees relative to the mean.

    Source:
        Pennec and Arsigny, Exponential barycenters of the canonical Cartan connection and invariant means on Lie
        groups, in: Matrix Information Geometry, Springer 2012.

    Example:
        >>> half, double = Affine(np.diag([0.5, 0.5, 0.5, 1])), Affine(np.diag([2.0, 2.0, 2.0, 1]))
        >>> group_mean([half, double], ["a", "b"]).matrix.round(9).diagonal().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    mean = affines[0].matrix
    for _ in range(_MAX_ITERATIONS):
        back = np.linalg.inv(mean)
        logarithms = [_logarithm(affine.matrix @ back, name) for affine, name in zip(affines, names, strict=True)]
        step = np.mean(logarithms, axis=0)
        mean = _exponential(step) @ mean
        if np.abs(step).max() < _TOLERANCE:
            break
    return _affine(mean)


def stretch(affine: Affine) -> Float:
    """Return the (3, 3) symmetric factor S of the polar decomposition R S of the linear part, without its rotation.

    Example:
        >>> turned = Affine(np.array([[0, -2.0, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
        >>> stretch(turned).round(9).diagonal().tolist()
        [1.0, 2.0, 1.0]
    """
    _, scales, turned = np.linalg.svd(affine.matrix[:3, :3])
    return np.asarray((turned.T * scales) @ turned)


@dataclass(frozen=True, eq=False)
class MeanDisplacement:
    """Mean displacement from the points of a template to the corresponding points of the images.

    Position and orientation of an image in the scanner carry no shape: each transform is followed by the rigid
    transform that maps the centre of the grid to itself and undoes the rotation of the affine.

    Args:
        grid: of the template.
        displacement: (3, D, H, W) in voxels of the grid.
        length_mm: (D, H, W) its length in mm.
    """

    grid: Grid
    displacement: Float32
    length_mm: Float32


def mean_displacement(chains: Iterable[Chain], grid: Grid) -> MeanDisplacement:
    """Compute the mean over images of S_i (x + u_i(x) - c) + c - x with the centre c of the grid; see `stretch`.

    Args:
        chains: from points of the template to points of each image, without an affine before the field.
        grid: of the template.
    """
    total, linear, count = np.zeros((3, *grid.shape), np.float32), np.zeros((3, 3)), 0
    to_voxels, to_world = grid.inverse[:3, :3], grid.affine[:3, :3]
    for chain in chains:
        shape = stretch(chain.after)
        linear += shape - np.eye(3)
        if chain.field is not None:
            _add_times(to_voxels @ shape @ to_world, _on_grid(chain.field, grid), total)
        count += 1
    total /= np.float32(count)
    _add_linear(to_voxels @ (linear / count) @ to_world, total)
    length = np.zeros((3, *grid.shape), np.float32)
    _add_times(to_world, total, length)
    return MeanDisplacement(grid, total, np.sqrt(np.square(length).sum(axis=0)))


def shape_update(shift: MeanDisplacement, step: float) -> DisplacementField:
    """Compute the shape update x + w(x), which undoes `step` of the mean displacement: (x + step d) o (x + w) = x.

    Args:
        shift: mean displacement d(x).
        step: fraction to undo; 1 undoes all of it.
    """
    return DisplacementField(shift.grid, kernels.invert(np.float32(step) * shift.displacement))


def update_shape(chain: Chain, back: DisplacementField) -> Chain:
    """Compose a chain with a shape update, from points of the updated template to points of the image.

    Args:
        chain: from points of the template to points of the image; its affine stays the same.
        back: from `shape_update`.
    """
    if chain.field is None:
        return Chain(chain.before, back, chain.after)
    found = kernels.compose(_on_grid(chain.field, back.grid), back.displacement)
    return Chain(chain.before, DisplacementField(back.grid, found), chain.after)


def _on_grid(field: DisplacementField, grid: Grid) -> Float32:
    """Return the (3, D, H, W) displacement of a field on another grid and in its voxels, interpolated linearly."""
    if field.grid.isclose(grid):
        return field.displacement
    matrix = (field.grid.inverse @ grid.affine)[:3]
    moved = np.stack([kernels.resample(component, grid.shape, matrix) for component in field.displacement])
    out = np.zeros_like(moved)
    _add_times((grid.inverse @ field.grid.affine)[:3, :3], moved, out)
    return out


def _add_times(matrix: Float, vectors: Float32, out: Float32) -> None:
    """Add matrix @ vectors to `out`, element by element, so that the result does not depend on threads."""
    for a, b in zip(*np.nonzero(np.abs(matrix) > _TOLERANCE), strict=True):
        out[a] += np.float32(matrix[a, b]) * vectors[b]


def _add_linear(matrix: Float, out: Float32) -> None:
    """Add matrix @ (x - c) to `out`, with the centre c of the grid."""
    for b, n in enumerate(out.shape[1:]):
        line = (np.arange(n) - (n - 1) / 2).reshape([-1 if axis == b else 1 for axis in range(3)])
        for a in range(3):
            out[a] += (matrix[a, b] * line).astype(np.float32)


def _affine(matrix: Float) -> Affine:
    """Return an affine with an exact last row, without rounding errors."""
    return Affine(np.vstack([matrix[:3], [0.0, 0.0, 0.0, 1.0]]))


def _logarithm(matrix: Float, name: str) -> Float:
    """Return the principal logarithm by inverse scaling and squaring."""
    turn = np.degrees(np.abs(np.angle(np.linalg.eigvals(matrix[:3, :3]))).max())
    if turn > _MAX_ROTATION_DEG:
        raise InputError(
            name, expected="images of similar orientation, rotated by 150 degrees at most", got=f"{turn:.0f} degrees",
            remedy="correct the orientation in its header, or leave it out",
        )  # fmt: skip
    doublings = 0
    while np.abs(matrix - np.eye(4)).max() > 0.0625:
        matrix, doublings = _square_root(matrix), doublings + 1
    rest = matrix - np.eye(4)
    power, total = np.eye(4), np.zeros((4, 4))
    for n in range(1, _TERMS):
        power = power @ rest
        total += power / (n if n % 2 else -n)
    return total * 2.0**doublings


def _square_root(matrix: Float) -> Float:
    """Return the principal square root by the Denman-Beavers iteration."""
    root, inverse = matrix, np.eye(4)
    for _ in range(_MAX_ITERATIONS):
        root, inverse, before = (root + np.linalg.inv(inverse)) / 2, (inverse + np.linalg.inv(root)) / 2, root
        if np.abs(root - before).max() < _TOLERANCE:
            break
    return root


def _exponential(matrix: Float) -> Float:
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).max(), 1e-30) / 0.0625))))
    rest, power, total = matrix / 2.0**halvings, np.eye(4), np.eye(4)
    for n in range(1, _TERMS):
        power = power @ rest / n
        total = total + power
    for _ in range(halvings):
        total = total @ total
    return total
