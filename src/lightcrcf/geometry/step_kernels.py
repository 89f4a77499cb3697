"""A step of the refinement: momentum, and composition with a short step.

No step is longer than a voxel, so that interpolation needs only the 27 neighbours of each voxel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf import _core
from lightcrcf.geometry.arrays import contiguous

__all__ = ["accumulate", "compose_step"]

Float32 = NDArray[np.float32]


def accumulate(total: Float32, keep: float, addend: Float32, scale: float) -> None:
    """total = keep * total + scale * addend, both (3, D, H, W); with keep 0, `total` may be uninitialised.

    Example:
        >>> total, addend = (np.full((3, 1, 1, 1), value, np.float32) for value in (2, 8))
        >>> accumulate(total, 0.5, addend, 0.25)
        >>> total.ravel().tolist()
        [3.0, 3.0, 3.0]
    """
    _core.accumulate(total, keep, contiguous(addend), scale)


def compose_step(field: Float32, step: Float32, scale: float, longest: float, out: Float32) -> None:
    """Compute out = field o (id + v), with v = `step` times `scale`, limited to the length `longest`.

    As `kernels.compose`: (u o v)(x) = v(x) + u(x + v(x)), trilinear, clamped at the borders.

    Args:
        field, step: (3, D, H, W) voxels.
        scale: of the step.
        longest: voxels, at most 1.
        out: (3, D, H, W), overwritten; neither of the two.

    Raises:
        ValueError: if `longest` is above one voxel.

    Example:
        >>> field = np.zeros((3, 1, 1, 4), np.float32)
        >>> field[2] = [0, 1, 2, 3]
        >>> step, out = np.array([0, 0, 3], np.float32).reshape(3, 1, 1, 1) * np.ones_like(field), np.empty_like(field)
        >>> compose_step(field, step, 1.0, 0.5, out)
        >>> out[2].ravel().tolist()
        [1.0, 2.0, 3.0, 3.5]
    """
    if longest > 1:
        raise ValueError(f"steps of at most one voxel, not {longest}")
    _core.compose_step(contiguous(field), contiguous(step), scale, longest, out)
