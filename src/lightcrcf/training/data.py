"""Training pairs: images are prepared and aligned once, and resampled with augmentation at every step.

`sample_augmentation` holds all randomness; `render` is deterministic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lightcrcf.affine.align import align
from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, code_indices, label_codes
from lightcrcf.files import atomic_path
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.label_kernels import label_fractions
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.preprocessing.normalization import NormalizedImage, normalize, working_order
from lightcrcf.training.config import Augment, Cohort, Data
from lightcrcf.training.datasets.analyze import read_analyze
from lightcrcf.training.datasets.listing import Scan
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes import check_usable, on_grid_of, read
from lightcrcf.volumes.volume import Volume
from lightcrcf.weights.preparation import CT, Profile, Ranges

__all__ = [
    "AugmentationParams",
    "Subject",
    "choose_pair",
    "load_cohort",
    "profile",
    "render",
    "render_labels",
    "sample_augmentation",
    "val_pairs",
]

Shape = tuple[int, int, int]

CACHE_VERSION = 1
_SHADING_KNOTS = 4  # along each axis of a crop
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Subject:
    """One prepared image and its place in the cohort.

    Args:
        name: of the subject; several images may share it.
        image: in working axes, with unit intensities.
        from_reference: RAS mm of the cohort's reference image to RAS mm of this image.
        labels: label map in working axes, if needed.
        codes: labels in the map, without background.
        image_type: estimated from the image.
        number: index among the images of the subject.
        atlas: whether it is the fixed image of every pair.
    """

    name: str
    image: NormalizedImage
    from_reference: Affine
    labels: Volume | None = None
    codes: tuple[int, ...] = ()
    image_type: ImageType | None = None
    number: int = 0
    atlas: bool = False


@dataclass(frozen=True, eq=False)
class AugmentationParams:
    """The augmentation parameters of one pair.

    Args:
        pose: (4, 4) in mm about the centre of the fixed image, applied to both images; None keeps the fixed grid.
        misalign: (4, 4) in mm about the same centre, applied to the moving image only.
        flip: mirror both images left to right.
        gammas: exponents of the fixed and the moving intensities.
        noise_seed: seed of noise and shading of both images.
        identical: whether the fixed image is the moving one too.
    """

    pose: Float64 | None
    misalign: Float64
    flip: bool
    gammas: tuple[float, float]
    noise_seed: int
    identical: bool = False


def load_cohort(
    cohort: Cohort,
    data: Data,
    cache: Path,
    *,
    pool: Shape = (2, 2, 2),
    train_labels: bool = False,
    progress: Callable[[int, int], None] = lambda done, images: None,
) -> tuple[list[Subject], list[Subject]]:
    """Return prepared and aligned images to train on, and to validate on.

    Each image is aligned to the first one; the affine of a pair follows by composition. Affines are cached in `cache`
    by the content of both files. Images of one subject share a frame. Atlases are in both lists.

    Args:
        cohort: the files.
        data: their preparation.
        cache: folder of the affines.
        pool: downsampling factors of the network.
        train_labels: whether to read the label maps of training subjects too.
        progress: called after each image with the number of loaded images and of all images.

    Raises:
        InputError: for missing or unusable files.
    """
    listing, strip = cohort.listing(data.root), cohort.skull_strip_with_labels
    listing.require(train_labels=train_labels or strip)
    reference = _image(listing.of((*listing.atlases, *listing.train))[0], strip)
    loader = _Loader(cohort, data, reference, cache, pool, frozenset(listing.atlases))
    images, ready = len(listing.of((*listing.atlases, *listing.val, *listing.train))), count(1)

    def subjects(names: tuple[str, ...], with_labels: bool) -> list[Subject]:
        found = []
        for scan in listing.of(names):
            found.append(loader.labelled(scan) if with_labels and scan.labels else loader.subject(scan))
            progress(next(ready), images)
        return found

    atlases = subjects(listing.atlases, train_labels or bool(listing.val))
    monitored = subjects(listing.val, True)
    return atlases + subjects(listing.train, train_labels), atlases + monitored if monitored else []


@dataclass(frozen=True, eq=False)
class _Loader:
    """Preparation of the images of a cohort.

    Args:
        cohort: the files.
        data: their preparation.
        reference: image to which all others are aligned.
        cache: folder of the affines.
        pool: downsampling factors of the network.
        atlases: names of the subjects that are atlases.
    """

    cohort: Cohort
    data: Data
    reference: Volume
    cache: Path
    pool: Shape
    atlases: frozenset[str]

    def subject(self, scan: Scan) -> Subject:
        """Return a prepared and aligned image without labels."""
        preparation = self.data.preparation
        volume = _image(scan, self.cohort.skull_strip_with_labels)
        if self.cohort.found and is_label_map(volume.data):
            remedy = "name label maps in labels, or choose names that they do not have"
            raise InputError(str(scan.image), expected="an image", got="a label map", remedy=remedy)
        affine = Affine.identity() if self.cohort.within else _aligned(self.reference, volume, self.cache)
        return Subject(
            scan.subject,
            normalize(volume, pool=self.pool, view=preparation.view, window=preparation.window),
            affine,
            image_type=classify(volume),
            number=scan.number,
            atlas=scan.subject in self.atlases,
        )

    def labelled(self, scan: Scan) -> Subject:
        """Return a prepared and aligned image with its label map on reordered axes."""
        labels = _labels(scan)
        order = working_order(labels.grid, self.pool)
        reordered = Volume(np.ascontiguousarray(order.array(labels.data)), order.grid(labels.grid), labels.source)
        return replace(self.subject(scan), labels=reordered, codes=tuple(label_codes(labels.data).tolist()))


def val_pairs(cohort: Cohort, data: Data, subjects: list[Subject]) -> list[tuple[Subject, Subject]]:
    """Return the validation pairs (fixed, moving) of a cohort from its monitored subjects."""
    by_scan = {(subject.name, subject.number): subject for subject in subjects}
    return [
        (by_scan[fixed.subject, fixed.number], by_scan[moving.subject, moving.number])
        for fixed, moving in cohort.listing(data.root).pairs("val")
    ]


def _read(path: Path, axes: str | None) -> Volume:
    return read(path) if axes is None else read_analyze(path, axes)


def _labels(scan: Scan) -> Volume:
    if scan.labels is None:
        raise ValueError(f"{scan.subject} has no label map")
    labels = _read(scan.labels, scan.axes)
    return replace(labels, data=as_codes(labels.data, labels.source))


def _image(scan: Scan, skull_strip: bool) -> Volume:
    volume = _read(scan.image, scan.axes)
    check_usable(volume, "training")
    volume, _ = fill_missing(volume)
    if not skull_strip:
        return volume
    labels = on_grid_of(_labels(scan), volume, what="labels")
    return Volume(np.where(labels.data > 0, volume.data, 0), volume.grid, volume.source, volume.header)


def choose_pair(subjects: list[Subject], within: bool, rng: np.random.Generator) -> tuple[Subject, Subject]:
    """Sample a fixed and a moving image: an atlas and a subject, two subjects, or two images of one subject."""
    atlases, others = [s for s in subjects if s.atlas], [s for s in subjects if not s.atlas]
    if atlases:
        return atlases[int(rng.integers(len(atlases)))], others[int(rng.integers(len(others)))]
    first = int(rng.integers(len(subjects)))
    partners = [n for n, s in enumerate(subjects) if n != first and (s.name == subjects[first].name) == within]
    return subjects[first], subjects[partners[int(rng.integers(len(partners)))]]


def profile(subjects: list[Subject]) -> Profile:
    """Return the ranges of size, extent and foreground volume of training images, and their types."""
    types = [s.image_type for s in subjects if s.image_type is not None]
    voxels = np.array([s.image.grid.shape for s in subjects], float)
    extents = np.array([s.image.grid.spacing_mm * s.image.grid.shape for s in subjects])
    litres = [c.foreground_litres for c in types]
    kinds = tuple(sorted({c.kind for c in types} | {CT for c in types if c.ct}))
    return Profile(kinds, _ranges(voxels), _ranges(extents), (min(litres), max(litres)))


def _ranges(rows: Float64) -> Ranges:
    a, b, c = ((float(column.min()), float(column.max())) for column in rows.T)
    return a, b, c


def _digest(volume: Volume) -> str:
    content = hashlib.sha256(np.ascontiguousarray(volume.data).tobytes())
    content.update(volume.grid.affine.tobytes())
    return content.hexdigest()


def _aligned(reference: Volume, volume: Volume, cache: Path) -> Affine:
    key = hashlib.sha256(f"{CACHE_VERSION} {_digest(reference)} {_digest(volume)}".encode()).hexdigest()[:24]
    entry = cache / f"affine-{key}.json"
    if entry.is_file():
        with suppress(ValueError, InputError):  # a damaged entry is recomputed
            return Affine(np.array(json.loads(entry.read_text(encoding="utf-8"))))
    affine = align(reference, volume).affine
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_path(entry) as temporary:
        temporary.write_text(json.dumps(affine.matrix.tolist()), encoding="utf-8")
    return affine


def _random_affine(
    rng: np.random.Generator, rotation_deg: float, scale: float, shear: float, shift_mm: float
) -> Float64:
    """Return (4, 4): scaling and shear, then rotation about a random axis, then translation."""
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


def sample_augmentation(rng: np.random.Generator, augment: Augment) -> AugmentationParams:
    """Sample the augmentation of one pair."""
    has_pose = rng.random() < augment.pose_probability
    pose = _random_affine(rng, augment.rotation_deg, augment.scale, augment.shear, augment.shift_mm)
    misalign = _random_affine(
        rng, augment.misalign_rotation_deg, augment.misalign_scale, 0.0, augment.misalign_shift_mm
    )
    gammas = np.exp(rng.normal(size=2) * augment.gamma)
    flip = bool(rng.random() < augment.flip_probability)
    seed = int(rng.integers(2**31))
    # Drawn only where it is asked for: resumed runs of older recipes draw what they drew.
    identical = augment.identical_probability > 0 and bool(rng.random() < augment.identical_probability)
    return AugmentationParams(
        pose if has_pose else None, np.eye(4) if identical else misalign, flip, (float(gammas[0]), float(gammas[1])),
        seed, identical,
    )  # fmt: skip


def pair_geometry(
    fixed: Subject, moving: Subject, params: AugmentationParams, data: Data
) -> tuple[Grid, Float64, Float64]:
    """Return the crop of a pair, a grid of `data.shape` voxels about the foreground of the fixed image.

    Returns:
        The grid, and (4, 4) matrices from its RAS mm to RAS mm of the fixed and the moving image.
    """
    centre_voxel = (fixed.image.box[0] + fixed.image.box[1] + 1) / 2
    native = fixed.image.grid.spacing_mm
    spacing = np.array(data.preparation.spacing_mm or native)
    if params.pose is None and np.allclose(native, spacing, rtol=1e-3):
        grid = fixed.image.grid.crop(np.round(centre_voxel - np.array(data.shape) / 2), data.shape)
    else:
        step = np.diag([*(spacing / native), 1.0])
        scaled = Grid(fixed.image.grid.shape, fixed.image.grid.affine @ step)
        grid = scaled.crop(centre_voxel / np.diag(step)[:3] - np.array(data.shape) / 2, data.shape)
    centre = np.eye(4)
    centre[:3, 3] = fixed.image.grid.world(centre_voxel)
    about = np.linalg.inv(centre)
    pose = np.eye(4) if params.pose is None else centre @ params.pose @ about
    to_moving = moving.from_reference.compose(fixed.from_reference.inverse()).matrix @ centre @ params.misalign @ about
    return grid, pose, to_moving @ pose


def render(
    fixed: Subject, moving: Subject, params: AugmentationParams, data: Data, augment: Augment
) -> tuple[Tensor, Tensor]:
    """Resample both images of a pair on one grid with augmentation; see `pair_geometry`.

    Returns:
        Fixed and moving image, (D, H, W) float32 on the CPU.
    """
    grid, *matrices = pair_geometry(fixed, moving, params, data)
    images = [s.image.resample_to(grid, m) for s, m in zip((fixed, moving), matrices, strict=True)]
    generator = torch.Generator().manual_seed(params.noise_seed)
    pair = [
        augment_intensity(torch.from_numpy(i), g, augment.noise, generator, augment.shading)
        for i, g in zip(images, params.gammas, strict=True)
    ]
    fixed_image, moving_image = (image.flip(0) for image in pair) if params.flip else pair
    return fixed_image, moving_image


def render_labels(
    fixed: Subject, moving: Subject, params: AugmentationParams, data: Data, structures: int, blocks: Shape = (1, 1, 1)
) -> tuple[Tensor, Tensor]:
    """Resample label maps of a pair on the grid of `render`, for labels sampled from those of both subjects.

    Args:
        fixed, moving, params, data: as for `render`.
        structures: maximum number of labels.
        blocks: edge lengths of the blocks of voxels to average over.

    Returns:
        Fixed and moving maps, (K, d, h, w) float32 in [0, 1] on the CPU; K is at most `structures`.
    """
    common = np.intersect1d(fixed.codes, moving.codes)
    codes = np.sort(np.random.default_rng(params.noise_seed).permutation(common)[:structures])
    grid, *matrices = pair_geometry(fixed, moving, params, data)
    maps = []
    for subject, matrix in zip((fixed, moving), matrices, strict=True):
        if subject.labels is None:
            raise ValueError(f"the labels of {subject.name} were not read")
        step = subject.labels.grid.inverse @ matrix @ grid.affine
        labels = resample(subject.labels.data, grid.shape, step[:3], interpolation="nearest")
        fractions = torch.from_numpy(label_fractions(code_indices(labels, codes), len(codes), blocks))
        maps.append(fractions.flip(1) if params.flip else fractions)
    return maps[0], maps[1]


def augment_intensity(
    image: Tensor, gamma: float, noise: float, generator: torch.Generator, shading: float = 0.0
) -> Tensor:
    """Apply gamma, shading and noise to the foreground, in place; the background stays zero."""
    foreground = image > 0
    image.pow_(gamma)
    if shading > 0:
        image.mul_(_shading(image.shape, shading, generator))
    return image.add_(torch.randn(image.shape, generator=generator) * foreground, alpha=noise)


def _shading(shape: torch.Size, deviation: float, generator: torch.Generator) -> Tensor:
    """Return a smooth factor for each voxel: the exponential of noise of this deviation on a coarse grid."""
    knots = deviation * torch.randn((1, 1, *(_SHADING_KNOTS,) * 3), generator=generator)
    return interpolate(knots, size=shape, mode="trilinear", align_corners=True)[0, 0].exp()
