"""Kernels of label fusion: local atlas weights, and weighted voting.

Only voxels where atlases disagree are processed. Voxels are independent, so that results do not depend on the number of
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import device, kernel, ready
from lightcrcf.geometry.sampling import ONE, ZERO

__all__ = ["atlas_weights", "vote"]

Array = Any  # Numba's functions take their own array types
Float32 = NDArray[np.float32]
Radii = tuple[int, int, int]

BLOCK = 32  # voxels of a row per block: their patch sums fit into the L1 cache
FLOOR = np.float32(1e-4)  # added to variances, in squared units of about unit intensities
RIDGE = np.float32(0.5)  # added to the diagonal, in units of its mean
LEAST = np.float32(1e-3)


def atlas_weights(images: Float32, places: NDArray[np.int32], count: int, radii: Radii, *, joint: bool) -> Float32:
    """Return weights of atlases from the similarity of their patches to those of the target.

    With z the patches about a voxel, each brought to zero mean and unit variance, atlas a errs by e_a = z_t - z_a, and
    M_ab = mean(e_a e_b) estimates the joint error of a and b. Joint weights minimise the expected
    error w^T M w of a vote whose weights sum to one: w = M^-1 1 / (1^T M^-1 1), with half of the mean of M's
    diagonal added to it, and without those that would be negative. Otherwise w_a = 1 / M_aa, scaled to sum to one.

    Args:
        images: (N + 1, D, H, W) of about unit range: the atlases on the target grid, and the target last.
        places: (D, H, W), the row of each voxel in the result; below 0 for none.
        count: number of rows.
        radii: of the patches along each axis, in voxels.
        joint: whether to use joint weights.

    Returns:
        (count, N), non-negative; each row sums to one.

    Source: joint: Wang et al., Multi-Atlas Segmentation with Joint Label Fusion, IEEE TPAMI 35 (2013); here errors keep
    their signs, so that M is a covariance and sums of products give it. The other: Artaechevarria et al., Combination
    Strategies in Multi-Atlas Image Segmentation, IEEE TMI 28 (2009), local weights.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> target, noise = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
        >>> images = np.stack([target + noise, target + noise, target - noise, target])
        >>> places = np.full((5, 6, 7), -1, np.int32)
        >>> places[2, 3, 3] = 0
        >>> a, b, c = atlas_weights(images, places, 1, (1, 1, 1), joint=True)[0]
        >>> bool(abs(a - b) < 1e-3), bool(c > a + b - 0.2)  # two that err alike count as little more than one
        (True, True)
    """
    out = np.zeros((count, len(images) - 1), np.float32)
    _weights(ready(images), ready(places, np.int32), radii, joint, out)
    return out


def vote(
    labels: NDArray[np.integer[Any]],
    places: NDArray[np.int32],
    weights: Float32,
    neighbour_weights: Float32,
    kinds: int,
) -> tuple[NDArray[np.int16], Float32]:
    """Return the label with the largest weight at each voxel, and its share.

    Where all atlases agree, their label is used. Elsewhere atlases vote with their labels at the voxel and, with lower
    weight, at its neighbours.

    Args:
        labels: (N, D, H, W) in [0, kinds).
        places: (D, H, W), the row of each voxel in `weights`; below 0 where all atlases agree.
        weights: (count, N), each row sums to one.
        neighbour_weights: (3,) weight of the vote of a neighbour along each axis, relative to that of the voxel.
        kinds: number of labels.

    Returns:
        (D, H, W) int16 labels and (D, H, W) float32 shares in (0, 1]; ties go to the first atlas.

    Example:
        >>> labels = np.array([3, 5, 5], np.int16).reshape(3, 1, 1, 1)
        >>> places = np.zeros((1, 1, 1), np.int32)
        >>> weights = np.array([[0.6, 0.2, 0.2]], np.float32)
        >>> found, share = vote(labels, places, weights, np.zeros(3, np.float32), 6)
        >>> int(found[0, 0, 0]), round(float(share[0, 0, 0]), 3)
        (3, 0.6)
    """
    found, share = np.empty(places.shape, np.int16), np.empty(places.shape, np.float32)
    _vote(
        ready(labels, np.int16), ready(places, np.int32), ready(weights), ready(neighbour_weights), kinds, found, share
    )
    return found, share


@kernel
def _weights(images: Array, places: Array, radii: Any, joint: bool, out: Array) -> None:
    count, depth, height, width = images.shape
    p, q, r = radii
    for i in prange(depth):
        sums = np.empty((count, BLOCK + 2 * r), np.float32)
        products = np.empty((count * (count + 1) // 2, BLOCK + 2 * r), np.float32)
        matrix = np.empty((count, count), np.float32)
        row = np.empty(count, np.float32)
        for j in range(height):
            for start in range(0, width, BLOCK):
                stop = min(start + BLOCK, width)
                if not _any(places, i, j, start, stop):
                    continue
                low, high = max(start - r, 0), min(stop + r, width)
                _columns(images, max(i - p, 0), min(i + p + 1, depth), max(j - q, 0), min(j + q + 1, height),
                         low, high, sums, products)  # fmt: skip
                size = (min(i + p + 1, depth) - max(i - p, 0)) * (min(j + q + 1, height) - max(j - q, 0))
                for k in range(start, stop):
                    place = places[i, j, k]
                    if place >= 0:
                        first, last = max(k - r, 0), min(k + r + 1, width)
                        _correlations(sums, products, first - low, last - low, size * (last - first), matrix, row)
                        _errors(matrix, joint)
                        _solve(matrix, joint, row)
                        _share(row, out[place])


@device
def _any(places: Array, i: int, j: int, start: int, stop: int) -> Any:
    found = False
    for k in range(start, stop):
        found |= places[i, j, k] >= 0
    return found


@device
def _columns(
    images: Array, i0: int, i1: int, j0: int, j1: int, low: int, high: int, sums: Array, products: Array
) -> None:
    """Sum images and their pairwise products over planes and rows, for voxels low to high of a row."""
    count, length = images.shape[0], high - low
    sums[:, :length] = ZERO
    products[:, :length] = ZERO
    for i in range(i0, i1):
        for j in range(j0, j1):
            pair = 0
            for a in range(count):
                one, total = images[a, i, j, low:high], sums[a, :length]
                for k in range(length):
                    total[k] += one[k]
                for b in range(a + 1):
                    other, product = images[b, i, j, low:high], products[pair, :length]
                    for k in range(length):
                        product[k] += one[k] * other[k]
                    pair += 1


@device
def _correlations(sums: Array, products: Array, first: int, last: int, size: int, matrix: Array, row: Array) -> None:
    """matrix = correlations of the images over a patch of `size` voxels, lower triangle; `row` is scratch."""
    count, share = matrix.shape[0], ONE / np.float32(size)
    for a in range(count):
        total = ZERO
        for k in range(first, last):
            total += sums[a, k]
        row[a] = total * share
    pair = 0
    for a in range(count):
        for b in range(a + 1):
            total = ZERO
            for k in range(first, last):
                total += products[pair, k]
            matrix[a, b] = total * share - row[a] * row[b]
            pair += 1
    for a in range(count):
        row[a] = ONE / np.sqrt(max(matrix[a, a], ZERO) + FLOOR)
    for a in range(count):
        for b in range(a + 1):
            matrix[a, b] *= row[a] * row[b]


@device
def _errors(matrix: Array, joint: bool) -> None:
    """Convert correlations, those of the target last, to M with a regularised diagonal."""
    last = matrix.shape[0] - 1
    trace = ZERO
    for a in range(last):
        for b in range(a + 1):
            matrix[a, b] += matrix[last, last] - matrix[last, a] - matrix[last, b]
        matrix[a, a] = max(matrix[a, a], ZERO)
        trace += matrix[a, a]
    add = RIDGE * trace / np.float32(last) if joint else ZERO
    for a in range(last):
        matrix[a, a] += add + LEAST


@device
def _solve(matrix: Array, joint: bool, row: Array) -> None:
    """row[:-1] = M^-1 1 by Cholesky's decomposition, or one over M's diagonal."""
    last = matrix.shape[0] - 1
    for a in range(last):
        if not joint:
            row[a] = ONE / matrix[a, a]
            continue
        for b in range(a + 1):
            rest = matrix[a, b]
            for c in range(b):
                rest -= matrix[a, c] * matrix[b, c]
            matrix[a, b] = np.sqrt(max(rest, LEAST)) if a == b else rest / matrix[b, b]
        rest = ONE
        for c in range(a):
            rest -= matrix[a, c] * row[c]
        row[a] = rest / matrix[a, a]
    if joint:
        for a in range(last - 1, -1, -1):
            rest = row[a]
            for c in range(a + 1, last):
                rest -= matrix[c, a] * row[c]
            row[a] = rest / matrix[a, a]


@device
def _share(row: Array, out: Array) -> None:
    """out = the non-negative part of row, scaled to sum to one."""
    total = ZERO
    for a in range(out.size):
        out[a] = max(row[a], ZERO)
        total += out[a]
    for a in range(out.size):
        out[a] = out[a] / total if total > ZERO else ONE / np.float32(out.size)


@kernel
def _vote(
    labels: Array, places: Array, weights: Array, neighbour_weights: Array, kinds: int, found: Array, share: Array
) -> None:
    count, depth, height, width = labels.shape
    even = ONE / np.float32(count)
    for i in prange(depth):
        scores = np.zeros(kinds, np.float32)
        met = np.empty(27 * count, np.int64)
        for j in range(height):
            for k in range(width):
                if places[i, j, k] < 0:
                    found[i, j, k], share[i, j, k] = labels[0, i, j, k], ONE
                    continue
                several, total = 0, ZERO
                for step in range(27):
                    # The voxel itself comes first, so that ties go to its labels.
                    n = 13 if step == 0 else step - 1 if step <= 13 else step
                    z, y, x = n // 9 - 1, n // 3 % 3 - 1, n % 3 - 1
                    ii, jj, kk = i + z, j + y, k + x
                    counts = (
                        (neighbour_weights[0] if z else ONE)
                        * (neighbour_weights[1] if y else ONE)
                        * (neighbour_weights[2] if x else ONE)
                    )
                    if counts <= ZERO or not (0 <= ii < depth and 0 <= jj < height and 0 <= kk < width):
                        continue
                    place = places[ii, jj, kk]
                    for a in range(count):
                        label = labels[a, ii, jj, kk]
                        weight = counts * (weights[place, a] if place >= 0 else even)
                        if weight > ZERO:
                            if scores[label] == ZERO:
                                met[several] = label
                                several += 1
                            scores[label] += weight
                            total += weight
                best = met[0]
                for n in range(several):
                    best = met[n] if scores[met[n]] > scores[best] else best
                found[i, j, k], share[i, j, k] = best, min(scores[best] / total, ONE)
                for n in range(several):
                    scores[met[n]] = ZERO
