"""Images found on disk: by file names with wildcards, by BIDS names, or listed in a CSV table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightcrcf.batch.tables import read_table
from lightcrcf.bids.names import ImageName
from lightcrcf.training.datasets.listing import Problem, Scan

__all__ = ["Found", "by_bids_names", "by_file_names", "by_table"]

_PARTS = re.compile(r"(\{id\}|\*\*/|\*)")
_PROCESSING = ("desc", "space")  # entities of processed images, which are found only if they are named
_OF_LABELS = ("desc", "space", "seg", "atlas", "label", "res", "den")  # entities of label maps that images may lack


@dataclass(frozen=True)
class Found:
    """Images on disk, in the order of their persons and files.

    Args:
        scans: the images; those of one person are numbered.
        problems: of the search.
    """

    scans: tuple[Scan, ...]
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, scans: Iterable[Scan], problems: Iterable[Problem]) -> Found:
        """Sort images by person, and number those of each."""
        counts, numbered = Counter[str](), []
        for scan in sorted(scans, key=lambda scan: scan.subject):
            numbered.append(replace(scan, number=counts[scan.subject]))
            counts[scan.subject] += 1
        return cls(tuple(numbered), tuple(problems))


def by_file_names(folder: Path, images: Sequence[str], labels: Sequence[str]) -> Found:
    """Find images whose names match templates.

    Args:
        folder: to search.
        images: file names with {id} for the person, * for any text within a name, and **/ for any folders; several, if
            each person has several images.
        labels: likewise, for label maps; wildcards stand for the text that those of the image stand for.
    """
    scans, problems = list[Scan](), list[Problem]()
    for number, template in enumerate(images):
        matches = list(_matches(folder, template))
        if not matches:
            problems.append(Problem(f"no file is named {template}"))
        for path, person, texts in matches:
            name = _filled(labels[number], person, texts) if labels else None
            scans.append(Scan(person, number, path, None if name is None else folder / name))
    maps = {scan.labels for scan in scans}
    scans = [scan for scan in scans if scan.image not in maps]  # {id}.nii.gz is the name of 01_dseg.nii.gz too
    problems += _of_one_person(scans)
    if len(images) > 1:
        problems += _incomplete(scans, images)
    return Found.of(scans, problems)


def _of_one_person(scans: Sequence[Scan]) -> Iterator[Problem]:
    """Yield a problem if the name of a person goes on after that of another: 01_seg beside 01 is no other person."""
    persons = {scan.subject for scan in scans}
    starts = ((name, name[: end.start()]) for name in persons for end in re.finditer(r"(?<=.)[_.-]", name))
    longer = {name: start for name, start in starts if start in persons}
    if longer:
        first, count = min(longer), f" and {len(longer) - 1} more" if len(longer) > 1 else ""
        yield Problem(
            f"{first}{count} would be persons beside {longer[first]}: narrow image, name label maps in labels, or list "
            "the images in a CSV"
        )


def _matches(folder: Path, template: str) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield matching files, their persons, and the text that each wildcard stands for."""
    literal = re.compile(_pattern(template))
    anything = "".join("*" if part == "{id}" else _escaped(part) for part in _PARTS.split(template))
    for path in sorted(folder.glob(anything)):
        found = literal.fullmatch(path.relative_to(folder).as_posix())
        if found and not path.name.startswith("."):
            texts = [found[name] for name in literal.groupindex if name != "id"]
            yield path, found["id"], texts


def _escaped(part: str) -> str:
    return part if part in ("*", "**/") else re.sub(r"([?\[])", r"[\1]", part)


def _pattern(template: str) -> str:
    """Return a regular expression; the person is as short as possible, so that sub-{id}_* ends it at the first _."""
    pattern = ""
    for number, part in enumerate(_PARTS.split(template)):
        if part == "{id}":
            pattern += "(?P=id)" if "?P<id>" in pattern else "(?P<id>[^/]+?)"
        elif part in ("*", "**/"):
            pattern += f"(?P<text{number}>{'[^/]*?' if part == '*' else '(?:[^/]+/)*'})"
        else:
            pattern += re.sub(r"(\W)", r"\\\1", part)
    return pattern


