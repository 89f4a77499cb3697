"""A pair of any size to compute on: smooth shapes and a label map, the same for the same size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import UsageError

__all__ = ["Workload", "parse_shape", "workload"]

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Workload:
    """Input of a measurement.

    Args:
        fixed, moving: (D, H, W) float32 in the unit range, zero around an ellipsoid.
        labels: (D, H, W) int16, on the moving image.
    """

    fixed: Float32
    moving: Float32
    labels: NDArray[np.int16]


def workload(shape: Shape) -> Workload:
    """Return an ellipsoid full of waves, and the same turned a little and enlarged.

    Example:
        >>> pair = workload((24, 32, 16))
        >>> pair.fixed.shape, pair.labels.dtype.name, bool(pair.fixed.max() <= 1)
        ((24, 32, 16), 'int16', True)
    """
    fixed, _ = _waves(shape, 0.0, 0.90)
    moving, labels = _waves(shape, 0.06, 0.93)
    return Workload(fixed, moving, labels)


def _waves(shape: Shape, turn: float, radius: float) -> tuple[Float32, NDArray[np.int16]]:
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    a, b = x + np.float32(turn) * y, y - np.float32(turn) * x
    inside = (a / radius) ** 2 + (b / radius) ** 2 + (z / radius) ** 2 < 1
    waves: Any = np.sin(9 * a) * np.cos(7 * b) + np.sin(8 * z + 3 * a)
    image = np.where(inside, np.float32(0.5) + np.float32(0.2) * waves, np.float32(0)).astype(np.float32)
    labels = np.where(inside, 1 + np.digitize(waves, np.linspace(-2, 2, 12)), 0).astype(np.int16)
    return image, labels


def parse_shape(text: str) -> Shape:
    """Parse three sizes.

    Raises:
        UsageError: if they are not three sizes of at least 16.

    Example:
        >>> parse_shape("160x192x160")
        (160, 192, 160)
    """
    try:
        sizes = [int(word) for word in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) != 3 or min(sizes) < 16:
        raise UsageError(
            "--shape", expected="three sizes of at least 16, such as 160x192x160", got=text, remedy="correct it"
        )
    return sizes[0], sizes[1], sizes[2]
