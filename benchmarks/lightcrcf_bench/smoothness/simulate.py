"""Scans that are made of scans: noise at the image's own level, a bias field, a shift, a deformation that is known."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightcrcf.preprocessing.noise import noise_variance
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.chain import Chain
from lightcrcf.volumes import Volume, write
from lightcrcf_bench.accuracy.protocols import Images

__all__ = ["biased", "left", "moved", "noise_level", "noisy", "random_of", "seed_of", "shifted"]

Random = np.random.Generator
_HIGH = 98.0  # percentile that counts as 1, as noise is measured there
_WAVES = ((0.012, 0.015, -0.010), (-0.009, 0.011, 0.013))  # per mm; some half a metre long
_LINEAR = 0.5


def random_of(name: str) -> Random:
    """Return a random generator seeded by a name."""
    return np.random.default_rng(seed_of(name))


def seed_of(name: str) -> int:
    """Return a seed that a name alone decides."""
    return zlib.crc32(name.encode())


def left(folder: Path, name: str, fixed: Volume, moving: Volume) -> Images:
    """Write both images to files named by their content, so that cached results of other images are not reused."""
    place = f"{name}-{zlib.crc32(moving.data.tobytes(), zlib.crc32(fixed.data.tobytes())):08x}"
    files = (folder / place / "fixed.nii.gz", folder / place / "moving.nii.gz")
    (folder / place).mkdir(parents=True, exist_ok=True)
    for file, volume in zip(files, (fixed, moving), strict=True):
        write(file, volume)
    return Images(place, "moving", *files)


def noise_level(volume: Volume) -> float:
    """Estimate the standard deviation of the noise of an image; its background is 0.

    Example:
        >>> from lightcrcf.geometry.grid import Grid
        >>> data = 100 + np.random.default_rng(0).normal(0, 4, (40, 40, 40))
        >>> 3.5 < noise_level(Volume(data.astype(np.float32), Grid((40, 40, 40), np.eye(4)))) < 4.5
        True
    """
    data = volume.data.astype(np.float32)
    inside = data[data > 0]
    high = float(np.percentile(inside, _HIGH)) if inside.size else 1.0
    return high * float(np.sqrt(noise_variance(data / np.float32(high))))


def noisy(volume: Volume, level: float, random: Random) -> Volume:
    """Add noise of a standard deviation where the image is not 0; values stay nonnegative."""
    data = volume.data.astype(np.float32)
    disturbed = np.abs(data + random.normal(0, level, data.shape).astype(np.float32))
    return Volume(np.where(data > 0, disturbed, 0).astype(np.float32), volume.grid, volume.source)


def biased(volume: Volume, percent: float, random: Random) -> Volume:
    """Multiply by a smooth field whose range is a percentage of its mean; 20 is from 0.9 to 1.1."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in volume.grid.shape), indexing="ij"), axis=-1)
    places = volume.grid.world(indices) - volume.grid.world(np.array(volume.grid.shape) / 2)
    phases = random.uniform(0, 2 * np.pi, len(_WAVES))
    field = sum(np.sin(places @ np.array(wave) + phase) for wave, phase in zip(_WAVES, phases, strict=True))
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-9)
    data = volume.data * (1 + percent / 100 * (field - 0.5))
    return Volume(data.astype(np.float32), volume.grid, volume.source)


def shifted(volume: Volume, shift_mm: NDArray[np.float64]) -> Volume:
    """Shift the content by a vector in RAS+ mm, on the same grid."""
    matrix = np.eye(4)
    matrix[:3, 3] = -np.asarray(shift_mm)
    return moved(volume, Chain(Affine.identity(), None, Affine(matrix)))


def moved(volume: Volume, chain: Chain) -> Volume:
    """Resample through the chain on the same grid by cubic interpolation; 0 outside."""
    smooth = chain.resample(volume, volume.grid, "cubic").data
    shown = Volume((volume.data > 0).astype(np.float32), volume.grid)
    inside = chain.resample(shown, volume.grid, "linear").data > _LINEAR
    floor = np.float32(1e-3 * float(volume.data.max()))  # the anatomy stays where the image is not 0
    return Volume(np.where(inside, np.maximum(smooth, floor), 0).astype(np.float32), volume.grid, volume.source)
