"""Rotation matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["rotation_about_axes"]


def rotation_about_axes(degrees: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about the first axis, then the second, then the third.

    Args:
        degrees: (3,) angles.

    Example:
        >>> rotation_about_axes((0, 0, 90)).round(9).tolist()
        [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        cosine, sine, step = np.cos(angle), np.sin(angle), np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step[[a, a, b, b], [a, b, a, b]] = cosine, -sine, sine, cosine
        matrix = step @ matrix
    return matrix
