"""Average of images on one grid, with its sharpness and the spread of the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.gradients import window_mean
from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import classify, foreground, volume_litres
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.preprocessing.normalization import normalize
from lightcrcf.run_record.input_files import fingerprint
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, check_usable, read

__all__ = ["Average", "Image", "average", "common_grid", "difference", "sharpened", "sharpness"]

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

_MARGIN_MM, _MARGIN_VOXELS = 8.0, 16.0  # of the grid around the tissue; the smaller one
_MIN_IMAGE_FRACTION = 0.5  # minimum fraction of images with tissue, or in view, at a voxel
_BORDER_VOXELS = 2  # excluded at the border of the tissue, which is an edge in any average


@dataclass(frozen=True, eq=False)
class Image:
    """Properties of an input image of a template.

    Args:
        path: of the file.
        sha256: of the file.
        spacing_mm: (3,) spacing along right, anterior and superior.
        corners_mm: (8, 3) corners of the bounding box of the tissue, RAS.
        litres: volume of the tissue in litres.
        masked: whether the background was set to one value.
    """

    path: Path
    sha256: str
    spacing_mm: Float
    corners_mm: Float
    litres: float
    masked: bool

    @classmethod
    def of(cls, path: Path) -> Image:
        """Read an image and determine its properties.

        Raises:
            InputError: if it cannot be read or registered.
        """
        volume = read(path)
        check_usable(volume, "moving")
        volume, _ = fill_missing(volume)
        prepared = normalize(volume)
        low, high = prepared.box[0] - 0.5, prepared.box[1] + 0.5
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
        tissue = volume_litres(foreground(prepared.data), prepared.grid)
        masked = classify(volume).masked
        spacing = prepared.grid.spacing_mm
        return cls(path, fingerprint(path), spacing, prepared.grid.world(corners), tissue, masked)


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of images on a grid.

    Args:
        image: mean of normalised intensities; if all images were masked, 0 outside of `tissue`.
        tissue: (D, H, W) mask where at least half of the images have tissue.
        spread: standard deviation over images, mean over the tissue.
        shown: ((3,), (3,)) first and last voxel of the bounding box of what at least half of the images
            cover; None for the whole grid.
    """

    image: Volume
    tissue: NDArray[np.bool_]
    spread: float
    shown: tuple[NDArray[np.int_], NDArray[np.int_]] | None = None

    def trimmed(self) -> Average:
        """Return the average cropped to `shown`, without margins that few images cover."""
        if self.shown is None:
            return self
        low, high = self.shown
        inside = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
        data = np.ascontiguousarray(self.image.data[inside])
        image = Volume(data, self.image.grid.crop(low, data.shape), self.image.source)
        return Average(image, np.ascontiguousarray(self.tissue[inside]), self.spread)

    def rms(self, values: Float32) -> float:
        """Return the root mean square of (D, H, W) values over the tissue."""
        return float(np.sqrt(np.mean(np.square(values[self.tissue]), dtype=np.float64)))


def common_grid(images: Sequence[Image], affines: Sequence[Affine]) -> Grid:
    """Return a grid along RAS+ at the median spacing that contains the tissue of all images.

    Args:
        images: to contain.
        affines: from points of the grid to points of each image.
    """
    spacing = np.median([image.spacing_mm for image in images], axis=0)
    corners = np.concatenate([a.inverse().points(i.corners_mm) for i, a in zip(images, affines, strict=True)])
    margin = np.minimum(_MARGIN_MM, _MARGIN_VOXELS * spacing)
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    shape = np.ceil((high - low) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - spacing * (shape - 1) / 2
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def average(images: Iterable[Image], chains: Iterable[Chain], grid: Grid) -> Average:
    """Compute the mean of normalised images, each interpolated once.

    Voxels outside of the field of view of an image do not count for it; for masked images they are background.

    Args:
        images: to average.
        chains: from points of the grid to points of each image.
        grid: of the mean.
    """
    total, squares, seen, tissue = (np.zeros(grid.shape, np.float32) for _ in range(4))
    count, masked = 0, True
    for image, chain in zip(images, chains, strict=True):
        prepared = normalize(fill_missing(read(image.path))[0])
        values, inside = (
            chain.resample(Volume(data, prepared.grid), grid, "linear").data
            for data in (prepared.data, foreground(prepared.data).astype(np.float32))
        )
        total += values
        squares += values * values
        tissue += inside
        everywhere = Volume(np.ones(prepared.grid.shape, np.float32), prepared.grid)
        seen += 1 if image.masked else chain.resample(everywhere, grid, "linear").data
        count, masked = count + 1, masked and image.masked
    mean = total / np.maximum(seen, np.float32(1e-6))
    mask = tissue >= _MIN_IMAGE_FRACTION * count
    deviation = np.sqrt(np.maximum(squares / np.maximum(seen, np.float32(1e-6)) - mean * mean, 0))
    image_of_all = np.where(mask, mean, np.float32(0)) if masked else mean
    often = np.argwhere(seen >= _MIN_IMAGE_FRACTION * count)
    shown = (often.min(axis=0), often.max(axis=0)) if len(often) else None
    return Average(Volume(image_of_all, grid, "template"), mask, float(deviation[mask].mean(dtype=np.float64)), shown)


def sharpened(found: Average, amount: float) -> Volume:
    """Sharpen an average by an unsharp mask with a 3x3x3 mean.

    Args:
        found: an average.
        amount: strength of the mask; 0 for none.
    """
    data = found.image.data
    sharp = np.maximum(data + np.float32(amount) * (data - window_mean(data[None], 1)[0]), np.float32(0))
    return Volume(np.where(data > 0, sharp, data), found.image.grid, found.image.source)


def sharpness(image: Volume, tissue: NDArray[np.bool_]) -> float:
    """Return the mean gradient magnitude in the tissue, two voxels from its border, in 1/mm of normalised intensity.

    Example:
        >>> grid = Grid((9, 10, 11), np.diag([2.0, 1.0, 1.0, 1.0]))
        >>> ramp = Volume(np.arange(9, dtype=np.float32).reshape(9, 1, 1) * np.ones((9, 10, 11), np.float32), grid)
        >>> round(sharpness(ramp, np.ones(grid.shape, bool)), 6)
        0.5
    """
    inner = window_mean(tissue.astype(np.float32)[None], _BORDER_VOXELS)[0] > 0.999
    if not inner.any():
        return 0.0
    square = np.zeros(image.data.shape, np.float32)
    for axis, spacing in enumerate(image.grid.spacing_mm):
        square += np.square(np.gradient(image.data, np.float32(spacing), axis=axis))
    return float(np.sqrt(square[inner]).mean(dtype=np.float64))


def difference(first: Volume, second: Volume) -> Float32:
    """Return the (D, H, W) difference of two volumes on one grid."""
    return np.asarray(first.data - second.data, dtype=np.float32)
