"""Scores of a transform: volume change, image similarity, and distance from the truth.

J is the determinant of the deformation, the affine aside (`evaluation.fields.deformation_determinant`), by central
differences on the grid of the fixed image: the same for every tool, whatever grid its field came on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.evaluation.fields import deformation_determinant
from lightcrcf.evaluation.labels import label_codes
from lightcrcf.evaluation.metrics import dice
from lightcrcf.geometry.grid import Grid
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

__all__ = ["correlation", "distances", "mean_dice", "points_of", "ratios", "target_error", "volume_change"]

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
_FLOOR, _CEILING = 1e-9, 1e9  # as `evaluation.regularity.sdlogj` has them


def volume_change(chain: Chain, grid: Grid, anatomy: Mask) -> dict[str, float]:
    """Return spread, percentiles, maximum and folding of J, inside the anatomy and over the fixed grid.

    Args:
        chain: fixed points to moving points.
        grid: of the fixed image.
        anatomy: (D, H, W), where the fixed image shows it.

    Returns:
        Keys of `record.FIGURES`.
    """
    determinants = deformation_determinant(chain, grid)
    inside = {f"{name}_inside": value for name, value in ratios(determinants[anatomy]).items()}
    return {**inside, **ratios(determinants)}


def ratios(determinants: NDArray[np.float32]) -> dict[str, float]:
    """Return metrics of Jacobian determinants of any shape.

    Example:
        >>> found = ratios(np.exp(np.array([-0.5, 0.5], np.float32)))
        >>> round(found["sdlogj"], 6), round(found["ratio_max"], 3), found["folding_percent"]
        (0.5, 1.649, 0.0)
    """
    values = determinants.astype(np.float64)
    low, high = (float(value) for value in np.percentile(values, (1, 99)))
    return {
        "sdlogj": float(np.std(np.log(np.clip(values, _FLOOR, _CEILING)))),
        "ratio_p1": low,
        "ratio_p99": high,
        "ratio_max": float(values.max()),
        "folding_percent": 100.0 * float(np.mean(values <= 0)),
    }


def mean_dice(chain: Chain, fixed_labels: Volume, moving_labels: Volume) -> float:
    """Return the mean over structures of both label maps; vanished structures count as 0."""
    moved = chain.resample(moving_labels, fixed_labels.grid, "nearest").data
    common = np.intersect1d(label_codes(fixed_labels.data), label_codes(moving_labels.data)).tolist()
    return float(np.mean(list(dice(fixed_labels.data, moved, common).values())))


def target_error(chain: Chain, fixed_mm: Points, moving_mm: Points) -> float:
    """Return the mean target registration error in mm of landmarks, both (n, 3) RAS+ mm."""
    return float(np.linalg.norm(chain.points(fixed_mm) - moving_mm, axis=1).mean())


def correlation(chain: Chain, fixed: Volume, moving: Volume, anatomy: Mask) -> float:
    """Return the Pearson correlation of fixed and moved image, interpolated linearly, inside the anatomy.

    0 where one of them is constant, as a moving image that ended elsewhere is.
    """
    moved = chain.resample(moving, fixed.grid, "linear").data
    pair: Any = (fixed.data[anatomy].astype(np.float64), moved[anatomy].astype(np.float64))
    return float(np.corrcoef(*pair)[0, 1]) if min(map(np.ptp, pair)) > 0 else 0.0


def points_of(anatomy: Mask, grid: Grid) -> Points:
    """Return the (n, 3) RAS+ mm of the voxels inside."""
    return grid.world(np.argwhere(anatomy))


def distances(chain: Chain, points_mm: Points, truth_mm: Points) -> NDArray[np.float64]:
    """Return (n,) distances in mm between mapped points and their true positions."""
    return np.asarray(np.linalg.norm(chain.points(points_mm) - truth_mm, axis=1))
