"""Where affine alignment may begin: the headers' own alignment, and centres put together in every orientation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from lightcrcf.pipeline.affine_images import Pair

__all__ = ["Start", "cube_rotations", "starts"]

Float64 = NDArray[np.float64]

# A foreground that is longer than the other one by more than this may hold it at either end or in between.
_SLACK_MM = 25.0


@dataclass(frozen=True, eq=False)
class Start:
    """(4, 4) fixed RAS mm to moving RAS mm, its name, and whether the headers' orientation is kept."""

    matrix: Float64
    name: str
    upright: bool


def starts(pair: Pair) -> list[Start]:
    """The header's alignment, and the 24 rotations of a cube about the centres, with shifts where the sizes differ."""
    fixed, moving = pair.fixed.centroid_mm(), pair.moving.centroid_mm()
    result = [Start(np.eye(4), "header", True)]
    for rotation in cube_rotations():
        turned = np.abs(rotation) @ pair.fixed.extent_mm()
        for shift in _shifts(turned, pair.moving.extent_mm()):
            matrix = np.eye(4)
            matrix[:3, :3] = rotation
            matrix[:3, 3] = moving + shift - rotation @ fixed
            upright = bool(np.trace(rotation) == 3)
            name = "centres" + ("" if upright else f", {_letters(rotation)}") + (", shifted" if shift.any() else "")
            result.append(Start(matrix, name, upright))
    return result


def _shifts(a_mm: Float64, b_mm: Float64) -> list[Float64]:
    """Offsets of the centres at which the smaller box may lie within the larger one along each axis; zero first."""
    slack = np.abs(a_mm - b_mm) / 2
    steps = [(0.0, *((-1.0, -0.5, 0.5, 1.0) if s > _SLACK_MM else ())) for s in slack]
    return [np.array(step) * slack for step in product(*steps)]


def _letters(rotation: Float64) -> str:
    """Where the rotation takes right, anterior and superior: "R A S to L P S" is half a turn about the long axis."""
    ends = [("RL", "AP", "SI")[int(np.abs(column).argmax())][int(column.sum() < 0)] for column in rotation.T]
    return f"R A S to {' '.join(ends)}"


def cube_rotations() -> list[Float64]:
    """The 24 rotations (3, 3) that take a cube to itself, the identity first.

    Example:
        >>> turns = cube_rotations()
        >>> len(turns), turns[0].tolist()
        (24, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    """
    signed = (
        np.array(signs, dtype=np.float64)[:, None] * np.eye(3)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    )
    return [matrix for matrix in signed if np.linalg.det(matrix) > 0]
