"""Kernels on label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from lightcrcf.geometry.compiled import kernel, ready

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
    out = np.zeros((count, a, b, c), np.float32)
    _fractions(ready(labels, np.int32), factors, np.float32(1.0 / np.prod(factors)), out)
    return out


@kernel
def _fractions(labels: NDArray[Any], factors: Any, share: Any, out: NDArray[Any]) -> None:
    p, q, r = factors
    count, depth, height, width = out.shape
    for i in prange(depth):
        for a in range(p):
            for j in range(height * q):
                for k in range(width * r):
                    channel = labels[i * p + a, j, k] - 1
                    if 0 <= channel < count:
                        out[channel, i, j // q, k // r] += share
