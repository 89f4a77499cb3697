"""Maps of local volume change: the Jacobian determinant of a transform, and its logarithm without the affine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightcrcf.evaluation.fields import deformation_determinant
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume

__all__ = ["LOG_FLOOR", "JacobianMaps", "JacobianSummary", "jacobian_maps"]

LOG_FLOOR = 0.001
"""Lower bound of the determinant for its logarithm, as in ANTs; smaller and negative values are clipped to it."""


@dataclass(frozen=True, kw_only=True)
class JacobianSummary:
    """Numbers that go with the maps of local volume change, the entry `jacobian` of `run.json`.

    Args:
        affine_determinant: factor in jacobian.nii.gz that log_jacobian.nii.gz does not have.
        log_floor: least determinant of which a logarithm was taken.
        folded_voxels: those where the determinant of the deformation is not positive.
        raised_voxels: those where it is below the floor, folded ones among them.
    """

    affine_determinant: float
    log_floor: float
    folded_voxels: int
    raised_voxels: int


@dataclass(frozen=True, eq=False)
class JacobianMaps:
    """Local volume change from fixed to moving: above 1, or above 0 in the logarithm, for expansion.

    Args:
        determinant: float32 on the fixed grid, of the whole transform, affine included: mm3 of the moving image per mm3
            of the fixed one; not positive where the transform folds.
        log: float32 on the fixed grid, natural logarithm of the determinant of the deformation without the affine,
            clipped to `LOG_FLOOR`.
        summary: numbers for the record.
    """

    determinant: Volume
    log: Volume
    summary: JacobianSummary


def jacobian_maps(chain: Chain, fixed: Volume) -> JacobianMaps:
    """Compute the maps of local volume change of a transform.

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
    summary = JacobianSummary(
        affine_determinant=affine,
        log_floor=LOG_FLOOR,
        folded_voxels=int(np.count_nonzero(determinant <= 0)),
        raised_voxels=int(np.count_nonzero(determinant < np.float32(LOG_FLOOR))),
    )
    log = np.maximum(determinant, np.float32(LOG_FLOOR))
    np.log(log, out=log)
    determinant *= np.float32(affine)
    whole, alone = (Volume(data, fixed.grid, fixed.source, fixed.header) for data in (determinant, log))
    return JacobianMaps(whole, alone, summary)
