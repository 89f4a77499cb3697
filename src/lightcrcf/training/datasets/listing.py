"""The listing of a cohort: subjects, images, splits, pairs and problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Literal

from lightcrcf.errors import InputError

__all__ = ["SPLITS", "Listing", "Pair", "Problem", "Rule", "Scan", "Split", "from_templates"]

Split = Literal["train", "val", "test"]
Rule = Literal["ordered", "to atlas", "within"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Scan:
    """An image and its label map.

    Args:
        subject: identifier.
        number: index among the images of the subject.
        image, labels: the files.
        axes: directions of the array axes ("LPS": left, posterior, superior) of Analyze 7.5 files, which do not store
            them; None for other formats.
    """

    subject: str
    number: int
    image: Path
    labels: Path | None
    axes: str | None = None


Pair = tuple[Scan, Scan]  # fixed, moving


@dataclass(frozen=True)
class Problem:
    """A missing or invalid file.

    Args:
        text: message of one line.
        subject: of the files; None for problems of the whole cohort.
        of_labels: whether it concerns a label map only.
        harmless: whether training is possible nevertheless.
    """

    text: str
    subject: str | None = None
    of_labels: bool = False
    harmless: bool = False


@dataclass(frozen=True)
class Listing:
    """The images of a cohort by split.

    Args:
        folder: of the files.
        scans: of all subjects.
        train, val, test: subjects of each split.
        atlases: subjects that are the fixed image of every pair, in every split.
        rule: pairs of a split: "ordered" (all ordered pairs of subjects), "to atlas", or "within" (the images of one
            subject, each fixed once, the next one moving).
        val_pairs: subjects (fixed, moving) of the validation pairs, if not given by the rule.
        problems: missing or invalid files.
    """

    folder: Path
    scans: tuple[Scan, ...]
    train: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    atlases: tuple[str, ...] = ()
    rule: Rule = "ordered"
    val_pairs: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()

    def split(self, name: Split) -> tuple[str, ...]:
        """Return the subjects of a split, without atlases."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def of(self, subjects: Iterable[str]) -> list[Scan]:
        """Return the images of some subjects, in the order of the subjects."""
        by_name: dict[str, list[Scan]] = {}
        for scan in self.scans:
            by_name.setdefault(scan.subject, []).append(scan)
        return [scan for name in subjects for scan in by_name.get(name, [])]

    def pairs(self, name: Split) -> list[Pair]:
        """Return the pairs (fixed, moving) of a split.

        Example:
            >>> scans = tuple(Scan(name, 0, Path(name), None) for name in "abc")
            >>> listing = Listing(Path("."), scans, train=("b", "c"), atlases=("a",), rule="to atlas")
            >>> [(fixed.subject, moving.subject) for fixed, moving in listing.pairs("train")]
            [('a', 'b'), ('a', 'c')]
        """
        subjects = self.split(name)
        scans = self.of(subjects)
        if name == "val" and self.val_pairs:
            first = {scan.subject: scan for scan in reversed(scans)}
            return [(first[fixed], first[moving]) for fixed, moving in self.val_pairs]
        if self.rule == "to atlas":
            return [(atlas, scan) for atlas in self.of(self.atlases) for scan in scans]
        if self.rule == "ordered":
            return [pair for pair in permutations(scans, 2) if pair[0].subject != pair[1].subject]
        groups = [self.of([subject]) for subject in subjects]
        return [pair for group in groups for pair in zip(group, [*group[1:], *group[:1]], strict=True)]

    def restricted(self, train: Sequence[str], val: Sequence[str]) -> Listing:
        """Return the listing with other training and validation subjects; an empty list keeps those of the listing.

        Subjects can move between these two splits; test subjects and atlases stay.

        Raises:
            InputError: for a subject that is in neither of the two splits.
        """
        known = {*self.train, *self.val}
        for name in (*train, *val):
            if name not in known:
                got = "one of the test split" if name in self.test else "an atlas" if name in self.atlases else "nobody"
                raise InputError(
                    f"subject {name} of {self.folder}",
                    expected="a subject to train or to validate on",
                    got=got,
                    remedy="correct the recipe's lists, or leave them out",
                )
        validating = tuple(val) or tuple(name for name in self.val if name not in train)
        training = tuple(train) or tuple(name for name in self.train if name not in validating)
        given = tuple(pair for pair in self.val_pairs if set(pair) <= set(validating))
        return replace(self, train=training, val=validating, val_pairs=given)

    def blocking(self, *, train_labels: bool) -> list[Problem]:
        """Return the problems that prevent a run.

        Args:
            train_labels: whether label maps of training subjects are needed too.
        """
        labelled = {*self.val, *(self.atlases if self.val else ())}
        if train_labels:
            labelled.update(self.train, self.atlases)
        used = {*self.train, *self.val, *self.atlases}
        labelless = self.of([*self.atlases, *self.train, *self.val]) if train_labels else []
        unlabelled = [scan for scan in labelless if scan.labels is None]
        without = [Problem(f"{_short(scan.image, self.folder)} has no label map", scan.subject) for scan in unlabelled]
        return [
            problem
            for problem in (*self.problems, *without)
            if not problem.harmless
            and (problem.subject is None or problem.subject in (labelled if problem.of_labels else used))
        ]

    def require(self, *, train_labels: bool) -> None:
        """Raise if a file that a run needs is missing or invalid.

        Raises:
            InputError: for the first problem.
        """
        blocking = self.blocking(train_labels=train_labels)
        if blocking:
            more = f" (and {len(blocking) - 1} more problems)" if len(blocking) > 1 else ""
            raise InputError(
                str(self.folder),
                expected="what the recipe names",
                got=f"{blocking[0].text}{more}",
                remedy="run 'lightcrcf data check' with the recipe",
            )

    def with_missing_files(self) -> Listing:
        """Return the listing with a problem for each missing file."""
        found = [problem for scan in self.scans for problem in _missing(scan, self.folder)]
        return replace(self, problems=(*self.problems, *found))


