"""Kernels of label fusion: local atlas weights, and weighted voting.

Only voxels where atlases disagree are processed. Voxels are independent, so that results do not depend on the number of
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["atlas_weights", "vote"]

Float32 = NDArray[np.float32]
Radii = tuple[int, int, int]


def atlas_weights(images: Float32, places: NDArray[np.int32], count: int, radii: Radii, *, joint: bool) -> Float32:
    """Return weights of atlases from the similarity of their patches to those of the target.

    With z the patches about a voxel, each brought to zero mean and unit variance, atlas a errs by e_a = z_t - z_a, and
    M_ab = mean(e_a e_b) estimates the joint error of a and b. Joint weights minimise the expected
    error w^T M w of a vote whose weights sum to one: w = M^-1 1 / (1^T M^-1 1), with half of the mean of M's
    diagonal added to it, and without those that would be negative. Otherwise w_a = 1 / M_aa, scaled to sum to one.

    Args:
        images: (N + 1, D, H, W) of about unit range: at most 256 atlases on the target grid, and the target last.
        places: (D, H, W), the row of each voxel in the result; below 0 for none.
        count: number of rows.
        radii: of the patches along each axis, at most 64 voxels.
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
    _core.atlas_weights(contiguous(images), contiguous(places, np.int32), radii, joint, out)
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
    maps, rows = contiguous(labels, np.int16), contiguous(places, np.int32)
    _core.vote(maps, rows, contiguous(weights), contiguous(neighbour_weights), kinds, found, share)
    return found, share
