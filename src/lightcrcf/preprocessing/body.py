"""What in a CT is no part of the body: the table, a blanket, cables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import thin_out
from lightcrcf.preprocessing.masks import filled_in_slices
from lightcrcf.volumes.volume import Volume

__all__ = ["beside_the_body"]

Mask = NDArray[np.bool_]

_DENSE = -500  # HU, between air or lung and everything else
_SPACING_MM = 4.0  # at which the body is told apart; three such voxels are thicker than the shells of a table
_PART = 0.05  # of the largest part: what is no smaller is of the body too, such as an arm
_RIM = 2  # voxels of skin that opening has taken
_EMPTY = -920  # HU, around a body; where much is brighter, a crop has opened the lungs
_OPENED = 0.2  # of what is around it
_FEW = 1e-4  # of the voxels: less disturbs nothing


def beside_the_body(volume: Volume) -> Mask | None:
    """What is dense in a CT and no part of the body: the table, a blanket, cables.

    Args:
        volume: in Hounsfield units.

    Returns:
        (D, H, W) bool, with a margin; None if there is nothing, or if a crop leaves open where the body ends.
    """
    data, grid = thin_out(volume, spacing_mm=_SPACING_MM)
    order = grid.canonical()
    values = order.array(data)
    dense = np.asarray(values > _DENSE)
    body = _body(dense)
    if not body.any() or np.mean(values[~body & ~dense] > _EMPTY) > _OPENED:
        return None
    beside = dense & ~body
    if np.mean(beside) < _FEW:
        return None
    beside = _grown(beside, 1) & ~body
    back = order.inverse().array(beside)
    step = grid.inverse @ volume.grid.affine
    return np.asarray(resample(back.astype(np.uint8), volume.grid.shape, step[:3], interpolation="nearest") > 0)


def _body(dense: Mask) -> Mask:
    """The large parts of what is dense, and what they enclose in an axial slice; the last axis points upwards."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(dense.astype(np.uint8))
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.BinaryMorphologicalOpening(image, [1, 1, 1])))
    labels = sitk.GetArrayFromImage(parts)
    sizes = np.bincount(labels.ravel())
    large = np.flatnonzero(sizes[1:] >= _PART * sizes[1:].max(initial=1)) + 1
    return filled_in_slices(_grown(np.isin(labels, large), _RIM) & dense)


def _grown(mask: Mask, voxels: int) -> Mask:
    """The voxels of a mask and those near it along each axis."""
    grown = mask.copy()
    for axis in range(3):
        lines, before = np.moveaxis(grown, axis, 0), np.moveaxis(grown.copy(), axis, 0)
        for step in range(1, voxels + 1):
            lines[step:] |= before[:-step]
            lines[:-step] |= before[step:]
    return grown
