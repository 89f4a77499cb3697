"""Training examples for brain masks: heads and brains with random contrast, artefacts, pose and field of view.

All randomness comes from one generator; images are (D, H, W) float32 along RAS+ at the spacing of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.matrices import rotation_about_axes
from lightcrcf.network.brain_config import SPACING_MM
from lightcrcf.preprocessing.foreground import downsample_volume, foreground
from lightcrcf.preprocessing.unit_intensity import unit_intensities
from lightcrcf.volumes import Volume, on_grid_of, read

__all__ = [
    "Example",
    "Head",
    "brain_of_labels",
    "head_without_brain",
    "labelled_head",
    "sample_example",
    "skull_stripped_head",
    "synthetic_head",
]

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Random = np.random.Generator
Shape = tuple[int, int, int]

_SPACING_MM = 2.0
_UNCHANGED = 0.3  # fraction of examples with unchanged contrast and field of view
_CLOSING_MM = 4.0  # half the width of the widest sulcus that is closed
# Ventricles and other CSF: label codes of Neuromorphometrics.
_FLUID = (4, 11, 46, 49, 50, 51, 52)


@dataclass(frozen=True, eq=False)
class Head:
    """A training image along RAS+, at about 2 mm.

    Args:
        data: (D, H, W) float32.
        mask: (D, H, W) float32, 1 in the brain.
        fluid: (D, H, W) float32, 1 in cerebrospinal fluid (CSF) in and around the brain; None if unknown.
        grid: of all arrays.
        skull_stripped: whether everything outside of the brain is missing.
    """

    data: Float32
    mask: Float32
    fluid: Float32 | None
    grid: Grid
    skull_stripped: bool


@dataclass(frozen=True, eq=False)
class Example:
    """Input and target of the network, all (D, H, W) float32.

    Args:
        image: unit intensities, 0 outside the field of view.
        known: 1 inside the field of view.
        mask: fraction of each voxel that is brain.
    """

    image: Float32
    known: Float32
    mask: Float32


def labelled_head(image: Path, labels: Path) -> Head:
    """Read a whole head, and derive the brain mask from labels of its structures."""
    volume, structures = read(image).canonical(), read(labels).canonical()
    codes = on_grid_of(structures, volume, what="labels").data
    brain = brain_of_labels(codes > 0, volume.grid.spacing_mm)
    dilated = _dilate(brain, volume.grid.spacing_mm, _CLOSING_MM) & (codes == 0)
    fluid = np.isin(codes, _FLUID) | dilated
    return _downsampled_head(volume, brain, fluid, skull_stripped=False)


def skull_stripped_head(image: Path) -> Head:
    """Read a skull-stripped brain; its foreground is the mask."""
    volume = read(image).canonical()
    return _downsampled_head(
        volume, brain_of_labels(foreground(volume.data), volume.grid.spacing_mm), None, skull_stripped=True
    )


def _downsampled_head(volume: Volume, brain: Bool, fluid: Bool | None, *, skull_stripped: bool) -> Head:
    def thin(data: NDArray[np.generic]) -> tuple[Float32, Grid]:
        return downsample_volume(Volume(data.astype(np.float32), volume.grid), spacing_mm=_SPACING_MM)

    data, grid = thin(volume.data)
    return Head(data, thin(brain)[0], None if fluid is None else thin(fluid)[0], grid, skull_stripped)


def brain_of_labels(inside: Bool, spacing_mm: NDArray[np.float64]) -> Bool:
    """Return a brain mask: labelled tissue with ventricles and the CSF in sulci, by closing and filling holes."""
    import SimpleITK as sitk

    radius = [max(1, round(_CLOSING_MM / s)) for s in spacing_mm]
    wide = np.pad(inside, max(radius) + 1).astype(np.uint8)
    closed = sitk.BinaryMorphologicalClosing(_itk(wide), radius[::-1])
    filled = sitk.GetArrayFromImage(sitk.BinaryFillhole(closed)) > 0
    cut = slice(max(radius) + 1, -max(radius) - 1)
    return np.asarray(filled[cut, cut, cut])


def _dilate(mask: Bool, spacing_mm: NDArray[np.float64], radius_mm: float) -> Bool:
    import SimpleITK as sitk

    radius = [max(1, round(radius_mm / s)) for s in spacing_mm][::-1]
    return np.asarray(sitk.GetArrayFromImage(sitk.BinaryDilate(_itk(mask.astype(np.uint8)), radius)) > 0)


def _itk(mask: NDArray[np.uint8]) -> object:
    import SimpleITK as sitk

    return sitk.GetImageFromArray(mask)


def head_without_brain(image: Path) -> Head:
    """Read an image without a brain; its mask is empty."""
    volume = read(image).canonical()
    return _downsampled_head(volume, np.zeros(volume.grid.shape, np.bool_), None, skull_stripped=False)


def synthetic_head(rng: Random) -> Head:
    """Sample a synthetic image without a brain: blobs, a box or noise."""
    coarse = rng.normal(size=tuple(rng.integers(2, 12, 3))).astype(np.float32)
    shape = (90, 110, 100)
    step = np.diag([*((np.array(coarse.shape) - 1) / (np.array(shape) - 1)), 1.0])
    field = np.asarray(resample(coarse, shape, step[:3]), np.float32)
    kind = rng.choice(["noise", "blobs", "box", "field"])
    data = {"noise": np.zeros_like(field), "blobs": 1.0 * (field > rng.uniform(-0.5, 0.8)), "field": field}.get(kind)
    if data is None:
        ends = [np.sort(rng.integers(0, n, 2)) for n in shape]
        data = np.zeros_like(field)
        data[tuple(slice(a, b + 5) for a, b in ends)] = 1
        data += 0.1 * field * data
    data = data + rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(0.01, 0.2))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return Head(data.astype(np.float32), np.zeros(shape, np.float32), None, Grid(shape, affine), False)


def sample_example(head: Head, shape: Shape, rng: Random) -> Example:
    """Sample an example from a head: random pose, contrast, artefacts and field of view, on `shape` voxels."""
    matrix = _random_pose(head, shape, rng)

    def resampled(data: Float32) -> Float32:
        return np.asarray(resample(data, shape, matrix[:3]), np.float32)

    known = resampled(np.ones_like(head.data)) > 0.5
    mask, data = resampled(head.mask), resampled(head.data)
    fluid = resampled(head.fluid) if head.fluid is not None else None
    if not head.skull_stripped and rng.random() < 0.2:
        data = data * (mask > rng.uniform(0.05, 0.95))  # simulated skull stripping
    elif rng.random() < 0.2 and mask.any():
        data = _with_shells(data, mask, rng)
    image, view = unit_intensities(data, known), known
    if rng.random() >= _UNCHANGED:
        image = _augment_contrast(image, fluid, rng)
        for change in (_bias_field, _blur, _thick_slices, _add_noise):
            image = change(image, rng)
        view = known & _field_of_view(mask, rng)
    image = unit_intensities(image, view)
    return Example(np.where(view, image, np.float32(0)), view.astype(np.float32), mask)


def _random_pose(head: Head, shape: Shape, rng: Random) -> NDArray[np.float64]:
    """Return (4, 4), voxels of the example to voxels of the head: random rotation, scaling, shift and mirroring."""
    spread = rng.choice([8.0, 30.0])
    rotation = rotation_about_axes(np.clip(rng.normal(size=3) * spread / 1.5, -spread, spread))
    scale = SPACING_MM * np.exp(rng.normal() * 0.1 + rng.normal(size=3) * 0.04)
    linear = rotation * scale
    linear[0] *= rng.choice([-1.0, 1.0])
    inside = np.argwhere(head.mask > 0.5)
    about = inside.mean(axis=0) if inside.size else rng.uniform(0.2, 0.8, 3) * head.mask.shape
    centre_mm = head.grid.world(about) + rng.normal(size=3) * 8.0
    centre = (np.array(shape) - 1) / 2 + rng.normal(size=3) * (5.0, 6.0, 6.0) + (0, 0, 5.0)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, centre_mm - linear @ centre
    return np.asarray(head.grid.inverse @ matrix)


def _with_shells(data: Float32, mask: Float32, rng: Random) -> Float32:
    """Replace the surroundings of the brain by two shells of constant intensity, as skull and scalp."""
    import SimpleITK as sitk

    inside = _itk((mask > 0.5).astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(inside, squaredDistance=False, useImageSpacing=False)
    far = sitk.GetArrayFromImage(distance) * SPACING_MM
    bone = rng.uniform(1, 22)
    scalp = bone + rng.uniform(4, 15)
    bright = float(np.percentile(data[mask > 0.5], 90)) if (mask > 0.5).any() else 1.0
    values = rng.uniform(0, 1.3, 2) * bright
    shells = np.where(far < bone, values[0], np.where(far < scalp, values[1], 0))
    return np.where(mask > 0.5, data, shells).astype(np.float32)


def _augment_contrast(image: Float32, fluid: Float32 | None, rng: Random) -> Float32:
    """Apply a random piecewise linear intensity mapping, monotone or not; CSF may get an intensity of its own."""
    knots = np.linspace(0, 1, int(rng.integers(4, 9)))
    values = rng.uniform(0, 1, knots.size)
    kind = rng.choice(["same", "rising", "any", "any", "negative"])
    if kind == "same":
        values = knots ** np.exp(rng.normal() * 0.3)
    elif kind == "rising":
        values = np.sort(values)
    elif kind == "negative":
        values = np.sort(values)[::-1]
    if kind != "same" and rng.random() < 0.75:
        values[0] = 0.0  # air is dark in most contrasts
    mapped = np.interp(image, knots, values).astype(np.float32)
    if fluid is not None and rng.random() < 0.4:
        fraction = fluid * (image < rng.uniform(0.3, 0.6))
        fraction = _smooth(fraction.astype(np.float32))
        mapped = mapped * (1 - fraction) + np.float32(rng.uniform(0, 1.3)) * fraction
    return mapped


def _bias_field(image: Float32, rng: Random) -> Float32:
    """Multiply by a random bias field."""
    if rng.random() < 0.3:
        return image
    coarse = rng.normal(size=(3, 4, 4)).astype(np.float32) * np.float32(rng.uniform(0.05, 0.5))
    step = np.diag([*((np.array(coarse.shape) - 1) / (np.array(image.shape) - 1)), 1.0])
    return np.asarray(image * np.exp(resample(coarse, image.shape, step[:3])), np.float32)


def _smooth(image: Float32) -> Float32:
    """Smooth by [1 2 1] / 4 along each axis."""
    for axis in range(3):
        padded = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis)
        n = image.shape[axis]
        image = (padded.take(range(n), axis) + 2 * image + padded.take(range(2, n + 2), axis)) / 4
    return image.astype(np.float32)


def _blur(image: Float32, rng: Random) -> Float32:
    for _ in range(int(rng.choice([0, 0, 0, 1, 2]))):
        image = _smooth(image)
    return image


def _thick_slices(image: Float32, rng: Random) -> Float32:
    """Simulate slices of 6 or 9 mm along one axis, with linear or nearest interpolation."""
    if rng.random() < 0.75:
        return image
    axis, thickness = int(rng.integers(3)), int(rng.choice([2, 2, 3]))
    moved = np.moveaxis(image, axis, 0)
    count = moved.shape[0] // thickness
    slices = moved[: count * thickness].reshape(count, thickness, *moved.shape[1:]).mean(axis=1)
    at = (np.arange(moved.shape[0]) - (thickness - 1) / 2) / thickness
    at = np.clip(at if rng.random() < 0.7 else np.round(at), 0, count - 1)
    low = np.minimum(at.astype(int), count - 2)
    part = (at - low).astype(np.float32)[:, None, None]
    return np.ascontiguousarray(np.moveaxis(slices[low] * (1 - part) + slices[low + 1] * part, 0, axis))


def _add_noise(image: Float32, rng: Random) -> Float32:
    size = np.float32(abs(rng.normal()) * 0.04)
    noise = rng.standard_normal(image.shape, np.float32) * size
    kind = rng.random()
    if kind < 0.3:
        return image
    return np.abs(image + noise) if kind < 0.7 else image + noise


def _field_of_view(mask: Float32, rng: Random) -> Bool:
    """Sample a field of view: neck, vertex or sides may be cut off, sometimes far into the brain."""
    view = np.ones(mask.shape, np.bool_)
    inside = np.argwhere(mask > 0.5)
    if not inside.size:
        return view
    low, high = inside.min(axis=0), inside.max(axis=0)
    for axis, end, chance in ((2, 0, 0.5), (2, 1, 0.25), (1, 0, 0.2), (1, 1, 0.2), (0, 0, 0.12), (0, 1, 0.12)):
        if rng.random() >= chance:
            continue
        size = high[axis] - low[axis]
        cut = rng.normal() * 0.12 if rng.random() < 0.8 else rng.uniform(-0.2, 0.6)  # fraction of the brain's extent
        edge = round(low[axis] + cut * size if end == 0 else high[axis] - cut * size)
        outside: list[slice] = [slice(None)] * 3
        outside[axis] = slice(0, max(0, edge)) if end == 0 else slice(max(0, edge + 1), None)
        view[tuple(outside)] = False
    return view if view.any() else np.ones(mask.shape, np.bool_)
