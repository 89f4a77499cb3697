"""Overlap of labels and difference of images: Dice and mean squared error; re-exports of all other metrics.

Label maps hold any integers (structure codes up to 2**31); 0 is background and never scored. Surface distances are in
`evaluation.surface`, measures of the field in `evaluation.regularity`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, check_same_shape, code_indices, label_codes
from lightcrcf.evaluation.regularity import folding_percent, ndv_percent, sdlogj, sdlogj_l2r
from lightcrcf.evaluation.surface import hd95_by_label, hd95_mm

__all__ = [
    "dice",
    "folding_percent",
    "hd95_by_label",
    "hd95_mm",
    "label_codes",
    "mse",
    "ndv_percent",
    "sdlogj",
    "sdlogj_l2r",
]


def dice(fixed: ArrayLike, moved: ArrayLike, labels: Iterable[int] | None = None) -> dict[int, float]:
    """Compute the Dice overlap 2|A and B| / (|A| + |B|) of each label.

    Args:
        fixed: (D, H, W) integers, or floats that hold integers.
        moved: (D, H, W), likewise, on the same grid.
        labels: codes to score; every code but 0 in `fixed` by default.

    Returns:
        Dice by code, in ascending order. It is NaN for a code absent from `fixed` (exclude it from means, as Learn2Reg
        does; exclude codes absent from the moving labels by `labels`), and 0 for a code absent from `moved` only.

    Raises:
        InputError: if the shapes differ, a value is not an integer, or label 0 is requested.

    Example:
        >>> dice([[[7, 7, 7, 9]]], [[[7, 7, 0, 5]]])
        {7: 0.8, 9: 0.0}
        >>> dice([[[7, 7, 7, 9]]], [[[7, 7, 0, 5]]], labels=[5, 7])
        {5: nan, 7: 0.8}
    """
    a, b = as_codes(fixed, "fixed labels"), as_codes(moved, "moved labels")
    check_same_shape(a, b, "moved labels")
    somewhere = (a != 0) | (b != 0)
    a, b = a[somewhere], b[somewhere]
    codes = label_codes(a) if labels is None else _requested_codes(labels)
    in_a, in_b = code_indices(a, codes), code_indices(b, codes)
    bins = len(codes) + 1
    size_a, size_b = np.bincount(in_a, minlength=bins)[1:], np.bincount(in_b, minlength=bins)[1:]
    both = np.bincount(in_a[in_a == in_b], minlength=bins)[1:]
    overlap = np.full(len(codes), np.nan)
    np.divide(2.0 * both, size_a + size_b, out=overlap, where=size_a > 0)
    return {int(code): float(value) for code, value in zip(codes, overlap, strict=True)}


def mse(fixed: ArrayLike, moved: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Compute the mean squared intensity difference, in squared units of the images.

    It measures the similarity of intensities, not the alignment of structures (Rohlfing, TMI 2012), and is no accuracy.

    Args:
        fixed: (D, H, W) intensities.
        moved: (D, H, W), on the same grid.
        mask: (D, H, W); restricts the mean to its nonzero voxels.

    Raises:
        InputError: if the shapes differ or the mask is empty.

    Example:
        >>> mse([[[1.0, 2.0]]], [[[1.0, 4.0]]])
        2.0
    """
    a, b = np.asarray(fixed), np.asarray(moved)
    check_same_shape(a, b, "moved image")
    difference = np.subtract(a, b, dtype=np.float64)
    if mask is not None:
        inside = np.asarray(mask) != 0
        check_same_shape(a, inside, "mask")
        difference = difference[inside]
    if difference.size == 0:
        raise InputError("mask", expected="at least one voxel inside", got="none", remedy="check the mask")
    return float(np.mean(difference**2))


def _requested_codes(labels: Iterable[int]) -> NDArray[np.int64]:
    codes = np.unique(np.asarray(list(labels), dtype=np.int64))
    if 0 in codes:
        raise InputError("labels", expected="structure codes", got="0", remedy="leave background out")
    return codes
