"""Checks that a volume holds an image, and that masks and label maps lie on its grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightcrcf.errors import InputError
from lightcrcf.geometry.grid import AxisOrder, Grid
from lightcrcf.volumes.volume import Volume

__all__ = ["check_usable", "on_grid_of"]

_SAME_MM = 0.01  # rounding of headers by common tools


def check_usable(volume: Volume, role: str) -> None:
    """Refuse an image without contrast; not meant for labels and masks.

    Args:
        volume: the image.
        role: "fixed" or "moving", for the message.

    Raises:
        InputError: if no voxel is finite, or all finite voxels have one value.
    """
    low, high = _finite_range(volume)
    if not low < high:
        raise InputError(
            volume.source,
            expected=f"a {role} image with contrast",
            got="NaN or infinity in every voxel" if low > high else f"{low:g} in every voxel",
            remedy="check that this is the right file",
        )


def _finite_range(volume: Volume) -> tuple[float, float]:
    """Return the minimum and maximum of the finite voxels; (inf, -inf) if there are none."""
    low, high = float(volume.data.min()), float(volume.data.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = volume.data[np.isfinite(volume.data)]
    return float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))


def on_grid_of(volume: Volume, image: Volume, *, what: str) -> Volume:
    """Return a mask or label map on the grid of its image; refuse one whose voxels lie elsewhere.

    Other tools store the same points of space with axes reversed or permuted. Such axes are reordered, without
    interpolation.

    Args:
        volume: a mask, a label map or another image.
        image: the volume whose grid is required.
        what: describes `volume`: "a mask", "labels" or "an image".

    Raises:
        InputError: if shape, spacing, orientation or origin differ; the message says which, and by how much.
    """
    if volume.grid.isclose(image.grid, tolerance_mm=_SAME_MM):
        return volume
    order = AxisOrder.towards_ras(image.grid.directions.T @ volume.grid.directions)
    grid = order.grid(volume.grid)
    if grid.isclose(image.grid, tolerance_mm=_SAME_MM):
        return replace(volume, data=np.ascontiguousarray(order.array(volume.data)), grid=grid)
    raise InputError(
        volume.source,
        expected=f"{what} on the grid of {image.source}",
        got=f"another grid: {', '.join((*_reordered(order), *_differences(grid, image.grid)))}",
        remedy=_remedy(what, same_shape=volume.grid.shape == image.grid.shape),
    )


def _reordered(order: AxisOrder) -> Iterator[str]:
    """Describe which axes of a file are permuted or reversed relative to its image, by the file's axis numbers."""
    if order.permutation != (0, 1, 2):
        yield f"axes permuted {order.permutation}"
    yield from (f"axis {order.permutation[axis]} reversed" for axis in range(3) if order.flips[axis])


def _differences(grid: Grid, expected: Grid) -> list[str]:
    """Describe how two grids with the same axis order differ: shape, spacing and rotation, or else the shift."""
    differences, extent = [], np.array(expected.shape) - 1
    if grid.shape != expected.shape:
        differences.append(f"{grid.shape} voxels instead of {expected.shape}")
    if (np.abs(grid.spacing_mm - expected.spacing_mm) * extent).max() > _SAME_MM / 2:
        differences.append(f"spacing {_numbers(grid.spacing_mm)} mm instead of {_numbers(expected.spacing_mm)} mm")
    rotation = float(np.linalg.norm(grid.directions - expected.directions))  # sqrt(8) sin(angle / 2) of a rotation
    if rotation * float((extent * expected.spacing_mm).max()) > _SAME_MM:
        differences.append(f"turned by {np.degrees(2 * np.arcsin(min(rotation / np.sqrt(8), 1.0))):.3g} degrees")
    shift = grid.world(0 * extent) - expected.world(0 * extent)
    return differences or [f"shifted by {_numbers(shift)} mm in RAS"]


def _numbers(values: NDArray[np.float64]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in np.round(values, 4) + 0.0)})"  # no "-0"


def _remedy(what: str, *, same_shape: bool) -> str:
    """Return a command of a common tool: none of ours copies a geometry, or resamples without a transform."""
    nearest = "" if what == "an image" else " -n NearestNeighbor"
    resample = f"resample it: antsApplyTransforms -d 3{nearest} -i THIS -r IMAGE -o NEW"
    if not same_shape:
        return resample
    return f"if its voxels are the image's and only its header is wrong: fslcpgeom IMAGE THIS; else {resample}"