def _missing(scan: Scan, folder: Path) -> list[Problem]:
    problems = []
    for path, of_labels in ((scan.image, False), (scan.labels, True)):
        gone = [part for part in _parts(path) if not part.exists()]
        if gone:
            problems.append(Problem(f"{_short(gone[0], folder)} is missing", scan.subject, of_labels))
    if scan.labels is not None and len(problems) == 1 and not problems[0].of_labels:
        return [replace(problems[0], text=f"{problems[0].text}, though its label map is there")]
    return problems


def _parts(path: Path | None) -> list[Path]:
    """Return the files of an image: none, one, or the two of an Analyze image."""
    if path is None:
        return []
    if path.suffix != ".hdr":
        return [path]
    voxels = path.with_suffix(".img")
    return [path, voxels if voxels.exists() else voxels.with_name(f"{voxels.name}.gz")]


def _short(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def from_templates(
    folder: Path, images: Sequence[str], labels: Sequence[str], train: Sequence[str], val: Sequence[str]
) -> Listing:
    """Return the listing of a cohort whose recipe names its subjects.

    Args:
        folder: of the files.
        images: file names of the images of a subject, with {id} for the subject.
        labels: file names of their label maps, or empty.
        train, val: subjects. Validation pairs of subjects with one image each: each is fixed once, the next one moving.
    """
    maps: Sequence[str | None] = labels or [None] * len(images)
    scans = tuple(
        Scan(name, number, folder / image.format(id=name), None if mask is None else folder / mask.format(id=name))
        for name in (*train, *val)
        for number, (image, mask) in enumerate(zip(images, maps, strict=True))
    )
    within = len(images) > 1
    cyclic = () if within else tuple(zip(val, [*val[1:], *val[:1]], strict=True))
    rule: Rule = "within" if within else "ordered"
    return Listing(folder, scans, tuple(train), tuple(val), rule=rule, val_pairs=cyclic).with_missing_files()
