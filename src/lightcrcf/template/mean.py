"""The mean of many maps: of affines as a group, of deformations point by point, and what centres them."""

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

__all__ = ["MeanShift", "centred", "centring", "group_mean", "mean_shift", "stretch"]

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

_LARGEST_TURN_DEG = 150.0  # the logarithm of a turn by 180 degrees is not unique
_STEPS, _ENOUGH = 50, 1e-12
_TERMS = 24  # of the series, where a matrix differs from the identity by at most a quarter


def group_mean(affines: Sequence[Affine], names: Sequence[str]) -> Affine:
    """The affine M from which all others lie evenly around: the logarithms of A_i M^-1 sum to zero.

    If A_i lead from one image to the others, A_i M^-1 lead from a mean of all to each, whichever that image was: the
    mean M of A_i B is the mean of A_i, followed by B.

    Args:
        affines: A_i.
        names: of each, for the message.

    Raises:
        InputError: if one is turned by more than 150 degrees against the mean of all.

    Source:
        Pennec and Arsigny, Exponential barycenters of the canonical Cartan connection and invariant means on Lie
        groups, in: Matrix Information Geometry, Springer 2012.

    Example:
        >>> half, double = Affine(np.diag([0.5, 0.5, 0.5, 1])), Affine(np.diag([2.0, 2.0, 2.0, 1]))
        >>> group_mean([half, double], ["a", "b"]).matrix.round(9).diagonal().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    mean = affines[0].matrix
    for _ in range(_STEPS):
        back = np.linalg.inv(mean)
        logarithms = [_logarithm(affine.matrix @ back, name) for affine, name in zip(affines, names, strict=True)]
        step = np.mean(logarithms, axis=0)
        mean = _exponential(step) @ mean
        if np.abs(step).max() < _ENOUGH:
            break
    return _affine(mean)


def stretch(affine: Affine) -> Float:
    """(3, 3) the symmetric part S of the linear part R S: how an affine changes size and shape, without its turn.

    Example:
        >>> turned = Affine(np.array([[0, -2.0, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
        >>> stretch(turned).round(9).diagonal().tolist()
        [1.0, 2.0, 1.0]
    """
    _, scales, turned = np.linalg.svd(affine.matrix[:3, :3])
    return np.asarray((turned.T * scales) @ turned)


@dataclass(frozen=True, eq=False)
class MeanShift:
    """Where, on average, the images have what the template has at a point, as a displacement from there.

    How each image lies in its scanner says nothing about shape, so that turns and shifts as a whole do not count: each
    map is followed by the rigid map that brings the template's middle back and undoes the affine's turn.

    Args:
        grid: of the template.
        displacement: (3, D, H, W) voxels of the grid.
        length_mm: (D, H, W).
    """

    grid: Grid
    displacement: Float32
    length_mm: Float32


def mean_shift(chains: Iterable[Chain], grid: Grid) -> MeanShift:
    """The mean over all images of S_i (x + u_i(x) - c) + c - x, c being the middle of the grid; see `stretch`.

    Args:
        chains: from the template's points to each image's, without a map before the field.
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
    return MeanShift(grid, total, np.sqrt(np.square(length).sum(axis=0)))


def centring(shift: MeanShift, step: float) -> DisplacementField:
    """The field x + w(x) that undoes `step` of the mean shift: (x + step d) o (x + w) = x.

    Args:
        shift: x + d(x).
        step: 1 centres at once.
    """
    return DisplacementField(shift.grid, kernels.invert(np.float32(step) * shift.displacement))


def centred(chain: Chain, back: DisplacementField) -> Chain:
    """`chain` after x -> x + w(x): from the centred template to the image, with the same affine.

    Args:
        chain: from the template's points to the image's.
        back: from `centring`.
    """
    if chain.field is None:
        return Chain(chain.before, back, chain.after)
    found = kernels.compose(_on_grid(chain.field, back.grid), back.displacement)
    return Chain(chain.before, DisplacementField(back.grid, found), chain.after)


def _on_grid(field: DisplacementField, grid: Grid) -> Float32:
    """(3, D, H, W) a field in voxels of another grid, interpolated linearly."""
    if field.grid.isclose(grid):
        return field.displacement
    matrix = (field.grid.inverse @ grid.affine)[:3]
    moved = np.stack([kernels.resample(component, grid.shape, matrix) for component in field.displacement])
    out = np.zeros_like(moved)
    _add_times((grid.inverse @ field.grid.affine)[:3, :3], moved, out)
    return out


def _add_times(matrix: Float, vectors: Float32, out: Float32) -> None:
    """out[a] += sum over b of matrix[a, b] * vectors[b], element by element: the same on any number of threads."""
    for a, b in zip(*np.nonzero(np.abs(matrix) > _ENOUGH), strict=True):
        out[a] += np.float32(matrix[a, b]) * vectors[b]


def _add_linear(matrix: Float, out: Float32) -> None:
    """out(x) += matrix @ (x - c), c being the middle of the grid."""
    for b, n in enumerate(out.shape[1:]):
        line = (np.arange(n) - (n - 1) / 2).reshape([-1 if axis == b else 1 for axis in range(3)])
        for a in range(3):
            out[a] += (matrix[a, b] * line).astype(np.float32)


def _affine(matrix: Float) -> Affine:
    """Rounding leaves the last row."""
    return Affine(np.vstack([matrix[:3], [0.0, 0.0, 0.0, 1.0]]))


def _logarithm(matrix: Float, name: str) -> Float:
    """The principal logarithm: square roots until the matrix is close to the identity, then the series."""
    turn = np.degrees(np.abs(np.angle(np.linalg.eigvals(matrix[:3, :3]))).max())
    if turn > _LARGEST_TURN_DEG:
        raise InputError(
            name, expected="images that lie alike, up to a turn by 150 degrees", got=f"one turned by {turn:.0f}",
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
    """Denman and Beavers' iteration; the last row stays what it is."""
    root, inverse = matrix, np.eye(4)
    for _ in range(_STEPS):
        root, inverse, before = (root + np.linalg.inv(inverse)) / 2, (inverse + np.linalg.inv(root)) / 2, root
        if np.abs(root - before).max() < _ENOUGH:
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
