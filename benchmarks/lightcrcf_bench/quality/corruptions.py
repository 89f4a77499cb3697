"""Registrations that must not pass: real pairs with realistic corruptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightcrcf.geometry.grid import Grid
from lightcrcf.preprocessing.foreground import foreground
from lightcrcf.volumes import Volume

__all__ = ["KINDS", "Sample", "corrupt", "rotation"]

Array = NDArray[Any]
Random = np.random.Generator

_TURN_DEG = 60.0
_BLOCK = 8


@dataclass(frozen=True, eq=False)
class Sample:
    """A pair of images, with labels for its score.

    Args:
        fixed, moving: images.
        fixed_labels, moving_labels: of both.
        options: for `register`.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume
    moving_labels: Volume
    options: dict[str, Any]


def corrupt(kind: str, sample: Sample, random: Random) -> Sample:
    """Return the sample, corrupted in one of `KINDS`; the same numbers give the same sample."""
    return KINDS[kind](sample, random)


def _mirrored(sample: Sample, _random: Random) -> Sample:
    """Mirror left and right in the voxels, as a wrong header does; labels keep their codes."""

    def mirrored(volume: Volume) -> Volume:
        canonical = volume.canonical()
        return _changed(canonical, np.ascontiguousarray(canonical.data[::-1]))

    return replace(sample, moving=mirrored(sample.moving), moving_labels=mirrored(sample.moving_labels))


def _half_missing(sample: Sample, random: Random) -> Sample:
    """Remove half of the moving anatomy along one axis."""
    moving = sample.moving
    axis, upper = int(random.integers(3)), bool(random.integers(2))
    filled = np.flatnonzero(foreground(moving.data).any(axis=tuple(a for a in range(3) if a != axis)))
    middle = int(filled[len(filled) // 2])
    kept = [slice(None)] * 3
    kept[axis] = slice(middle, None) if upper else slice(None, middle)
    start = [middle if a == axis and upper else 0 for a in range(3)]

    def cut(volume: Volume) -> Volume:
        data = np.ascontiguousarray(volume.data[tuple(kept)])
        return Volume(data, volume.grid.crop(start, _shape(data)), _name(volume))

    return replace(sample, moving=cut(moving), moving_labels=cut(sample.moving_labels))


def _other_contrast(sample: Sample, _random: Random) -> Sample:
    """Invert the contrast within the anatomy, as between T1 and T2 weighting."""
    data = sample.moving.data.astype(np.float32)
    mask = foreground(data)
    low, high = np.percentile(data[mask], (1, 99))
    inverted = np.where(mask, np.clip(low + high - data, low, high), data)
    return replace(sample, moving=_changed(sample.moving, inverted))


def _turned(sample: Sample, random: Random) -> Sample:
    """Rotate by 60 degrees about the centre of the anatomy, without affine alignment."""
    moving = sample.moving
    axis = random.normal(size=3)
    turn = np.eye(4)
    turn[:3, :3] = rotation(axis / np.linalg.norm(axis), np.radians(_TURN_DEG))
    middle = moving.grid.world(np.argwhere(foreground(moving.data)).mean(axis=0))
    turn[:3, 3] = middle - turn[:3, :3] @ middle

    def turned(volume: Volume) -> Volume:
        return Volume(volume.data, Grid(volume.grid.shape, turn @ volume.grid.affine), _name(volume))

    corrupted = replace(sample, moving=turned(moving), moving_labels=turned(sample.moving_labels))
    return replace(corrupted, options={**sample.options, "init": "none"})


def _noise(sample: Sample, random: Random) -> Sample:
    """Add noise as strong as the anatomy, everywhere."""
    data = sample.moving.data.astype(np.float32)
    inside = data[foreground(data)]
    noise = random.standard_normal(data.shape, dtype=np.float32) * np.float32(np.percentile(inside, 98) - data.min())
    return replace(sample, moving=_changed(sample.moving, data + noise))


def _shuffled(sample: Sample, random: Random) -> Sample:
    """Permute blocks of the moving image, at most as thick as the image."""
    data = sample.moving.data
    p, q, r = (min(_BLOCK, n) for n in data.shape)
    count = (data.shape[0] // p, data.shape[1] // q, data.shape[2] // r)
    corners = [tuple(c) for c in np.argwhere(np.ones(count, bool)) * (p, q, r)]
    blocks = [data[a : a + p, b : b + q, c : c + r].copy() for a, b, c in corners]
    mixed = data.copy()
    for (a, b, c), source in zip(corners, random.permutation(len(corners)), strict=True):
        mixed[a : a + p, b : b + q, c : c + r] = blocks[source]
    return replace(sample, moving=_changed(sample.moving, mixed))


KINDS: dict[str, Callable[[Sample, Random], Sample]] = {
    "mirrored": _mirrored,
    "half missing": _half_missing,
    "other contrast": _other_contrast,
    "turned, no affine": _turned,
    "noise": _noise,
    "shuffled": _shuffled,
}
"""What is done to a pair, by name. "other anatomy" is none of them: it takes another image."""


def _changed(volume: Volume, data: Array) -> Volume:
    return Volume(data, volume.grid, _name(volume))


def _name(volume: Volume) -> str:
    return f"corrupted {volume.source}"


def _shape(data: Array) -> tuple[int, int, int]:
    return data.shape[0], data.shape[1], data.shape[2]


def rotation(axis: Array, angle: float) -> Array:
    """Return the (3, 3) rotation about a unit axis by an angle in radians, by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
