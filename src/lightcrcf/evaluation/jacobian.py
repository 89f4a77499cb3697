"""Maps of local volume change: the determinant of a transform's Jacobian, and its logarithm without the affine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightcrcf.evaluation.fields import deformation_determinant
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

__all__ = ["FLOOR", "JacobianMaps", "jacobian_maps"]

FLOOR = 0.001
"""The least determinant of which a logarithm is taken, as in ANTs: less, and folds, count as a thousandth."""


@dataclass(frozen=True, eq=False)
class JacobianMaps:
    """How much larger what lies at each fixed voxel is in the moving image: above 1, or above 0 in the logarithm.

    Args:
        determinant: float32 on the fixed grid, of the whole transform, affine included: mm3 of the moving image for
            each mm3 of the fixed one; not positive where the transform folds.
        log: float32 on the fixed grid, natural logarithm of the determinant of the deformation alone, of at least
            `FLOOR`: differences in size between the images as a whole are not in it.
        record: what `run.json` says of them.
    """

    determinant: Volume
    log: Volume
    record: dict[str, Any]


def jacobian_maps(chain: Chain, fixed: Volume) -> JacobianMaps:
    """Measure the local volume change of a transform.

    Args:
        chain: fixed points to moving points.
        fixed: gives grid and header.

    Example:
        >>> from lightcrcf.geometry.grid import Grid
        >>> from lightcrcf.transforms.affine import Affine
        >>> fixed = Volume(np.zeros((4, 5, 6)), Grid((4, 5, 6), np.eye(4)))
        >>> maps = jacobian_maps(Chain(Affine.identity(), None, Affine(np.diag([2.0, 2.0, 2.0, 1.0]))), fixed)
        >>> float(maps.determinant.data[0, 0, 0]), float(maps.log.data[0, 0, 0])
        (8.0, 0.0)
    """
    affine = float(np.linalg.det(chain.after.matrix[:3, :3]) * np.linalg.det(chain.before.matrix[:3, :3]))
    determinant = deformation_determinant(chain, fixed.grid)
    record = {
        "affine_determinant": affine,
        "log_floor": FLOOR,
        "folded_voxels": int(np.count_nonzero(determinant <= 0)),
        "raised_voxels": int(np.count_nonzero(determinant < np.float32(FLOOR))),
    }
    log = np.maximum(determinant, np.float32(FLOOR))
    np.log(log, out=log)
    determinant *= np.float32(affine)
    whole, alone = (Volume(data, fixed.grid, fixed.source, fixed.header) for data in (determinant, log))
    return JacobianMaps(whole, alone, record)
