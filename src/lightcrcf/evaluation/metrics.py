"""Agreement of labels and images: Dice and mean squared error, with the other measures beside them.

Label volumes hold any integers (structure codes up to 2**31); 0 is background and never scored.
Surface distances live in `evaluation.surface`, measures of the field in `evaluation.regularity`; both are exported
here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, check_same_shape, compact, label_codes
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
    """Dice overlap 2|A and B| / (|A| + |B|) of each label.

    Args:
        fixed: (D, H, W) integers, or floats that hold integers.
        moved: (D, H, W), likewise, on the same grid.
        labels: the codes to score; without them, every code but 0 in `fixed`.

    Returns:
        code to Dice, in ascending order of code. A code absent from `fixed` is NaN (skip it in means, as Learn2Reg
        does; leave out codes absent from the unwarped moving labels by not asking for them). A code that `fixed` has
        and `moved` lost is 0.

    Raises:
        InputError: if the shapes differ, a volume holds fractions, or label 0 is asked for.

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
    codes = label_codes(a) if labels is None else _asked(labels)
    in_a, in_b = compact(a, codes), compact(b, codes)
    bins = len(codes) + 1
    size_a, size_b = np.bincount(in_a, minlength=bins)[1:], np.bincount(in_b, minlength=bins)[1:]
    both = np.bincount(in_a[in_a == in_b], minlength=bins)[1:]
    overlap = np.full(len(codes), np.nan)
    np.divide(2.0 * both, size_a + size_b, out=overlap, where=size_a > 0)
    return {int(code): float(value) for code, value in zip(codes, overlap, strict=True)}


def mse(fixed: ArrayLike, moved: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Mean squared intensity difference, in squared units of the images.

    It measures how alike two images look, not how well structures match (Rohlfing, TMI 2012): never an accuracy.

    Args:
        fixed: (D, H, W) intensities.
        moved: (D, H, W), on the same grid.
        mask: (D, H, W); only its non-zero voxels count.

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


def _asked(labels: Iterable[int]) -> NDArray[np.int64]:
    codes = np.unique(np.asarray(list(labels), dtype=np.int64))
    if 0 in codes:
        raise InputError("labels", expected="structure codes", got="0", remedy="leave background out")
    return codes
