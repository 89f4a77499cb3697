"""Training pairs: subjects prepared once, aligned once, and rendered anew at every step.

All randomness is drawn in `draw`; `render` is deterministic.
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

from lightcrcf.affine.align import align
from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, code_indices, label_codes
from lightcrcf.files import atomic_path
from lightcrcf.geometry.grid import Grid
from lightcrcf.geometry.kernels import resample
from lightcrcf.geometry.label_kernels import label_shares
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.preprocessing.normalization import NormalizedImage, normalize, working_order
from lightcrcf.training.config import Augment, Cohort, Data
from lightcrcf.training.datasets.listing import Scan
from lightcrcf.transforms.affine import Affine
from lightcrcf.volumes import check_usable, on_grid_of, read
from lightcrcf.volumes.formats.analyze import read_analyze
from lightcrcf.volumes.volume import Volume
from lightcrcf.weights.preparation import CT, Profile, Ranges

__all__ = ["Change", "Subject", "choose_pair", "draw", "load_cohort", "profile", "render", "render_labels", "val_pairs"]

Shape = tuple[int, int, int]

CACHE_VERSION = 1
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Subject:
    """One prepared image and its place in the cohort.

    Args:
        name: of the person.
        image: working axes, unit intensities.
        from_reference: the cohort's reference RAS mm to this subject's RAS mm.
        labels: label map in working axes, where it is needed.
        codes: the labels it holds, without background.
        shows: what it seems to show.
        number: of the image among this person's.
        atlas: the fixed image of every pair.
    """

    name: str
    image: NormalizedImage
    from_reference: Affine
    labels: Volume | None = None
    codes: tuple[int, ...] = ()
    shows: ImageType | None = None
    number: int = 0
    atlas: bool = False


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


def load_cohort(
    cohort: Cohort,
    data: Data,
    cache: Path,
    *,
    pool: Shape = (2, 2, 2),
    train_labels: bool = False,
    progress: Callable[[int, int], None] = lambda done, images: None,
) -> tuple[list[Subject], list[Subject]]:
    """Prepared and aligned images to train on, and to monitor.

    Each image is aligned to the first one; any pair's affine follows by composition. Affines are cached in `cache`
    by the content of both files. Images of one person are taken to share a frame. Atlases are among both lists.

    Args:
        cohort: which files.
        data: how to prepare them.
        cache: folder of the affines.
        pool: of the network.
        train_labels: read the label maps of training subjects too.
        progress: called with the number of images that are ready and of all, after each.

    Raises:
        InputError: for missing or unusable files.
    """
    how, listing, strip = data.preparation, cohort.listing(data.root), cohort.skull_strip_with_labels
    listing.require(train_labels=train_labels or strip)
    reference = _image(listing.of((*listing.atlases, *listing.train))[0], strip)

    def subject(scan: Scan, with_labels: bool) -> Subject:
        volume = _image(scan, strip)
        affine = Affine.identity() if cohort.within else _aligned(reference, volume, cache)
        image = normalize(volume, pool=pool, view=how.view, window=how.window)
        plain = Subject(
            scan.subject,
            image,
            affine,
            shows=classify(volume),
            number=scan.number,
            atlas=scan.subject in listing.atlases,
        )
        if not with_labels:
            return plain
        labels = _labels(scan)
        order = working_order(labels.grid, pool)
        turned = Volume(np.ascontiguousarray(order.array(labels.data)), order.grid(labels.grid), labels.source)
        return replace(plain, labels=turned, codes=tuple(label_codes(labels.data).tolist()))

    images, ready = len(listing.of((*listing.atlases, *listing.val, *listing.train))), count(1)

    def subjects(names: tuple[str, ...], with_labels: bool) -> list[Subject]:
        found = []
        for scan in listing.of(names):
            found.append(subject(scan, with_labels))
            progress(next(ready), images)
        return found

    atlases = subjects(listing.atlases, train_labels or bool(listing.val))
    monitored = subjects(listing.val, True)
    return atlases + subjects(listing.train, train_labels), atlases + monitored if monitored else []


def val_pairs(cohort: Cohort, data: Data, subjects: list[Subject]) -> list[tuple[Subject, Subject]]:
    """The pairs that a cohort is monitored on, of its monitored subjects: fixed, moving."""
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
    """A fixed and a moving image: of an atlas and of a person, of two persons, or two of one person."""
    atlases, others = [s for s in subjects if s.atlas], [s for s in subjects if not s.atlas]
    if atlases:
        return atlases[int(rng.integers(len(atlases)))], others[int(rng.integers(len(others)))]
    first = int(rng.integers(len(subjects)))
    partners = [n for n, s in enumerate(subjects) if n != first and (s.name == subjects[first].name) == within]
    return subjects[first], subjects[partners[int(rng.integers(len(partners)))]]


def profile(subjects: list[Subject]) -> Profile:
    """The extremes of training images."""
    contents = [s.shows for s in subjects if s.shows is not None]
    voxels = np.array([s.image.grid.shape for s in subjects], float)
    extents = np.array([s.image.grid.spacing_mm * s.image.grid.shape for s in subjects])
    litres = [c.foreground_litres for c in contents]
    kinds = tuple(sorted({c.kind for c in contents} | {CT for c in contents if c.ct}))
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


def placed(fixed: Subject, moving: Subject, change: Change, data: Data) -> tuple[Grid, Float64, Float64]:
    """Where a pair is looked at: a grid of `data.shape` voxels about the fixed image's foreground.

    Returns:
        the grid, and (4, 4) matrices from its RAS mm to those of the fixed and of the moving image.
    """
    middle = (fixed.image.box[0] + fixed.image.box[1] + 1) / 2
    own = fixed.image.grid.spacing_mm
    spacing = np.array(data.preparation.spacing_mm or own)
    if change.pose is None and np.allclose(own, spacing, rtol=1e-3):
        grid = fixed.image.grid.crop(np.round(middle - np.array(data.shape) / 2), data.shape)
    else:
        step = np.diag([*(spacing / own), 1.0])
        lattice = Grid(fixed.image.grid.shape, fixed.image.grid.affine @ step)
        grid = lattice.crop(middle / np.diag(step)[:3] - np.array(data.shape) / 2, data.shape)
    centre = np.eye(4)
    centre[:3, 3] = fixed.image.grid.world(middle)
    about = np.linalg.inv(centre)
    pose = np.eye(4) if change.pose is None else centre @ change.pose @ about
    to_moving = moving.from_reference.compose(fixed.from_reference.inverse()).matrix @ centre @ change.misalign @ about
    return grid, pose, to_moving @ pose


def render(fixed: Subject, moving: Subject, change: Change, data: Data, augment: Augment) -> tuple[Tensor, Tensor]:
    """Both images of one pair on one grid; see `placed`.

    Returns:
        fixed and moving, (D, H, W) float32 on the CPU.
    """
    grid, *matrices = placed(fixed, moving, change, data)
    images = [s.image.resample_to(grid, m) for s, m in zip((fixed, moving), matrices, strict=True)]
    generator = torch.Generator().manual_seed(change.noise_seed)
    pair = [
        _recoloured(torch.from_numpy(i), g, augment.noise, generator)
        for i, g in zip(images, change.gammas, strict=True)
    ]
    fixed_image, moving_image = (image.flip(0) for image in pair) if change.flip else pair
    return fixed_image, moving_image


def render_labels(
    fixed: Subject, moving: Subject, change: Change, data: Data, structures: int, blocks: Shape = (1, 1, 1)
) -> tuple[Tensor, Tensor]:
    """Some label maps of the same pair on the same grid, drawn from those that both subjects have.

    Args:
        fixed, moving, change, data: as for `render`.
        structures: how many, at most.
        blocks: edge lengths of the blocks of voxels whose means are returned.

    Returns:
        fixed and moving, (K, d, h, w) float32 in [0, 1] on the CPU; K is at most `structures`.
    """
    common = np.intersect1d(fixed.codes, moving.codes)
    codes = np.sort(np.random.default_rng(change.noise_seed).permutation(common)[:structures])
    grid, *matrices = placed(fixed, moving, change, data)
    maps = []
    for subject, matrix in zip((fixed, moving), matrices, strict=True):
        if subject.labels is None:
            raise ValueError(f"the labels of {subject.name} were not read")
        step = subject.labels.grid.inverse @ matrix @ grid.affine
        labels = resample(subject.labels.data, grid.shape, step[:3], interpolation="nearest")
        shares = torch.from_numpy(label_shares(code_indices(labels, codes), len(codes), blocks))
        maps.append(shares.flip(1) if change.flip else shares)
    return maps[0], maps[1]


def _recoloured(image: Tensor, gamma: float, noise: float, generator: torch.Generator) -> Tensor:
    """Gamma and noise on the tissue; the background stays zero. Changes `image`."""
    tissue = image > 0
    image.pow_(gamma)
    return image.add_(torch.randn(image.shape, generator=generator) * tissue, alpha=noise)
