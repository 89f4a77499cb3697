"""Kernels on label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["label_fractions"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]


def label_fractions(labels: NDArray[np.integer[Any]], count: int, factors: Shape = (1, 1, 1)) -> Float32:
    """Return the fraction of each block of voxels with each of the labels 1 to K.

    Args:
        labels: (D, H, W); other labels are ignored.
        count: K.
        factors: edge lengths of a block in voxels; divisors of D, H and W.

    Returns:
        (K, D / a, H / b, W / c) in [0, 1].

    Example:
        >>> label_fractions(np.array([[[1, 2], [2, 0]]]), 2, (1, 2, 2)).ravel().tolist()
        [0.25, 0.5]
    """
    if any(n % f for n, f in zip(labels.shape, factors, strict=True)):
        raise ValueError(f"blocks of {factors} voxels do not fill {labels.shape}")
    a, b, c = (n // f for n, f in zip(labels.shape, factors, strict=True))
    out = np.empty((count, a, b, c), np.float32)
    _core.label_fractions(contiguous(labels, np.int32), out)
    return out
