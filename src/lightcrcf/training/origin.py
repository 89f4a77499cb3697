"""The origin of a run: the weights that it starts from, and the persons of each split, in `training.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import join
from typing import Any

from lightcrcf.errors import InputError
from lightcrcf.files import atomic_path
from lightcrcf.training.config import TrainingConfig, starting_weights
from lightcrcf.training.datasets.listing import Listing

__all__ = ["Origin", "Persons", "Start"]


@dataclass(frozen=True)
class Start:
    """Weights that a run starts from.

    Args:
        source: name of a shipped model, or a file.
        name: of the model.
        sha256: of the file.
        content: description of its training images.
        spacing_mm: of its working grid; None for that of each image.
    """

    source: str
    name: str
    sha256: str
    content: str
    spacing_mm: tuple[float, ...] | None

    def __str__(self) -> str:
        spacing = (
            "the images' voxels" if self.spacing_mm is None else "x".join(f"{s:g}" for s in self.spacing_mm) + " mm"
        )
        where = "" if self.source == self.name else f", {self.source}"
        return f"{self.name}{where}; it was trained on: {self.content}, working grid {spacing}"


@dataclass(frozen=True)
class Persons:
    """The persons of a cohort by split.

    Args:
        folder: of the cohort.
        train, monitor, test, atlases: names.
    """

    folder: str
    train: list[str]
    monitor: list[str]
    test: list[str]
    atlases: list[str]

    @classmethod
    def of(cls, listing: Listing) -> Persons:
        """Return the persons of a listing."""
        return cls(str(listing.folder), *map(list, (listing.train, listing.val, listing.test, listing.atlases)))


@dataclass(frozen=True)
class Origin:
    """The start of a run.

    Args:
        start: its initial weights; None if they are random.
        cohorts: the persons.
        example: image files of a fixed and a moving subject, of a test pair if there is one; None without NIfTI files.
    """

    start: Start | None
    cohorts: tuple[Persons, ...]
    example: tuple[Path, Path] | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Origin:
        """Return the origin of a run that starts now.

        Raises:
            InputError: if the initial weights do not suit the network, or files are missing.
        """
        listings = [cohort.listing(config.data.root) for cohort in config.data.cohorts]
        weights, start = starting_weights(config), None
        if weights is not None:
            parts = (weights.name, weights.sha256, weights.content, weights.preparation.spacing_mm)
            start = Start(str(config.start), *parts)
        return cls(start, tuple(map(Persons.of, listings)), _example(listings))

    def recorded(self, folder: Path, *, resume: bool) -> Origin:
        """Write `training.json`; when resuming, return what it says of the start.

        Args:
            folder: of the run.
            resume: whether the run continues.

        Raises:
            InputError: if a resumed run would have other persons in a split.
        """
        path = folder / "training.json"
        before = _read(path) if resume and path.exists() else None
        if before is None:
            with atomic_path(path) as temporary:
                values = {"start": self.start and asdict(self.start), "cohorts": [asdict(c) for c in self.cohorts]}
                temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf-8")
            return self
        _check_persons(path, before.cohorts, self.cohorts)
        return replace(self, start=before.start)

    def command(self, weights: Path) -> str:
        """Return a command line that registers a pair with the trained model."""
        fixed, moving = self.example or ("FIXED.nii.gz", "MOVING.nii.gz")
        words = ["register", "--fixed", fixed, "--moving", moving, "--model", weights, "--out", "registered"]
        return join(["lightcrcf", *map(str, words)])


def _example(listings: list[Listing]) -> tuple[Path, Path] | None:
    for listing in listings:
        for split in ("test", "val", "train"):
            pair = next(iter(listing.pairs(split)), None)
            if pair is not None and all(scan.axes is None for scan in pair):
                return pair[0].image, pair[1].image
    return None


def _read(path: Path) -> Origin:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        start = values["start"] and Start(**values["start"])
        return Origin(start, tuple(Persons(**each) for each in values["cohorts"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            str(path), expected="the record of this run", got="a damaged file", remedy="remove it"
        ) from None


def _check_persons(path: Path, before: tuple[Persons, ...], now: tuple[Persons, ...]) -> None:
    for old, new in zip(before, now, strict=False):
        for split in ("train", "monitor"):
            first, second = set(getattr(old, split)), set(getattr(new, split))
            if first != second:
                name = min(first ^ second)
                raise InputError(
                    str(path), expected=f"the split of {new.folder} that the run started with",
                    got=f"{name} in {_split_of(new, name)} instead of {_split_of(old, name)}",
                    remedy="restore the files and the recipe's split, or train into another folder",
                )  # fmt: skip


def _split_of(persons: Persons, name: str) -> str:
    return next((split for split in ("train", "monitor", "test", "atlases") if name in getattr(persons, split)), "none")
