"""Training images: prepared and aligned once. Batches of them are prepared ahead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightcrcf.affine.align import align
from lightcrcf.errors import InputError
from lightcrcf.evaluation.labels import as_codes, label_codes
from lightcrcf.files import atomic_path
from lightcrcf.memory import limit_malloc_arenas
from lightcrcf.preprocessing.foreground import ImageType, classify
from lightcrcf.preprocessing.missing_data import fill_missing
from lightcrcf.preprocessing.normalization import NormalizedImage, normalize, working_order
from lightcrcf.training.config import Cohort, Data
from lightcrcf.training.datasets.analyze import read_analyze
from lightcrcf.training.datasets.listing import Scan
from lightcrcf.transforms.affine import Affine
from lightcrcf.transforms.labels import is_label_map
from lightcrcf.volumes import check_usable, on_grid_of, read
from lightcrcf.volumes.volume import Volume
from lightcrcf.weights.preparation import CT, Profile, Ranges

__all__ = [
    "Ahead",
    "Subject",
    "choose_pair",
    "load_cohort",
    "profile",
    "val_pairs",
]

Shape = tuple[int, int, int]
T = TypeVar("T")

CACHE_VERSION = 1
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


class Ahead(Generic[T]):
    """Results of a function of consecutive numbers, of which the next ones are computed in the background.

    Args:
        make: gives the same for the same number, whenever and in whichever thread.
        end: the first number that is not asked for.
        threads: so many numbers are computed at once.
    """

    def __init__(self, make: Callable[[int], T], end: int, threads: int = 1) -> None:
        limit_malloc_arenas()
        self._make, self._end, self._ahead = make, end, threads
        self._threads = ThreadPoolExecutor(threads)
        self._coming: dict[int, Future[T]] = {}

    def take(self, number: int) -> T:
        """Return the result for a number, which is asked for once; those after it are begun.

        Raises:
            Exception: what `make` raised.
        """
        for n in range(number, min(number + 1 + self._ahead, self._end)):
            if n not in self._coming:
                self._coming[n] = self._threads.submit(self._make, n)
        return self._coming.pop(number).result()

    def close(self) -> None:
        """Stop; what is being computed ends first."""
        self._threads.shutdown(cancel_futures=True)
