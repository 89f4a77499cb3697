"""Pairs of volumes: from a table, all images to one template, or all pairs of images."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from lightcrcf.batch.tables import read_table
from lightcrcf.errors import InputError, UsageError

__all__ = ["ROLES", "Pair", "all_pairs", "many_to_one", "read_pairs", "refuse_folders"]

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz", ".hdr", ".img")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,149}")


@dataclass(frozen=True)
class Pair:
    """Two volumes to align with their masks and labels; `id` names the folder of the result.

    Numbered volumes are further contrasts of the same two subjects, pair by pair.
    """

    id: str
    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    fixed_2: Path | None = None
    moving_2: Path | None = None
    fixed_3: Path | None = None
    moving_3: Path | None = None

    def channels(self, role: str) -> list[Path]:
        """Return all volumes of role "fixed" or "moving", in order."""
        named = (getattr(self, name) for name in (role, f"{role}_2", f"{role}_3"))
        return [path for path in named if path is not None]

    def inputs(self) -> dict[str, Path]:
        """Return all given files by role."""
        return {role: getattr(self, role) for role in ROLES if getattr(self, role) is not None} | self.further_inputs()

    def further_inputs(self) -> dict[str, Path]:
        """Return further files by role on which the results depend."""
        return {}


ROLES = tuple(f.name for f in fields(Pair) if f.name != "id")
"""Columns of a table of pairs, without `id`."""

_OPTIONAL = ("id", *ROLES[2:])


def read_pairs(table: Path) -> list[Pair]:
    """Read pairs from a CSV file with a header, separated by commas, semicolons or tabs.

    Columns are `fixed`, `moving` and, optionally, `id` and the other `ROLES`. Relative paths start at the table's
    folder. Without `id` pairs are named after their files.

    Raises:
        InputError: if the table cannot be read or has an unknown column, or a row lacks a required cell; the message
            names the column or the line number.
    """
    rows = list(read_table(table, ("fixed", "moving"), _OPTIONAL, what="a CSV file of pairs"))
    if not rows:
        raise _bad(table, "at least one pair below the header", "none", "add rows")
    files = [{role: _resolved(table.parent, row[role]) for role in ROLES if row.get(role)} for _, row in rows]
    names = _names([(f["fixed"], f["moving"]) for f in files])
    ids = [row.get("id") or name for (_, row), name in zip(rows, names, strict=True)]
    for (line, row), pair_id in zip(rows, ids, strict=True):
        _check_channels(f"{table} line {line}", row)
        if not _ID.fullmatch(pair_id):
            remedy = "rename it: it becomes a folder's name"
            raise _bad(f"{table} line {line}", "an id of letters, digits and . _ + -", repr(pair_id), remedy)
    twice = _first_twice(ids)
    if twice:
        raise _bad(table, "an id of its own for each pair", f"{twice!r} twice", "remove one, or fill in column id")
    return [Pair(pair_id, **f) for pair_id, f in zip(ids, files, strict=True)]


def _check_channels(where: str, row: Mapping[str, str]) -> None:
    """Check that further volumes come in pairs, and a third pair after a second."""
    given = [[bool(row.get(f"{role}_{n}")) for role in ("fixed", "moving")] for n in (2, 3)]
    for n, both in zip((2, 3), given, strict=True):
        if any(both) and not all(both):
            there, missing = ("fixed", "moving") if both[0] else ("moving", "fixed")
            raise _bad(where, f"a file in column {missing}_{n} beside {there}_{n}", "an empty cell", "fill it in")
    if any(given[1]) and not any(given[0]):
        raise _bad(where, "fixed_2 and moving_2 before fixed_3 and moving_3", "none", "number the pairs without gaps")


def many_to_one(template: Path, images: Sequence[Path]) -> list[Pair]:
    """Return pairs of each image to the template, named after the images.

    Raises:
        UsageError: if an image is given twice, or a folder of images for one.
    """
    images = [_absolute(image) for image in images]
    refuse_folders(images)
    _refuse_twice(images)
    fixed = _absolute(template)
    return [Pair(name, fixed, image) for name, image in zip(_distinct(images).values(), images, strict=True)]


def all_pairs(images: Sequence[Path]) -> list[Pair]:
    """Return all ordered pairs of n images: n (n - 1) pairs, grouped by the fixed image.

    Raises:
        UsageError: if there are fewer than two images, one is given twice, or a folder of images for one.
    """
    images = [_absolute(image) for image in images]
    refuse_folders(images)
    _refuse_twice(images)
    if len(images) < 2:
        raise UsageError("--all-pairs", expected="two images or more", got=str(len(images)), remedy="name more")
    pairs = sorted(itertools.permutations(images, 2), key=lambda pair: images.index(pair[0]))
    return [Pair(name, *pair) for name, pair in zip(_names(pairs), pairs, strict=True)]


def refuse_folders(images: Sequence[Path], more: str = "") -> None:
    """Raise an error for a folder of image files in place of an image; a folder of DICOM slices is one image.

    Args:
        images: as the user named them.
        more: further arguments after the images, for the message.

    Raises:
        UsageError: stating the arguments that name its images, or the command for BIDS data sets.
    """
    for folder in (path for path in images if path.is_dir()):
        found = sorted(path for path in folder.iterdir() if path.name.lower().endswith(_SUFFIXES))
        if (folder / "dataset_description.json").is_file():
            got, remedy = "a BIDS data set", f"write: lightcrcf bids {folder} OUT_DIR participant"
        elif found:
            ending = next(suffix for suffix in _SUFFIXES if found[0].name.lower().endswith(suffix))
            got = f"a folder with {len(found)} of them, such as {found[0].name}"
            remedy = f"name them: {folder / f'*{ending}'} {more}".rstrip()
        else:
            continue
        raise UsageError(str(folder), expected="images", got=got, remedy=remedy)


def _names(pairs: Sequence[tuple[Path, Path]]) -> list[str]:
    """Return a name for each pair of files: MOVING-to-FIXED."""
    short = _distinct(dict.fromkeys(itertools.chain(*pairs)))
    return [f"{short[moving]}-to-{short[fixed]}" for fixed, moving in pairs]


def _distinct(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the shortest unique end of each path as a name."""
    paths = list(paths)
    names: dict[Path, str] = {}
    for depth in range(1, max((len(p.parts) for p in paths), default=0) + 1):
        tried = {p: _name(p, depth) for p in paths if p not in names}
        counts = Counter(name.lower() for name in (*tried.values(), *names.values()))
        names |= {p: name for p, name in tried.items() if counts[name.lower()] == 1}
    for p in paths:  # they differ only in characters that names exclude
        names.setdefault(p, f"{_name(p, 1)}_{paths.index(p) + 1}")
    return {p: names[p] for p in paths}


def _name(path: Path, depth: int) -> str:
    stem = next((path.name[: -len(s)] for s in _SUFFIXES if path.name.lower().endswith(s)), path.name)
    words = "_".join([*path.parts[-depth:-1], stem])
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", words).lstrip("._-+")[-70:].lstrip("._-+") or "image"


def _refuse_twice(images: Sequence[Path]) -> None:
    twice = _first_twice([str(image) for image in images])
    if twice:
        raise UsageError("images", expected="each image once", got=f"{twice} twice", remedy="remove one")


def _first_twice(names: Sequence[str]) -> str | None:
    """Return the first repeated name, ignoring case, as some file systems do; None if all are unique."""
    counts = Counter(name.lower() for name in names)
    return next((name for name in names if counts[name.lower()] > 1), None)


def _resolved(folder: Path, cell: str) -> Path:
    return _absolute(folder / Path(cell).expanduser())


def _absolute(path: Path) -> Path:
    return Path(path).expanduser().absolute()


def _bad(subject: object, expected: str, got: str, remedy: str) -> InputError:
    return InputError(str(subject), expected=expected, got=got, remedy=remedy)
