"""Detection of the table, blankets and cables in a CT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.kernels import resample
from lightcrcf.preprocessing.foreground import downsample_volume
from lightcrcf.preprocessing.masks import fill_holes_in_slices
from lightcrcf.volumes.volume import Volume

__all__ = ["find_table"]

Mask = NDArray[np.bool_]

_DENSE = -500  # HU, between air or lung and everything else
_SPACING_MM = 4.0  # of the segmentation; opening removes a table, whose shells are thinner than three such voxels
_MIN_PART = 0.05  # of the largest component: components at least so large are body too, such as an arm
_SKIN_VOXELS = 2  # voxels of skin that opening removes
_AIR = -920  # HU, upper bound of air around a body; in a crop through the lungs much of it is brighter
_MAX_BRIGHT_AIR = 0.2  # of the voxels around the body
_MIN_FRACTION = 1e-4  # of all voxels: less is ignored


def find_table(volume: Volume) -> Mask | None:
    """Segment dense objects outside of the body in a CT: the table, a blanket, cables.

    Args:
        volume: in Hounsfield units.

    Returns:
        (D, H, W) bool, with a margin; None if there are none, or if a crop cuts through the lungs.
    """
    data, grid = downsample_volume(volume, spacing_mm=_SPACING_MM)
    order = grid.canonical()
    values = order.array(data)
    dense = np.asarray(values > _DENSE)
    body = _body(dense)
    if not body.any() or np.mean(values[~body & ~dense] > _AIR) > _MAX_BRIGHT_AIR:
        return None
    beside = dense & ~body
    if np.mean(beside) < _MIN_FRACTION:
        return None
    beside = _dilate(beside, 1) & ~body
    back = order.inverse().array(beside)
    step = grid.inverse @ volume.grid.affine
    return np.asarray(resample(back.astype(np.uint8), volume.grid.shape, step[:3], interpolation="nearest") > 0)


def _body(dense: Mask) -> Mask:
    """Return the large dense components with their holes in axial slices filled; the last axis is superior."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(dense.astype(np.uint8))
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.BinaryMorphologicalOpening(image, [1, 1, 1])))
    labels = sitk.GetArrayFromImage(parts)
    sizes = np.bincount(labels.ravel())
    large = np.flatnonzero(sizes[1:] >= _MIN_PART * sizes[1:].max(initial=1)) + 1
    return fill_holes_in_slices(_dilate(np.isin(labels, large), _SKIN_VOXELS) & dense)


def _dilate(mask: Mask, voxels: int) -> Mask:
    """Dilate a mask by so many voxels along each axis."""
    grown = mask.copy()
    for axis in range(3):
        lines, before = np.moveaxis(grown, axis, 0), np.moveaxis(grown.copy(), axis, 0)
        for step in range(1, voxels + 1):
            lines[step:] |= before[:-step]
            lines[:-step] |= before[step:]
    return grown
