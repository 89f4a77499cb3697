"""Packing of convolution weights for the native kernels: groups of output channels, of 8 and at last of 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALF_GROUP", "Convolution", "group_outputs", "pad_outputs", "transform_rows"]

Float32 = NDArray[np.float32]

GROUP, HALF_GROUP = 8, 4
# The transform of the three weights across rows by Winograd's minimal filtering F(4, 3): G of Lavin and Gray,
# "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
_WINOGRAD = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip


@dataclass(frozen=True)
class Convolution:
    """A 3x3x3 convolution with its weights packed for the kernels of one precision.

    Args:
        name: of the tensors.
        inputs, outputs: channels.
        weight: packed, flat.
        bias: padded to whole groups.
        slope: of the leaky ReLU that follows; 1 for none.
    """

    name: str
    inputs: int
    outputs: int
    weight: NDArray[Any]
    bias: Float32
    slope: float


def pad_outputs(values: Float32) -> Float32:
    """Return the array with zeros for further outputs (its first axis), up to a multiple of 4."""
    padded = np.zeros((-(-len(values) // HALF_GROUP) * HALF_GROUP, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


def group_outputs(values: NDArray[Any]) -> NDArray[Any]:
    """Return (O, ...) flat, with the outputs of each group as the last axis; O a multiple of 4."""
    groups = [values[first : first + GROUP] for first in range(0, len(values), GROUP)]
    return np.concatenate([np.moveaxis(group, 0, -1).ravel() for group in groups])


def transform_rows(weight: Float32) -> Float32:
    """Return weights (O, I, 3, 3, 3) transformed across rows: (O, 6, I, 3, 3)."""
    transformed: Float32 = np.einsum("mb,oiabc->omiac", _WINOGRAD, weight.astype(np.float64)).astype(np.float32)
    return transformed