def _filled(template: str, person: str, texts: Sequence[str]) -> str:
    rest = iter(texts)
    return "".join(
        person if part == "{id}" else next(rest) if part in ("*", "**/") else part for part in _PARTS.split(template)
    )


def _incomplete(scans: Sequence[Scan], images: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each person who lacks some image."""
    there = {(scan.subject, scan.number) for scan in scans}
    for person in sorted({scan.subject for scan in scans}):
        missing = [image for number, image in enumerate(images) if (person, number) not in there]
        if missing:
            yield Problem(f"{person} has no {missing[0].replace('{id}', person)}", person)


def by_bids_names(
    folder: Path,
    suffix: str,
    *,
    sessions: Sequence[str] = (),
    entities: Mapping[str, str] | None = None,
    labels: str | None = None,
    labels_folder: Path | None = None,
    labels_entities: Mapping[str, str] | None = None,
) -> Found:
    """Find the images of a BIDS data set.

    Args:
        folder: of the data set, or of derivatives.
        suffix: of the images, such as T1w.
        sessions: labels of sessions; all if empty.
        entities: values that the names must have; without `desc` and `space` in it, processed images are left out.
        labels: suffix of label maps, such as dseg; None without label maps.
        labels_folder: data set of the label maps; that of the images by default.
        labels_entities: values that the names of label maps must have.
    """
    images = [
        (path, name)
        for path, name in _bids_files(folder, suffix, entities or {}, _PROCESSING)
        if not sessions or name.entities.get("ses") in sessions
    ]
    if not images:
        return Found(
            (), (Problem(f"no image is named sub-*/**/*_{suffix}.nii.gz, with the sessions and entities asked for"),)
        )
    maps = list(_bids_files(labels_folder or folder, labels, labels_entities or {}, ())) if labels else []
    scans, problems = list[Scan](), list[Problem]()
    for path, name in images:
        person = name.entities["sub"]
        own = [there for there, map_name in maps if _same_image(name, map_name)]
        if labels and len(own) != 1:
            text = f"{path.name} has {len(own) or 'no'} {'label maps' if own else 'label map'} *_{labels}.nii.gz"
            problems.append(Problem(text, person, of_labels=True, harmless=True))
        scans.append(Scan(person, 0, path, own[0] if len(own) == 1 else None))
    return Found.of(scans, problems)


def _bids_files(
    folder: Path, suffix: str, entities: Mapping[str, str], absent: Sequence[str]
) -> Iterator[tuple[Path, ImageName]]:
    for path in sorted(folder.glob(f"sub-*/**/*_{suffix}.nii*")):
        name = ImageName.parse(path)
        if name is None or name.suffix != suffix or "sub" not in name.entities:
            continue
        fits = all(name.entities.get(key) == value for key, value in entities.items())
        if fits and not any(key in name.entities for key in absent if key not in entities):
            yield path, name


def _same_image(image: ImageName, labels: ImageName) -> bool:
    first, second = ({k: v for k, v in n.entities.items() if k not in _OF_LABELS} for n in (image, labels))
    return first == second


def by_table(table: Path) -> Found:
    """Read images from a CSV table with the columns `image` and, optionally, `labels` and `person`.

    Relative paths start at the table's folder. Without a person, an image is a person of its own, named as the file.

    Raises:
        InputError: if the table cannot be read, or has other columns.
    """
    rows = [row for _, row in read_table(table, ("image",), ("labels", "person"), what="a CSV file of images")]
    scans = [
        Scan(
            row.get("person") or row["image"],
            0,
            table.parent / row["image"],
            table.parent / row["labels"] if row.get("labels") else None,
        )
        for row in rows
    ]
    twice = [str(path) for path, count in Counter(scan.image for scan in scans).items() if count > 1]
    problems = [Problem(f"{path} is in the table twice") for path in twice]
    return Found.of(scans, problems if scans else [Problem(f"{table.name} has no row below its header")])
