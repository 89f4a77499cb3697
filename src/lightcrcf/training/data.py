"""Training pairs: subjects prepared once, aligned once, and rendered anew at every step.

All randomness is drawn in `draw`; `render` is deterministic.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.geometry.grid import Grid
from lightcrcf.pipeline.affine import align
from lightcrcf.pipeline.preprocess import Prepared, prepare
from lightcrcf.training.config import Augment, Cohort, Data
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import check_usable, read
from lightcrcf.volumes.volume import Volume

__all__ = ["Change", "Subject", "draw", "load_cohort", "render"]

CACHE_VERSION = 1
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Subject:
    """One prepared image and its place in the cohort.

    Args:
        name: identifier.
        image: canonical axes, unit intensities.
        from_reference: the cohort's reference RAS mm to this subject's RAS mm.
        labels: canonical label map, monitor subjects only.
    """

    name: str
    image: Prepared
    from_reference: Affine
    labels: Volume | None = None


@dataclass(frozen=True, eq=False)
class Change:
    """What is random about one pair.

    Args:
        pose: (4, 4) in mm about the fixed image's centre, moves both images together; None keeps the fixed lattice.
        misalign: (4, 4) in mm about the same centre, moves the moving image alone.
        flip: mirror both images left to right.
        gammas: exponent of the fixed and of the moving intensities.
        noise_seed: seeds the noise of both.
    """

    pose: Float64 | None
    misalign: Float64
    flip: bool
    gammas: tuple[float, float]
    noise_seed: int


def load_cohort(cohort: Cohort, data: Data, cache: Path) -> tuple[list[Subject], list[Subject]]:
    """Prepared and aligned subjects to train on, and to monitor.

    Each subject is aligned to the first one; any pair's affine follows by composition. Affines are cached in `cache`
    by the content of both files.

    Raises:
        InputError: for missing or unusable files.
    """
    folder = data.root / cohort.folder
    reference = _image(folder, cohort, cohort.train[0])

    def subject(name: str, with_labels: bool) -> Subject:
        volume = _image(folder, cohort, name)
        affine = _aligned(reference, volume, cache)
        labels = read(folder / str(cohort.labels).format(id=name)).canonical() if with_labels else None
        return Subject(name, prepare(volume), affine, labels)

    return [subject(n, False) for n in cohort.train], [subject(n, True) for n in cohort.monitor]


def _image(folder: Path, cohort: Cohort, name: str) -> Volume:
    volume = read(folder / cohort.image.format(id=name))
    check_usable(volume, "training")
    if not cohort.skull_strip_with_labels:
        return volume
    labels = read(folder / str(cohort.labels).format(id=name))
    if not labels.grid.isclose(volume.grid, tolerance_mm=0.01):
        raise InputError(
            labels.source,
            expected=f"labels on the grid of their image, {volume.grid.shape}",
            got=f"another grid, {labels.grid.shape}",
            remedy="resample the labels onto the image",
        )
    return Volume(np.where(labels.data > 0, volume.data, 0), volume.grid, volume.source, volume.header)


def _digest(volume: Volume) -> str:
    content = hashlib.sha256(np.ascontiguousarray(volume.data).tobytes())
    content.update(volume.grid.affine.tobytes())
    return content.hexdigest()


def _aligned(reference: Volume, volume: Volume, cache: Path) -> Affine:
    key = hashlib.sha256(f"{CACHE_VERSION} {_digest(reference)} {_digest(volume)}".encode()).hexdigest()[:24]
    entry = cache / f"affine-{key}.json"
    if entry.is_file():
        with suppress(ValueError, InputError):  # a damaged entry is made again
            return Affine(np.array(json.loads(entry.read_text(encoding="utf-8"))))
    affine = align(reference, volume).affine
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_path(entry) as temporary:
        temporary.write_text(json.dumps(affine.matrix.tolist()), encoding="utf-8")
    return affine


def _random_affine(
    rng: np.random.Generator, rotation_deg: float, scale: float, shear: float, shift_mm: float
) -> Float64:
    """(4, 4): stretch and shear, then rotate about a random axis, then shift."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(rng.normal() * rotation_deg)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    stretch = np.diag(np.exp(rng.normal(size=3) * scale)) + np.triu(rng.normal(size=(3, 3)) * shear, 1)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ stretch
    matrix[:3, 3] = rng.normal(size=3) * shift_mm
    return matrix


def draw(rng: np.random.Generator, augment: Augment) -> Change:
    """Draw the random part of one pair."""
    posed = rng.random() < augment.pose_probability
    pose = _random_affine(rng, augment.rotation_deg, augment.scale, augment.shear, augment.shift_mm)
    misalign = _random_affine(
        rng, augment.misalign_rotation_deg, augment.misalign_scale, 0.0, augment.misalign_shift_mm
    )
    gammas = np.exp(rng.normal(size=2) * augment.gamma)
    flip = bool(rng.random() < augment.flip_probability)
    return Change(
        pose if posed else None, misalign, flip, (float(gammas[0]), float(gammas[1])), int(rng.integers(2**31))
    )


def render(fixed: Subject, moving: Subject, change: Change, data: Data, augment: Augment) -> tuple[Tensor, Tensor]:
    """Both images of one pair on one grid of `data.shape` voxels about the fixed image's foreground.

    Returns:
        fixed and moving, (D, H, W) float32 on the CPU.
    """
    middle = (fixed.image.box[0] + fixed.image.box[1] + 1) / 2
    if change.pose is None and np.allclose(fixed.image.grid.spacing_mm, data.spacing_mm, rtol=1e-3):
        grid = fixed.image.grid.crop(np.round(middle - np.array(data.shape) / 2), data.shape)
    else:
        step = np.diag([*(data.spacing_mm / fixed.image.grid.spacing_mm), 1.0])
        lattice = Grid(fixed.image.grid.shape, fixed.image.grid.affine @ step)
        grid = lattice.crop(middle / np.diag(step)[:3] - np.array(data.shape) / 2, data.shape)
    centre = np.eye(4)
    centre[:3, 3] = fixed.image.grid.world(middle)
    about = np.linalg.inv(centre)
    pose = np.eye(4) if change.pose is None else centre @ change.pose @ about
    to_moving = moving.from_reference.compose(fixed.from_reference.inverse()).matrix @ centre @ change.misalign @ about
    images = [fixed.image.onto(grid, pose), moving.image.onto(grid, to_moving @ pose)]
    generator = torch.Generator().manual_seed(change.noise_seed)
    pair = [
        _recoloured(torch.from_numpy(i), g, augment.noise, generator)
        for i, g in zip(images, change.gammas, strict=True)
    ]
    fixed_image, moving_image = (image.flip(0) for image in pair) if change.flip else pair
    return fixed_image, moving_image


def _recoloured(image: Tensor, gamma: float, noise: float, generator: torch.Generator) -> Tensor:
    """Gamma and noise on the tissue; the background stays zero. Changes `image`."""
    tissue = image > 0
    image.pow_(gamma)
    return image.add_(torch.randn(image.shape, generator=generator) * tissue, alpha=noise)
